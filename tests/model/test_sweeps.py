"""Sweeps: every cell is what one run with that change gives; what changes nothing is the baseline to the bit."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from model.components import Component, Kind
from model.edits.directions import Direction
from model.edits.interventions import Ablate, Mode, Patch, Sources, Span, Steer
from model.gpt2 import GPT2
from model.measured.scorers import metric_scorer, unchanged
from model.measured.sweeps import (
    BY_HEAD,
    BY_LAYER,
    Axis,
    Grid,
    Spot,
    Spots,
    by_amount,
    by_head,
    by_pair,
    by_token,
    made_at,
    measure_grid,
)
from model.metrics import Metric
from model.sets.statistics import interval, summary
from model.sites import Site
from model.trace import Trace, metric_value, record
from tests.tiny import EARLY, EDITS, END, LD, OTHER, TINY, TOKENS

HEADS = tuple(
    tuple(Component(Kind.HEAD, layer, head) for head in range(TINY.n_head)) for layer in range(TINY.n_layer)
)
PATCH = Patch(HEADS[0][0], Span(0, 0), Span(0, 0))
EVERY = Spot("", tuple(range(END + 1)), tuple(range(END + 1)), whole=True)


def spots(ablated: bool = False) -> Spots:
    """Every token by itself."""
    found = tuple(Spot(str(pos), (pos,), () if ablated else (pos,)) for pos in range(END + 1))
    return Spots(tuple(spot.label for spot in found), found)


def layers_of(kind: Kind) -> list[Component]:
    return [Component(kind, layer) for layer in range(TINY.n_layer)]


def of_heads(kind: Kind) -> tuple[tuple[Component, ...], ...]:
    return tuple(tuple(replace(head, kind=kind) for head in row) for row in HEADS)


def grids() -> dict[str, Grid]:
    """One of every kind."""
    zero = Ablate(HEADS[0][0])
    rows = Axis("layer", tuple(map(str, range(TINY.n_layer))))
    found = {
        f"patch {name}": by_token(rows, layers_of(kind), spots(), PATCH) for name, kind in BY_LAYER.items()
    }
    found |= {f"patch {name}": by_head(of_heads(kind), (), EVERY, PATCH) for name, kind in BY_HEAD.items()}
    parts = [Component(Kind.K, 1, head) for head in range(TINY.n_head)]
    found["keys by token"] = by_token(Axis("head", tuple(map(str, parts))), parts, spots(), PATCH)
    pair = replace(PATCH, key=0, source_key=0)
    found["patch pairs"] = by_pair(HEADS[1][2], spots(), pair)
    found["ablate pairs"] = by_pair(HEADS[1][2], spots(ablated=True), replace(zero, key=0))
    found["ablate heads"] = by_head(
        HEADS, (), replace(EVERY, there=()), replace(zero, mode=Mode.SCALE, amount=-1.5)
    )
    found["ablate queries"] = by_head(of_heads(Kind.Q), (), Spot("4", (4,)), zero)
    found["steer"] = by_amount(("a", "b"), STEERS, (-4.0, -1.0, 0.0, 2.5))
    return found


VECTOR = Direction("v", tuple(math.sin(n) for n in range(TINY.d_model)))
STEERS = (
    Steer(Component(Kind.RESID_PRE, 1), Span(3, 3), amount=1.0, direction=VECTOR),
    Steer(Component(Kind.MLP, 0), None, amount=1.0, direction=VECTOR),
)
GRIDS = grids()


def measured(
    model: GPT2, run: Trace, grid: Grid, sources: Sources, metric: Metric = LD
) -> NDArray[np.float64]:
    found = np.full((len(grid.rows), len(grid.columns)), np.nan)
    for row, column, value in measure_grid(model, run, metric_scorer(model, metric), grid, sources):
        assert np.isnan(found[row, column])  # each once
        found[row, column] = value
    return found


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("metric", "edits", "step"), [(LD, "none", 1), (EARLY, "many", 4)])
def test_every_cell_is_one_run_with_its_changes(
    tiny: GPT2, sources: Sources, name: str, metric: Metric, edits: str, step: int
) -> None:
    """With edits in force too, where every fourth cell is looked at."""
    grid, run = GRIDS[name], record(tiny, TOKENS, EDITS[edits], sources)
    found = measured(tiny, run, grid, sources, metric)
    places = grid.places()
    assert len(places) == np.isfinite(found).sum()
    for row, column in places[::step]:
        alone = record(tiny, TOKENS, (*run.changes, *grid.cells[row][column]), sources)
        assert found[row, column] == pytest.approx(metric_value(tiny, alone, metric), abs=1e-9), (row, column)


@pytest.mark.parametrize("name", [name for name in GRIDS if name.startswith("patch") or "token" in name])
def test_patches_from_the_same_prompt_are_flat_to_the_bit(tiny: GPT2, tiny32: GPT2, name: str) -> None:
    for model in (tiny, tiny32):
        run = record(model, TOKENS)
        found = measured(model, run, GRIDS[name], Sources(other=record(model, TOKENS)))
        known = found[~np.isnan(found)]
        assert len(known)
        assert set(known.tolist()) == {unchanged(model, run, metric_scorer(model, LD))}


@pytest.mark.parametrize("name", ["resid_pre", "resid_post"])
def test_the_whole_residual_stream_of_a_layer_is_the_other_run(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    run, other = record(tiny, TOKENS), record(tiny, OTHER)
    spot = Spots(("all",), (EVERY,))
    rows = Axis("layer", tuple(map(str, range(TINY.n_layer))))
    grid = by_token(rows, layers_of(BY_LAYER[name]), spot, PATCH)
    expected = metric_value(tiny, other, LD)
    np.testing.assert_allclose(measured(tiny, run, grid, sources), expected, rtol=0, atol=1e-9)


def test_the_last_residual_stream_at_the_end_is_the_other_run_and_elsewhere_nothing(
    tiny: GPT2, sources: Sources
) -> None:
    run = record(tiny, TOKENS)
    found = measured(tiny, run, GRIDS["patch resid_post"], sources)[-1]
    assert found[END] == pytest.approx(metric_value(tiny, record(tiny, OTHER), LD), abs=1e-9)
    assert set(found[:END].tolist()) == {unchanged(tiny, run, metric_scorer(tiny, LD))}


def test_the_stream_leaving_a_layer_is_the_one_entering_the_next(tiny: GPT2, sources: Sources) -> None:
    run = record(tiny, TOKENS)
    pre, post = (measured(tiny, run, GRIDS[f"patch resid_{name}"], sources) for name in ("pre", "post"))
    np.testing.assert_allclose(post[:-1], pre[1:], rtol=0, atol=1e-9)


def test_all_heads_of_a_layer_together_are_its_attention(tiny: GPT2, sources: Sources) -> None:
    """One spot at all tokens, every head's cell put together."""
    run = record(tiny, TOKENS)
    layer = [change for cell in GRIDS["patch heads"].cells[1] for change in cell]
    together = metric_value(tiny, record(tiny, TOKENS, layer, sources), LD)
    whole = by_token(Axis("layer", ("1",)), [Component(Kind.ATTN, 1)], Spots(("all",), (EVERY,)), PATCH)
    assert measured(tiny, run, whole, sources)[0, 0] == pytest.approx(together, abs=1e-9)


