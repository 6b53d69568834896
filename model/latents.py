"""What dictionaries make of a recorded run: active latents, what stands beside them, what is left over.

    what a dictionary takes apart = sum of latent x decoder row + beside + error

Latents are kept as columns of the active ones, and only the tokens that are asked for are encoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.dictionaries import Dictionary, Recorded, dictionary_of, numbers, place_of, recorded_at
from model.edits.splices import Splice
from model.gpt2 import GPT2, wide
from model.sites import Site, Where
from model.trace import Trace

CELLS = 1 << 23
"Of a dense block of latents, or of decoder rows, made at a time: 32 MB."


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """The active latents of a dictionary at some tokens, in columns, ordered by token."""

    pos: Tensor
    index: Tensor
    value: Tensor
    "Activation."
    scale: Tensor
    "What multiplies the decoder row beside the activation: 1 where nothing is undone."


@torch.no_grad()
def active(trace: Trace, at: Where, positions: Sequence[int]) -> Active:
    """Some tokens' active latents in a run, edits made."""
    dictionary, read = trace.dictionaries[at], encoded(trace, at)
    pos, index, value = _active(dictionary, read, positions, trace.spliced.get(at))
    return Active(pos, index, wide(value), wide(dictionary.factor(read))[pos, 0])


@torch.no_grad()
def moved_by_patch(
    trace: Trace, at: Where, other: Recorded, here: Sequence[int], there: Sequence[int]
) -> Active:
    """Latents that have another activation at the tokens `there` of another run, and by how much more it is.

    Written as in this run: that is what giving each its value there would add.
    """
    dictionary, own = trace.dictionaries[at], active(trace, at, here)
    read = recorded_at(other, dictionary.reads)
    pos, index, value = _active(dictionary, read, there)
    counterpart = torch.zeros(len(read), dtype=torch.long, device=read.device)
    counterpart[list(there)] = torch.tensor(here, dtype=torch.long, device=read.device)
    nodes = torch.cat([own.pos, counterpart[pos]]) * dictionary.n_latent + torch.cat([own.index, index])
    nodes, row = nodes.unique(return_inverse=True)
    more = torch.zeros(len(nodes), dtype=own.value.dtype, device=read.device)
    more.index_add_(0, row, torch.cat([-own.value, wide(value)]))
    nodes, more = nodes[more != 0], more[more != 0]
    pos, index = nodes // dictionary.n_latent, nodes % dictionary.n_latent
    return Active(pos, index, more, wide(dictionary.factor(encoded(trace, at)))[pos, 0])


