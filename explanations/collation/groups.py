"""What is collated: groups of components whose activations come as one tensor [row, place, index].

A place is a token; for heads it is a pair of tokens, query and key, in the order of a lower triangle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from explanations.writing import Family
from model.components import Component, Kind
from model.dictionaries import LETTER_OF
from model.edits.sources import Where
from model.gpt2 import GPT2, wide
from model.sites import Site
from sae.autoencoder import Autoencoder

Acts = Mapping[Where, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    family: Family
    nodes: tuple[str, ...]
    "Their spellings: [index]"
    reads: tuple[Where, ...]
    "The sites that it needs, the last one last in the pass."
    activations: Callable[[Acts], Tensor]
    "Those sites -> [row, token, index], or [row, head, query, key] for pairs."
    pairs: bool = False
    signed: bool = True
    "Whether an activation can be other than positive; only then does their share say anything."
    writes: Callable[[], Tensor] | None = None
    "What an activation of 1 writes into the residual stream: [index, d_model].  None where that varies."


def model_groups(model: GPT2) -> list[Group]:
    """Every neuron, head and MLP of a model, layer by layer."""
    found: list[Group] = []
    for layer in range(model.config.n_layer):
        found += [heads(model, layer), neurons(model, layer), mlp(layer)]
    return found


def neurons(model: GPT2, layer: int) -> Group:
    """After the nonlinearity."""
    at, projection = (Site.MLP_POST, layer), model.blocks[layer].mlp.c_proj
    nodes = _names(Kind.NEURON, layer, model.config.d_mlp)
    return Group(Family("N"), nodes, (at,), lambda acts: acts[at], writes=lambda: projection.weight)


def mlp(layer: int) -> Group:
    """The length of `mlp_out`, its bias included, which the debugger's write norm of an MLP leaves out."""
    at = Site.MLP_OUT, layer
    nodes = (str(Component(Kind.MLP, layer)),)

    def lengths(acts: Acts) -> Tensor:
        return wide(acts[at]).norm(dim=-1, keepdim=True)

    return Group(Family("M"), nodes, (at,), lengths, signed=False)


def heads(model: GPT2, layer: int) -> Group:
    """The length of what a head moves from a key to a query, A_qk |v_k W_O|: TDB's `attn_write_norm`."""
    value, pattern = (Site.V, layer), (Site.PATTERN, layer)
    out = wide(model.blocks[layer].attn.c_proj.weight).view(model.config.n_head, -1, model.config.d_model)
    # W_O = R^T Q^T with orthonormal Q: |v W_O| = |v R^T|, at d_head instead of d_model columns
    short = torch.linalg.qr(out.transpose(1, 2).float().cpu())[1].transpose(1, 2).to(out)
    nodes = _names(Kind.HEAD, layer, model.config.n_head)

    def lengths(acts: Acts) -> Tensor:
        moved = (wide(acts[value]) @ short).norm(dim=-1)  # [row, head, key]
        return wide(acts[pattern]) * moved[:, :, None, :]

    return Group(Family("L"), nodes, (value, pattern), lengths, pairs=True, signed=False)


def latents(model: GPT2, autoencoder: Autoencoder, source: str) -> Group:
    """The latents of a dictionary, at the site that it reads; `source` says which dictionary it is."""
    site, layer = autoencoder.writes
    letter = LETTER_OF.get(site, "r")
    nodes = _names(Kind.LATENT, layer, autoencoder.n_latent, letter)
    family = Family(f"F{letter}{layer}", source)

    def encoded(acts: Acts) -> Tensor:
        x = acts[autoencoder.reads]
        if x.ndim == 4:  # z, with its heads side by side
            x = x.transpose(1, 2).flatten(2)
        return autoencoder.encode(x)

    def writes() -> Tensor:
        block = model.blocks[layer]
        through = {Site.MLP_POST: block.mlp.c_proj.weight, Site.Z: block.attn.c_proj.weight}.get(site)
        return autoencoder.w_dec if through is None else autoencoder.w_dec @ through

    return Group(family, nodes, (autoencoder.reads,), encoded, writes=writes)


def directions(at: Where, named: Mapping[str, Tensor]) -> Group:
    """How far the residual stream, or any other site, goes along named directions [d_model], of length 1."""
    units = torch.stack([direction / direction.norm() for direction in named.values()])
    nodes = tuple(f"dir:{name}" for name in named)
    return Group(
        Family("dir"), nodes, (at,), lambda acts: acts[at] @ units.T.to(acts[at]), writes=lambda: units
    )


def _names(kind: Kind, layer: int, count: int, site: str = "") -> tuple[str, ...]:
    return tuple(str(Component(kind, layer, index, site)) for index in range(count))


def triangle(length: int, device: torch.device | str = "cpu") -> Tensor:
    """Where the pairs of a lower triangle stand in a square matrix laid flat: [length * (length + 1) / 2]."""
    query, key = torch.tril_indices(length, length, device=device)
    return query * length + key


def places(lengths: Sequence[int], pairs: bool) -> list[int]:
    """How many places rows of so many tokens have."""
    return [length * (length + 1) // 2 if pairs else length for length in lengths]
