"""Rows of random tokens for the tiny model, and everything that a model does in them, computed the slow way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from explanations.collation.corpus import Row
from explanations.collation.groups import Group
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import record
from tests.tiny import TINY

START = TINY.n_vocab - 1
LENGTH = 12


def random_rows(count: int, seed: int = 0) -> list[Row]:
    """Rows of 1 to LENGTH tokens, most of them full; every fifth repeats an earlier one, so that values tie."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Row] = []
    for number in range(count):
        length = LENGTH if number % 3 else 1 + number % LENGTH
        tokens = torch.randint(0, START, (length,), generator=generator).tolist()
        if number % 5 == 4:
            tokens = list(found[number - 3].tokens)
        found.append(Row(number, tuple(tokens), number % 2, number // 2, 0))
    return found


def slow(model: GPT2, group: Group, rows: Sequence[Row]) -> list[Tensor]:
    """Each row's activations, one run a row, without the start and flat over tokens or pairs: [place, component]."""
    found: list[Tensor] = []
    for row in rows:
        trace = record(model, (START, *row.tokens))
        layer = group.reads[-1][1]
        match group.family.name:
            case "N":
                acts = trace[Site.MLP_POST, layer][1:]
            case "M":
                acts = trace[Site.MLP_OUT, layer][1:].norm(dim=-1, keepdim=True)
            case "L":
                acts = _pairs(model, trace[Site.PATTERN, layer], trace[Site.V, layer], layer)
            case other:
                raise AssertionError(other)
        found.append(acts)
    return found


def _pairs(model: GPT2, pattern: Tensor, v: Tensor, layer: int) -> Tensor:
    """|A_qk v_k W_O| with the moved vectors written out: pattern [head, query, key], v [head, key, d_head]."""
    out = model.blocks[layer].attn.c_proj.weight.view(TINY.n_head, TINY.d_head, TINY.d_model)
    moved = torch.einsum("hqk,hkd,hdm->hqkm", pattern, v, out).norm(dim=-1)
    places = [moved[:, query, key] for query in range(1, pattern.shape[1]) for key in range(1, query + 1)]
    return torch.stack(places)
