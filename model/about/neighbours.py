"""Which components write alike: neurons and latents by the directions that they write, heads by their OV circuits."""

import torch
from torch import Tensor

from model.about import latents
from model.components import Component, Kind
from model.gpt2 import GPT2, wide
from model.trace import Trace


@torch.no_grad()
def neighbours(model: GPT2, trace: Trace, part: Component, count: int) -> list[tuple[Component, float]]:
    """Components of the same kind with their cosines to this one, the most alike first; none of other kinds.

    Neurons and latents by what an activation of 1 writes, latents within their dictionary; heads by their OV circuits,
    ln_1's weight times W_V W_O, as matrices (Elhage et al. 2021, "A Mathematical Framework").
    """
    match part.kind:
        case Kind.NEURON:
            own = wide(model.blocks[part.layer].mlp.c_proj.weight)[part.index or 0]
            cosines = torch.stack([_alike(wide(block.mlp.c_proj.weight), own) for block in model.blocks])
        case Kind.HEAD:
            cosines = ov_overlaps(model, part.layer, part.index or 0)
        case Kind.LATENT:
            found = latents.neighbours(trace, part, count)
            return [(Component(Kind.LATENT, part.layer, index, part.site), cosine) for index, cosine in found]
        case _:
            return []
    cosines[part.layer, part.index or 0] = -torch.inf
    best = cosines.flatten().topk(min(count, cosines.numel() - 1))
    width = cosines.shape[1]
    return [
        (Component(part.kind, at // width, at % width), cosine)
        for at, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


@torch.no_grad()
def ov_overlaps(model: GPT2, layer: int, head: int) -> Tensor:
    """The cosine of one head's OV circuit with every head's, as vectors of d_model^2 numbers: [layer, head]."""
    reads, writes = zip(*(_circuits(model, at) for at in range(model.config.n_layer)), strict=True)
    read, write = (
        torch.stack(reads),
        torch.stack(writes),
    )  # [layer, head, d_model, d_head], [.., d_head, d_model]
    # <V1 O1, V2 O2> = sum of (V1' V2) * (O1 O2'), which never makes a matrix of d_model x d_model
    shared = (read[layer, head].T @ read) * (write[layer, head] @ write.transpose(-1, -2))
    sizes = ((read.transpose(-1, -2) @ read) * (write @ write.transpose(-1, -2))).sum((-1, -2)).sqrt()
    return shared.sum((-1, -2)) / (sizes * sizes[layer, head]).clamp_min(1e-12)


def _circuits(model: GPT2, layer: int) -> tuple[Tensor, Tensor]:
    """ln_1's weight times W_V, and W_O: [head, d_model, d_head], [head, d_head, d_model]."""
    config, block = model.config, model.blocks[layer]
    value = wide(block.attn.c_attn.weight)[:, 2 * config.d_model :] * wide(block.ln_1.weight)[:, None]
    out = wide(block.attn.c_proj.weight).view(config.n_head, -1, config.d_model)
    return value.view(config.d_model, config.n_head, -1).transpose(0, 1), out


def _alike(rows: Tensor, own: Tensor) -> Tensor:
    return (rows @ own) / (rows.norm(dim=-1) * own.norm()).clamp_min(1e-12)
