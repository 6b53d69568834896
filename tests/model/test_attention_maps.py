"""A head's map agrees with the rows that the tables give for its pairs."""

import pytest
import torch

from model.components import Component, Kind
from model.effects.attention_maps import pair_effects, written_norms
from model.effects.attribution import pair_table
from model.gpt2 import GPT2
from model.sites import Site
from tests.tiny import LD, TINY, TOKENS
from tests.writes import gradients_of

HEADS = [Component(Kind.HEAD, layer, index) for layer in range(TINY.n_layer) for index in range(TINY.n_head)]


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_a_map_has_the_numbers_of_the_pairs(tiny: GPT2, head: Component) -> None:
    trace, by = gradients_of(tiny, LD)
    effects, norms = pair_effects(tiny, trace, by, head), written_norms(tiny, trace, head)
    table = pair_table(tiny, trace, by)
    rows = [row for row in range(len(table)) if table.component(row) == head]
    assert len(rows) == len(TOKENS) * (len(TOKENS) + 1) // 2
    for row in rows:
        at = int(table.pos[row]), int(table.key[row])
        assert float(effects[at]) == pytest.approx(table.total[row], abs=1e-12)
        assert float(norms[at]) == pytest.approx(table.write_norm[row], abs=1e-12)
    assert float(effects.triu(1).abs().max()) == 0.0


def test_the_rows_of_a_map_add_up_to_what_the_head_writes(tiny: GPT2) -> None:
    """Without its bias, a head's write is the sum over keys: so is its effect."""
    trace, by = gradients_of(tiny, LD)
    for head in HEADS:
        w_o = tiny.blocks[head.layer].attn.c_proj.weight.view(TINY.n_head, TINY.d_head, -1)[head.index or 0]
        write = trace[Site.Z, head.layer][head.index] @ w_o  # [query, d_model]
        expected = (write.double() * by.mid[head.layer]).sum(-1)
        assert torch.allclose(pair_effects(tiny, trace, by, head).sum(-1), expected, atol=1e-10)