def _active(
    dictionary: Dictionary, read: Tensor, positions: Sequence[int], spliced: Splice | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, numbers and activations of what is active at some tokens of what is read: [active] each."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    step = max(1, CELLS // dictionary.n_latent)
    for first in range(0, len(positions), step):
        rows = torch.tensor(positions[first : first + step], device=read.device)
        latents = dictionary.encode(read[rows])
        if spliced is not None:
            latents[:, spliced.touched] = spliced.latents[rows]
        row, index = latents.nonzero(as_tuple=True)
        found.append((rows[row], index, latents[row, index]))
    if not found:
        return _none(read)
    pos, index, value = (torch.cat(columns) for columns in zip(*found, strict=True))
    return pos, index, value


def _none(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    empty = torch.zeros(0, dtype=torch.long, device=like.device)
    return empty, empty, like.new_zeros(0)


@torch.no_grad()
def beside(trace: Trace, at: Where) -> Tensor:
    """What stands beside the latents in a run, at every token, in the space that is taken apart: [pos, d_out]."""
    spliced, dictionary = trace.spliced.get(at), trace.dictionaries[at]
    return dictionary.beside(recorded_at(trace, dictionary.reads)) if spliced is None else spliced.beside


@torch.no_grad()
def error(
    trace: Trace,
    at: Where,
    positions: Sequence[int],
    latents: Active | None = None,
    aside: Tensor | None = None,
) -> Tensor:
    """What latents and beside leave of what is there, where they are known not found again: [pos, d_out]."""
    latents = active(trace, at, positions) if latents is None else latents
    aside = wide(beside(trace, at)) if aside is None else aside
    chosen = torch.tensor(positions, dtype=torch.long, device=latents.pos.device)
    left = (wide(recorded_at(trace, at)) - aside)[chosen]
    place = torch.full((len(trace.tokens),), -1, dtype=torch.long, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    for rows in blocks(latents, trace.dictionaries[at].w_dec):
        write = wide(trace.dictionaries[at].w_dec[latents.index[rows]])
        left.index_add_(0, place[latents.pos[rows]], write * (-latents.value * latents.scale)[rows, None])
    return left


def blocks(latents: Active, w_dec: Tensor) -> Iterator[slice]:
    """So many active latents at a time that their decoder rows stay small."""
    step = max(1, CELLS // w_dec.shape[1])
    yield from (slice(first, first + step) for first in range(0, len(latents.pos), step))


def matrix_out(model: GPT2, at: Where) -> Tensor | None:
    """From what a dictionary takes apart to the residual stream, [d_out, d_model]; None where it is of the stream."""
    block = model.blocks[at[1]]
    match at[0]:
        case Site.MLP_POST:
            return wide(block.mlp.c_proj.weight)
        case Site.Z:
            return wide(block.attn.c_proj.weight)
        case _:
            return None


@torch.no_grad()
def token_attribution(model: GPT2, trace: Trace, node: Node) -> Tensor:
    """How much of a latent's pre-activation came from each token through attention: [key], 0 where it is inactive.

    sum over heads of A_qk (v_k W_O) . the latent's direction, whatever its nonlinearity (Mossing et al. 2024,
    Transformer Debugger, token-pair attribution).  Raises ValueError for a latent that reads no attention.
    """
    part, at = node.component, place_of(node.component)
    if at[0] not in (Site.ATTN_OUT, Site.Z):
        raise ValueError(f"{part} reads no attention: latents of attn_out and z do")
    dictionary = dictionary_of(trace.dictionaries, part)
    pattern = wide(trace[Site.PATTERN, part.layer][:, node.pos, : node.pos + 1])  # [head, key]
    if latent_value(trace, part, node.pos) == 0:
        return torch.zeros_like(pattern[0])
    wanted = wide(dictionary.direction(encoded(trace, at)[node.pos], part.index or 0))
    if at[0] is Site.ATTN_OUT:
        wanted = wide(model.blocks[part.layer].attn.c_proj.weight) @ wanted
    values = wide(trace[Site.V, part.layer][:, : node.pos + 1])  # [head, key, d_head]
    return (pattern * (values @ wanted.view(len(pattern), -1, 1))[..., 0]).sum(0)


@torch.no_grad()
def part_write(model: GPT2, trace: Trace, part: Component, pos: int) -> Tensor:
    """What a dictionary's part adds to the residual stream at a token: [d_model].  Raises ValueError."""
    at = place_of(part)
    dictionary_of(trace.dictionaries, part)  # refuses what is not loaded
    match part.kind:
        case Kind.LATENT:
            return latent_value(trace, part, pos) * write_by_activation(model, trace, part, pos)
        case Kind.SAE_BIAS:
            x = wide(beside(trace, at))[pos]
        case _:
            x = error(trace, at, [pos])[0]
    out = matrix_out(model, at)
    return x if out is None else x @ out


@torch.no_grad()
def write_by_activation(model: GPT2, trace: Trace, part: Component, pos: int) -> Tensor:
    """What a latent adds to the residual stream at a token for each unit of its activation: [d_model]."""
    dictionary, at = dictionary_of(trace.dictionaries, part), place_of(part)
    return row_of(model, trace, part) * wide(dictionary.factor(encoded(trace, at)[pos : pos + 1]))[0, 0]


@torch.no_grad()
def row_of(model: GPT2, trace: Trace, part: Component) -> Tensor:
    """What a latent with an activation of 1 adds to the residual stream, nothing undone: [d_model]."""
    row = wide(dictionary_of(trace.dictionaries, part).w_dec[part.index or 0])
    out = matrix_out(model, place_of(part))
    return row if out is None else row @ out


@torch.no_grad()
def latent_value(trace: Trace, part: Component, pos: int) -> float:
    """A latent's activation at a token, edits made.  Raises ValueError."""
    return float(latent_values(trace, part, slice(pos, pos + 1))[0])


@torch.no_grad()
def latent_values(trace: Trace, part: Component, tokens: slice = slice(None)) -> Tensor:
    """A latent's activation at each token, edits made: [pos].  Raises ValueError."""
    dictionary, at = dictionary_of(trace.dictionaries, part), place_of(part)
    spliced = trace.spliced.get(at)
    if spliced is not None and bool((spliced.touched == part.index).any()):
        return spliced.latents[tokens, (spliced.touched == part.index).nonzero()[0, 0]]
    index = numbers([part.index or 0], dictionary.w_dec)
    return dictionary.encode(encoded(trace, at)[tokens], index)[:, 0]


def encoded(trace: Trace, at: Where) -> Tensor:
    """What a dictionary was given to encode in a run: [pos, d_in]."""
    spliced = trace.spliced.get(at)
    return recorded_at(trace, trace.dictionaries[at].reads) if spliced is None else spliced.read
