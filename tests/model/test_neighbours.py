"""Components that write alike, against whole matrices."""

import pytest
import torch

from model.about.neighbours import neighbours, ov_overlaps
from model.components import Component, Kind
from model.gpt2 import GPT2
from model.trace import record
from tests.tiny import TOKENS


def test_heads_are_compared_by_their_whole_ov_circuits(tiny: GPT2) -> None:
    config = tiny.config
    circuits = torch.stack(
        [
            (block.ln_1.weight[:, None] * block.attn.c_attn.weight[:, 2 * config.d_model :][:, head]).double()
            @ block.attn.c_proj.weight[head].double()
            for block in tiny.blocks
            for head in torch.arange(config.d_model).split(config.d_head)
        ]
    ).flatten(1)
    expected = torch.nn.functional.cosine_similarity(circuits, circuits[config.n_head + 1], dim=1)
    found = ov_overlaps(tiny, 1, 1).flatten()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    own = Component(Kind.HEAD, 1, 1)
    best = neighbours(tiny, record(tiny, TOKENS), own, 2)
    assert own not in [part for part, _ in best] and best[0][1] >= best[1][1]


def test_neurons_are_compared_by_what_they_write(tiny: GPT2) -> None:
    own = Component(Kind.NEURON, 0, 3)
    rows = torch.cat([block.mlp.c_proj.weight for block in tiny.blocks])
    cosines = torch.nn.functional.cosine_similarity(rows, rows[3], dim=1)
    cosines[3] = -2
    at = int(cosines.argmax())
    [(part, cosine)] = neighbours(tiny, record(tiny, TOKENS), own, 1)
    assert (part.layer, part.index) == divmod(at, tiny.config.d_mlp)
    assert cosine == pytest.approx(float(cosines[at]), rel=1e-5)
    assert neighbours(tiny, record(tiny, TOKENS), Component(Kind.MLP, 0), 3) == []
