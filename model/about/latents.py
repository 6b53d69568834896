"""What a latent is about by its weights: which latents are like it, and which heads and MLPs read what it writes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component, Kind
from model.dictionaries import dictionary_of
from model.gpt2 import GPT2, wide
from model.latents import row_of
from model.lines import written_on
from model.targets import Via
from model.trace import Trace


@dataclass(frozen=True, slots=True)
class Reader:
    """An input that meets what a latent writes."""

    component: Component
    via: Via
    strength: float
    "|direction W| / |direction| |W|, W being ln_1's weight times W_Q, W_K or W_V of the head."


@torch.no_grad()
def neighbours(
    trace: Trace, part: Component, count: int, *, encoder: bool = False
) -> list[tuple[int, float]]:
    """The latents of the same dictionary whose decoder rows (or encoder columns) point most alike: (number, cosine)."""
    dictionary = dictionary_of(trace.dictionaries, part)
    matrix = dictionary.w_enc.T if encoder else dictionary.w_dec
    own = matrix[part.index or 0]
    cosines = wide(matrix @ own) / (wide(matrix).norm(dim=-1) * wide(own).norm()).clamp_min(1e-12)
    cosines[part.index or 0] = -torch.inf
    found = cosines.topk(min(count, len(cosines) - 1))
    return list(zip(found.indices.tolist(), found.values.tolist(), strict=True))


@torch.no_grad()
def read_by(model: GPT2, trace: Trace, part: Component, count: int) -> list[Reader]:
    """The heads' inputs, of those after it, that a latent's write moves most for its size."""
    config, row = model.config, row_of(model, trace, part)
    found: list[Reader] = []
    for layer, block in enumerate(model.blocks):
        if 1 + 2 * layer <= written_on(part):
            continue
        seen = (row - row.mean()) * wide(block.ln_1.weight)
        matrix = wide(block.attn.c_attn.weight)
        moved = _by_head(seen @ matrix, config.n_head).norm(dim=-1)  # [input, head]
        size = _by_head(matrix * wide(block.ln_1.weight)[:, None], config.n_head).square().sum((0, -1)).sqrt()
        strength = moved / (size * row.norm()).clamp_min(1e-12)
        found += [
            Reader(_head(layer, head), via, float(strength[at, head]))
            for at, via in enumerate((Via.Q, Via.K, Via.V))
            for head in range(config.n_head)
        ]
    return sorted(found, key=lambda reader: -reader.strength)[:count]


def _by_head(x: Tensor, n_head: int) -> Tensor:
    """[..., 3 x d_model] -> [..., input, head, d_head]"""
    return x.unflatten(-1, (3, n_head, -1))


def _head(layer: int, head: int) -> Component:
    return Component(Kind.HEAD, layer, head)
