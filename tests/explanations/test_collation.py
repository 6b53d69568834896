"""Collation against a full sort, one run a row, on a corpus that fits into memory."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from explanations.bins import EDGES
from explanations.collation.collecting import CollationError, Collected, Collector, Share, collect
from explanations.collation.corpus import Row
from explanations.collation.finishing import moments
from explanations.collation.groups import directions, model_groups
from explanations.collation.plans import Choice, Plan, hashes
from explanations.collation.slots import EMPTY, in_order
from explanations.collation.states import load_state, save_state, to_arrays
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import record
from tests.explanations.corpora import LENGTH, START, random_rows, slow

PLAN = Plan(length=LENGTH, batch=7, top=4, active=5, random=3, every=2, seed=3)
ROWS = random_rows(60)


def collected(model: GPT2, plan: Plan = PLAN, rows: list[Row] = ROWS) -> tuple[Collector, Collected]:
    collector = Collector(model, model_groups(model), plan, START)
    found = collector.nothing()
    for _ in collect(collector, found, iter(rows)):
        pass
    collector.settle(found)
    return collector, found


@pytest.fixture(scope="module")
def whole(tiny: GPT2) -> tuple[Collector, Collected]:
    return collected(tiny)


@pytest.fixture(scope="module")
def truth(whole: tuple[Collector, Collected], tiny: GPT2) -> list[list[torch.Tensor]]:
    """Group -> row -> activations."""
    return [slow(tiny, group, ROWS) for group in whole[0].groups]


GROUPS = ("L0H0", "N0.0", "M0", "L1H0", "N1.0", "M1", "L2H0", "N2.0", "M2")


@pytest.mark.parametrize("at", range(len(GROUPS)), ids=GROUPS)
def test_the_top_examples_are_those_of_a_full_sort(
    whole: tuple[Collector, Collected], truth: list[list[torch.Tensor]], at: int
) -> None:
    collector, found = whole
    group, top = collector.groups[at], in_order(found.tallies[at].top)
    assert group.nodes[0] == GROUPS[at]
    acts = truth[at]
    peaks = torch.stack([each.max(0).values for each in acts])  # [row, component]
    for index in range(len(group.nodes)):
        # in float32, as it is stored; of equal ones the earlier row
        order = sorted(range(len(ROWS)), key=lambda row: (-float(peaks[row, index].float()), row))[: PLAN.top]
        values = peaks[order, index].float()
        assert torch.allclose(top.values[index], values, rtol=1e-5, atol=1e-7)
        if values.unique().numel() == PLAN.top or torch.equal(top.values[index], values):
            assert top.rows[index].tolist() == order
        for slot, row in enumerate(top.rows[index].tolist()):
            exact = acts[row][:, index]
            spread = float(exact.max() - exact.min())
            shown = top.low[index, slot] + top.codes[index, slot, : len(exact)] * (
                (top.high[index, slot] - top.low[index, slot]) / 255
            )
            assert float((shown - exact).abs().max()) <= spread / 255 * 0.51 + 1e-6
            assert float(exact[top.peaks[index, slot]]) == pytest.approx(float(exact.max()), rel=1e-6)
            assert not top.codes[index, slot, len(exact) :].any()


@pytest.mark.parametrize("at", range(len(GROUPS)), ids=GROUPS)
def test_moments_counts_and_histograms_are_those_of_all_tokens(
    whole: tuple[Collector, Collected], truth: list[list[torch.Tensor]], at: int
) -> None:
    collector, found = whole
    group, tally = collector.groups[at], found.tallies[at]
    acts = truth[at]
    every = torch.cat(acts).numpy()
    mean, variance, skewness, kurtosis = moments(tally)
    assert int(tally.places[0]) == len(every)
    assert mean == pytest.approx(every.mean(0), rel=1e-5, abs=1e-7)
    assert variance == pytest.approx(every.var(0), rel=1e-4)
    standard = (every - every.mean(0)) / every.std(0)
    assert skewness == pytest.approx((standard**3).mean(0), rel=1e-3, abs=1e-3)
    assert kurtosis == pytest.approx((standard**4).mean(0), rel=1e-3)
    assert tally.above.tolist() == (every > 0).sum(0).tolist()
    counted = hashes(PLAN.seed, Choice.HISTOGRAM, np.arange(len(ROWS))) % PLAN.every == 0
    sampled = torch.cat([each for each, yes in zip(acts, counted, strict=True) if yes]).float().numpy()
    assert 0 < len(sampled) < len(every)
    for index in range(len(group.nodes)):
        expected, _ = np.histogram(sampled[:, index], EDGES)
        # a value on an edge belongs to the bin away from zero, and rounding may move it there
        assert np.abs(expected - tally.histogram[index].numpy()).sum() <= 2
        assert int(tally.histogram[index].sum()) == len(sampled)


def test_with_room_for_all_the_active_rows_are_all_of_them_and_without_a_sample_by_the_hash(
    tiny: GPT2, truth: list[list[torch.Tensor]]
) -> None:
    collector, everything = collected(tiny, replace(PLAN, active=len(ROWS)))
    group = collector.groups[1]
    peaks = torch.stack([each.max(0).values for each in truth[1]])
    order = np.argsort(hashes(PLAN.seed, Choice.ACTIVE, np.arange(len(ROWS))))
    _, few = collected(tiny)
    assert bool((peaks <= 0).any())
    for index in range(len(group.nodes)):
        active = [int(row) for row in order if peaks[row, index] > 0]
        slots = in_order(everything.tallies[1].active)
        assert slots.rows[index][slots.keys[index] != EMPTY].tolist() == active
        slots = in_order(few.tallies[1].active)
        assert slots.rows[index][slots.keys[index] != EMPTY].tolist() == active[: PLAN.active]


def test_the_random_sample_is_that_of_the_hash_and_every_row_of_an_example_is_kept(
    whole: tuple[Collector, Collected],
) -> None:
    _, found = whole
    order = np.argsort(hashes(PLAN.seed, Choice.RANDOM, np.arange(len(ROWS))))
    assert found.random.tolist() == order[: PLAN.random].tolist()
    rows = {int(number) for tally in found.tallies for number in tally.top.rows.flatten()} | set(
        found.random.tolist()
    )
    assert rows <= set(found.kept.numbers.tolist())
    assert all(found.kept.row(at) == ROWS[number] for at, number in enumerate(found.kept.numbers))
    assert (found.sequences, found.tokens) == (len(ROWS), sum(len(row.tokens) for row in ROWS))


def assert_same(one: Collected, other: Collected) -> None:
    mine, theirs = to_arrays(one), to_arrays(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()] == []
    assert (one.sequences, one.tokens) == (other.sequences, other.tokens)


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_a_run_that_was_killed_and_resumed_ends_byte_for_byte_the_same(
    tiny: GPT2, whole: tuple[Collector, Collected], tmp_path: Path, stop: int
) -> None:
    collector, uninterrupted = whole
    found = collector.nothing()
    for _ in islice(collect(collector, found, iter(ROWS)), stop):
        pass
    path = tmp_path / "state"
    collector.settle(found)
    save_state(path, found, {"seed": 3})
    resumed = load_state(path, collector, {"seed": 3})
    assert resumed.done == stop
    for _ in collect(collector, resumed, iter(ROWS)):
        pass
    collector.settle(resumed)
    assert_same(resumed, uninterrupted)
    with pytest.raises(CollationError, match="is of a run with another seed: repeat that, or delete it"):
        load_state(path, collector, {"seed": 4})


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shards_merge_to_byte_for_byte_the_single_answer_in_any_order(
    tiny: GPT2, whole: tuple[Collector, Collected], world: int
) -> None:
    collector, single = whole
    parts: list[Collected] = []
    for rank in range(world):
        part = collector.nothing()
        for _ in collect(collector, part, iter(ROWS), Share(rank, world)):
            pass
        collector.settle(part)
        parts.append(part)
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = collector.merged(merged, part)
        assert_same(merged, single)


def test_a_direction_is_collated_like_a_neuron(tiny: GPT2) -> None:
    axis = torch.zeros(tiny.config.d_model, dtype=torch.float64)
    axis[7] = 5.0
    at = Site.RESID_POST, 1
    collector = Collector(tiny, [directions(at, {"seven": axis})], PLAN, START)
    found = collector.nothing()
    for _ in collect(collector, found, iter(ROWS)):
        pass
    acts = [record(tiny, (START, *row.tokens))[at][1:, 7] for row in ROWS]
    best = max(float(each.max()) for each in acts)
    assert collector.groups[0].nodes == ("dir:seven",)
    assert float(found.tallies[0].top.values.max()) == pytest.approx(best, rel=1e-5)


def test_activations_that_are_not_finite_stop_the_run_with_a_sentence(tiny: GPT2) -> None:
    broken = GPT2(tiny.config).double().requires_grad_(False)
    broken.load_state_dict(tiny.state_dict())
    broken.blocks[1].mlp.c_proj.weight[3, 5] = torch.inf
    with pytest.raises(CollationError, match="activations are not finite in M1 and its like"):
        collected(broken)


def test_rows_that_are_too_long_for_the_model_are_refused(tiny: GPT2) -> None:
    with pytest.raises(CollationError, match="rows of 32 tokens are too long: this model reads 31"):
        Collector(tiny, model_groups(tiny), replace(PLAN, length=32), START)
