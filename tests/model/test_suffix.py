"""What comes after an edit, run without sites: the same lines as the model's own, in batches that waste little."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.edits.interventions import Sources, as_hook
from model.gpt2 import GPT2
from model.measured.scorers import metric_scorer, unchanged
from model.measured.suffix import ROWS, Goal, Push, attend, batches, think
from model.measured.sweeps import patch_residuals
from model.metrics import Metric
from model.sites import Hook, Site, compose
from model.trace import Trace, record
from tests.tiny import EARLY, EDITS, END, LD, OTHER, TINY, TOKENS

CLOSE = {"rtol": 0, "atol": 1e-11}


@pytest.mark.parametrize("layer", range(TINY.n_layer))
@pytest.mark.parametrize("begin", [0, 4])
def test_lines_without_sites_are_the_models_own_lines(tiny: GPT2, layer: int, begin: int) -> None:
    """Several streams at once, some of them beginning late, after tokens of the recorded run."""
    run, block = record(tiny, TOKENS), tiny.blocks[layer]
    stream = run[Site.RESID_PRE, layer]
    parts = {first: torch.stack([factor * stream[first:] for factor in (1.0, 2.0)]) for first in (3, 0, 6)}
    k, v = run[Site.K, layer], run[Site.V, layer]
    after = attend(block, parts, k, v, lambda first: max(first, begin))
    assert list(after) == list(parts)
    thought = think(block, after)
    for first, x in parts.items():
        whole = torch.cat([stream[:first].expand(2, -1, -1), x], 1)
        mid = block.attend(whole, layer)[:, max(first, begin) :]
        torch.testing.assert_close(after[first], mid, **CLOSE)
        torch.testing.assert_close(thought[first], block.think(mid, layer), **CLOSE)


PUSHES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), max_size=200)


@given(PUSHES)
def test_batches_hold_every_start_once_and_in_order(places: list[tuple[int, int]]) -> None:
    starts = [(Push(number, line, first), torch.zeros(1)) for number, (line, first) in enumerate(places)]
    found = [[push for push, _ in batch] for batch in batches(starts, Goal(7, (40,)))]
    assert [push.number for batch in found for push in batch] == list(range(len(starts)))
    for batch in found:
        assert len(batch) == 1 or sum(41 - push.first for push in batch) <= ROWS
    for one, two in pairwise(found):
        assert sum(41 - push.first for push in (*one, two[0])) > ROWS  # none is smaller than it has to be


def put(other: Trace, layer: int, pos: int) -> Hook:
    """Another run's residual stream at one place."""

    def hook(site: Site, at: int, x: Tensor) -> Tensor:
        if (site, at) != (Site.RESID_PRE, layer):
            return x
        x = x.clone()
        x[0, pos] = other[Site.RESID_PRE, layer][pos]
        return x

    return hook


@pytest.mark.parametrize("edit", ["none", "head mean", "many"])
@pytest.mark.parametrize("metric", [LD, EARLY])
def test_patching_the_residual_stream_is_running_on_with_the_other_runs_value(
    tiny: GPT2, sources: Sources, edit: str, metric: Metric
) -> None:
    run, other = record(tiny, TOKENS, EDITS[edit], sources), record(tiny, OTHER)
    found = {
        (layer, pos): value
        for layer, pos, value in patch_residuals(tiny, run, other, metric_scorer(tiny, metric), sources)
    }
    assert sorted(found) == [(layer, pos) for layer in range(TINY.n_layer) for pos in range(END + 1)]
    for (layer, pos), value in found.items():
        hook = compose(as_hook(EDITS[edit], sources), put(other, layer, pos))
        logits = tiny(torch.tensor([TOKENS]), hook)[0, metric.pos]
        assert value == pytest.approx(float(metric.of(logits)), abs=1e-10)


def test_a_patch_that_changes_nothing_gives_the_same_number_and_runs_nothing(tiny: GPT2) -> None:
    run, other, ran = record(tiny, TOKENS), record(tiny, OTHER), set[tuple[int, int]]()

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        ran.add((layer, len(x)))
        return x

    scorer = metric_scorer(tiny, LD)
    found = {
        (layer, pos): value for layer, pos, value in patch_residuals(tiny, run, other, scorer, also=watch)
    }
    same = [
        pos
        for pos in range(END + 1)
        if torch.equal(run[Site.RESID_PRE, 0][pos], other[Site.RESID_PRE, 0][pos])
    ]
    assert same == [1, 3, 6]
    assert {found[0, pos] for pos in same} == {unchanged(tiny, run, scorer)}
    assert ran
    ran.clear()
    list(patch_residuals(tiny, run, run, scorer, also=watch))
    assert ran == set()


def test_runs_of_two_lengths_cannot_be_patched_into_each_other(tiny: GPT2) -> None:
    run = record(tiny, TOKENS)
    with pytest.raises(ValueError, match="7 and 6 tokens: a sweep needs two runs of one length"):
        list(patch_residuals(tiny, run, record(tiny, TOKENS[:-1]), metric_scorer(tiny, LD)))