def test_what_comes_too_late_is_not_run(tiny: GPT2, sources: Sources) -> None:
    """Tokens after the one that is read, and a residual stream that no token's reading follows."""
    ran: list[int] = []
    grid = GRIDS["patch resid_pre"]
    late = replace(
        grid,
        columns=Axis("position", grid.columns.labels[EARLY.pos + 1 :]),
        cells=tuple(row[EARLY.pos + 1 :] for row in grid.cells),
    )
    run, scorer = record(tiny, TOKENS), metric_scorer(tiny, EARLY)

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        ran.append(layer)
        return x

    found = list(measure_grid(tiny, run, scorer, late, sources, also=watch))
    assert {value for *_, value in found} == {unchanged(tiny, run, scorer)}
    assert len(found) == len(late.places()) and not ran


def test_only_the_cells_that_are_wanted_are_run(tiny: GPT2, sources: Sources) -> None:
    grid, run = GRIDS["patch heads"], record(tiny, TOKENS)
    found = list(
        measure_grid(
            tiny, run, metric_scorer(tiny, LD), grid, sources, lambda row, column: row == column == 1
        )
    )
    assert [(row, column) for row, column, _ in found] == [(1, 1)]


def test_no_pair_has_its_key_after_its_query() -> None:
    places = GRIDS["patch pairs"].places()
    assert places == [(query, key) for query in range(END + 1) for key in range(query + 1)]
    crossed = Spots(("a", "b"), (Spot("a", (1,), (5,)), Spot("b", (3,), (2,))))
    pair = replace(PATCH, key=0, source_key=0)
    # b reads a here, but not where its value would be from
    assert by_pair(HEADS[0][0], crossed, pair).places() == [(0, 0), (1, 1)]


def test_tokens_that_are_not_together_on_both_sides_are_changed_piece_by_piece() -> None:
    spot = Spot("", (0, 1, 2, 5, 6), (0, 1, 3, 4, 5))
    cell = made_at(PATCH, HEADS[1][1], spot)
    assert [(str(change.span), str(change.source)) for change in cell if isinstance(change, Patch)] == [
        ("0:1", "0:1"),
        ("2", "3"),
        ("5:6", "4:5"),
    ]
    assert [
        str(change.span) for change in made_at(Ablate(HEADS[0][0]), HEADS[1][1], Spot("", spot.here))
    ] == [
        "0:2",
        "5:6",
    ]
    assert made_at(Ablate(HEADS[0][0]), HEADS[1][1], replace(EVERY, there=())) == (Ablate(HEADS[1][1]),)


def test_steering_by_nothing_changes_nothing_and_a_linear_place_is_linear(
    tiny: GPT2, sources: Sources
) -> None:
    run = record(tiny, TOKENS)
    found = measured(tiny, run, GRIDS["steer"], sources)
    assert found[0, 2] == found[1, 2] == unchanged(tiny, run, metric_scorer(tiny, LD))


def test_an_interval_of_a_ratio_to_a_constant_is_that_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(size=(9, 4))
    whole = summary(values, resamples=200, seed=5)
    low, high = interval(values, np.full((9, 4), 2.0), resamples=200, seed=5)
    np.testing.assert_allclose(low, whole.low / 2)
    np.testing.assert_allclose(high, whole.high / 2)
    # numerator and denominator are drawn together
    low, high = interval(values, values, resamples=200, seed=5)
    np.testing.assert_allclose([low, high], 1.0)
