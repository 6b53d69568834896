"""Every grid of patches against TransformerLens's sweep of it, in float64 on the checkpoint's own weights.

Convention: the corrupted run goes on with the clean run's values, so the clean run is our prompt B.
"""

import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Patch, Sources, Span
from model.measured.scorers import metric_scorer
from model.measured.sweeps import (
    BY_HEAD,
    BY_LAYER,
    Axis,
    Grid,
    Spot,
    Spots,
    by_head,
    by_pair,
    by_token,
    measure_grid,
)
from tests.oracle.bridge import END, LD, ODD, Both, close, ids, peer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

LAYERS, HEADS, TOKENS = range(ODD.n_layer), range(ODD.n_head), range(END + 1)
EVERY = Spot("", tuple(TOKENS), tuple(TOKENS), whole=True)
EACH = Spots(tuple(map(str, TOKENS)), tuple(Spot(str(pos), (pos,), (pos,)) for pos in TOKENS))
PATCH = Patch(Component(Kind.HEAD, 0, 0), Span(0, 0), Span(0, 0))
NAMES = {"heads": "out", "q": "q", "k": "k", "v": "v", "pattern": "pattern"}


def ours(both: Both, grid: Grid) -> Tensor:
    """The corrupted run's metric with each cell's values from the clean run: [row, column], NaN where no cell is."""
    found = torch.full((len(grid.rows), len(grid.columns)), torch.nan, dtype=torch.float64)
    scorer, sources = metric_scorer(both.model, LD), Sources(other=both.trace)
    for row, column, value in measure_grid(both.model, both.other, scorer, grid, sources):
        found[row, column] = value
    return found


def theirs(both: Both, name: str) -> Tensor:
    with torch.no_grad():
        sweep = getattr(peer("patching"), f"get_act_patch_{name}")
        return sweep(both.plain, ids(both.corrupt), both.cache, both.metric_of)


@pytest.mark.parametrize("name", ["resid_pre", "resid_mid", "attn_out", "mlp_out"])
def test_layer_by_token(both: Both, name: str) -> None:
    parts = [Component(BY_LAYER[name], layer) for layer in LAYERS]
    close(
        ours(both, by_token(Axis("layer", tuple(map(str, LAYERS))), parts, EACH, PATCH)), theirs(both, name)
    )


@pytest.mark.parametrize("name", NAMES)
def test_layer_by_head_at_every_token(both: Both, name: str) -> None:
    parts = [[Component(BY_HEAD[name], layer, head) for head in HEADS] for layer in LAYERS]
    close(ours(both, by_head(parts, (), EVERY, PATCH)), theirs(both, f"attn_head_{NAMES[name]}_all_pos"))


@pytest.mark.parametrize("name", NAMES)
def test_head_by_token(both: Both, name: str) -> None:
    """Convention: its axes are [layer, pos, head], of patterns [layer, head, pos], the token being the one that asks."""
    parts = [Component(BY_HEAD[name], layer, head) for layer in LAYERS for head in HEADS]
    found = ours(both, by_token(Axis("head", tuple(map(str, parts))), parts, EACH, PATCH))
    shaped = found.view(ODD.n_layer, ODD.n_head, END + 1)
    shaped = shaped if name == "pattern" else shaped.transpose(1, 2)
    close(shaped, theirs(both, f"attn_head_{NAMES[name]}_by_pos"))


def test_query_by_key(both: Both) -> None:
    """Convention: its axes are [layer, head, query, key], and pairs that nothing attends change nothing."""
    expected = theirs(both, "attn_head_pattern_dest_src_pos")
    pair = Patch(Component(Kind.HEAD, 0, 0), Span(0, 0), Span(0, 0), 0, 0)
    for layer, head in ((0, 1), (1, 3), (2, 4)):
        found = ours(both, by_pair(Component(Kind.HEAD, layer, head), EACH, pair))
        causal = ~found.isnan()
        assert torch.equal(causal, torch.ones_like(causal).tril())
        close(found[causal], expected[layer, head][causal])
