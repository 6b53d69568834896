"""Measured effects: edits replayed many at a time agree with making each one and running again."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from model.components import Component, Kind, Node
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.edits.path_edits import Meaning, PathPatch
from model.gpt2 import GPT2
from model.measured import rows, suffix
from model.measured.replay import measure
from model.measured.scorers import Scorer, metric_scorer, target_scorer, unchanged
from model.metrics import Metric, Quantity
from model.sites import Site
from model.targets import Via, metric_target, trace_target
from model.trace import Trace, metric_value, record
from tests.tiny import EARLY, EDITS, END, L0H1, L1H2, L2H0, LAST, LD, M0, M1, MIDDLE, N1, TINY, TOKENS

SINGLE = tuple(dict.fromkeys(change for changes in EDITS.values() for change in changes))


def every_head() -> list[Change]:
    heads = [
        Component(Kind.HEAD, layer, head) for layer in range(TINY.n_layer) for head in range(TINY.n_head)
    ]
    return [
        Ablate(head, span) for head in heads for span in (None, *(Span(pos, pos) for pos in range(END + 1)))
    ]


@pytest.mark.parametrize("metric", [LD, EARLY, replace(LD, quantity=Quantity.LOGPROB, distractors=())])
def test_measuring_is_making_each_edit_and_running_again(
    tiny: GPT2, sources: Sources, metric: Metric
) -> None:
    trace = record(tiny, TOKENS)
    found = dict(measure(tiny, trace, metric_scorer(tiny, metric), SINGLE, sources))
    assert sorted(found) == list(range(len(SINGLE)))
    for job, change in enumerate(SINGLE):
        expected = metric_value(tiny, record(tiny, TOKENS, (change,), sources), metric)
        assert found[job] == pytest.approx(expected, abs=1e-10), change


def test_a_sweep_over_heads_and_tokens_agrees_with_single_runs(tiny: GPT2) -> None:
    trace, jobs = record(tiny, TOKENS), every_head()
    found = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs))
    for job, change in enumerate(jobs):
        assert found[job] == pytest.approx(metric_value(tiny, record(tiny, TOKENS, (change,)), LD), abs=1e-10)


@pytest.mark.parametrize("edit", ["head mean", "attn zero", "mlp patch", "pair value", "many"])
def test_measuring_on_top_of_edits_keeps_them(tiny: GPT2, sources: Sources, edit: str) -> None:
    made = EDITS[edit]
    trace = record(tiny, TOKENS, made, sources)
    jobs = [change for change in SINGLE if change not in made][::5]
    found = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs, sources))
    for job, change in enumerate(jobs):
        expected = metric_value(tiny, record(tiny, TOKENS, (*made, change), sources), LD)
        assert found[job] == pytest.approx(expected, abs=1e-10)


def scored(model: GPT2, scorer: Scorer, run: Trace) -> float:
    line = scorer.line - 1
    site = Site.RESID_MID if line % 2 else Site.RESID_POST
    resid = run[Site.RESID_PRE, 0] if line == 0 else run[site, (line - 1) // 2]
    return float(scorer.score(torch.stack([resid[pos] for pos in scorer.positions])[None], run)[0])


@pytest.mark.parametrize("via", [Via.Q, Via.K, Via.QK, Via.V])
def test_a_frame_is_measured_with_its_layer_norm_live_and_its_other_side_held(tiny: GPT2, via: Via) -> None:
    trace, jobs = record(tiny, TOKENS), every_head()
    node = Node(Component(Kind.HEAD, 2, 1), END, 3)
    target = trace_target(tiny, trace, node, via, metric_target(tiny, trace, LD))
    scorer = target_scorer(tiny, target)
    assert scored(tiny, scorer, trace) == pytest.approx(target.value, abs=1e-10)
    found = dict(measure(tiny, trace, scorer, jobs))
    for job, change in enumerate(jobs):
        assert found[job] == pytest.approx(scored(tiny, scorer, record(tiny, TOKENS, (change,))), abs=1e-10)


def test_a_neurons_frame_measured_is_the_neurons_new_preactivation(tiny: GPT2) -> None:
    trace, jobs = record(tiny, TOKENS), every_head()
    target = trace_target(tiny, trace, Node(Component(Kind.NEURON, 2, 7), 5))
    for job, value in measure(tiny, trace, target_scorer(tiny, target), jobs):
        run = record(tiny, TOKENS, (jobs[job],))
        assert value == pytest.approx(float(run[Site.MLP_PRE, 2][5, 7]), abs=1e-10)


def test_only_lines_after_the_edit_and_before_the_target_run(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    seen: set[int] = set()

    def watch(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        seen.add(layer)
        return x

    jobs = [Ablate(Component(Kind.HEAD, 1, head)) for head in range(TINY.n_head)]
    list(measure(tiny, trace, metric_scorer(tiny, LD), jobs, also=watch))
    assert seen == {1, 2}
    seen.clear()
    target = trace_target(tiny, trace, Node(Component(Kind.NEURON, 1, 7), 5))
    list(measure(tiny, trace, target_scorer(tiny, target), jobs, also=watch))
    assert seen == set()  # attention of layer 1 is the line before what reads


def test_a_hook_that_raises_stops_a_sweep_and_keeps_what_was_found(
    tiny: GPT2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suffix, "ROWS", 100)
    calls = 0

    def stop(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise InterruptedError
        return x

    found: list[int] = []
    with pytest.raises(InterruptedError):
        for job, _ in measure(tiny, record(tiny, TOKENS), metric_scorer(tiny, LD), every_head(), also=stop):
            found.append(job)
    assert 0 < len(found) < len(every_head())


PATHED = PathPatch(
    (Patch(L0H1, LAST, LAST),), (Component(Kind.Q, 2, 0), Component(Kind.UNEMBED)), Meaning.MLPS
)
EDGED = EdgeChange(
    (Carried(Ablate(L0H1), Component(Kind.V, 1, 2)), Carried(Ablate(M0, MIDDLE), Component(Kind.UNEMBED)))
)


@pytest.mark.parametrize(
    "made", [(EDGED,), (PATHED,), (EDGED, PATHED), (Ablate(M1, LAST), EDGED, PATHED)], ids=str
)
def test_measuring_under_edges_and_paths_is_a_few_batches_not_a_run_each(
    tiny: GPT2, sources: Sources, monkeypatch: pytest.MonkeyPatch, made: tuple[Change, ...]
) -> None:
    """Same values; every layer is run as often as batches begin at or before it, however many edits there are."""
    trace, jobs = record(tiny, TOKENS, made, sources), every_head()
    calls: Counter[int] = Counter()

    def watch(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        calls[layer] += site is Site.SCORES
        return x

    found = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs, sources, also=watch))
    passes = 2 if PATHED in made else 1  # runs A, and then the runs of paths
    batches = TINY.n_layer * passes  # those of a layer's heads fit in one
    assert all(count <= batches + 1 for count in calls.values())
    for job, change in enumerate(jobs):
        expected = metric_value(tiny, record(tiny, TOKENS, (*made, change), sources), LD)
        assert found[job] == pytest.approx(expected, abs=1e-10), change
    monkeypatch.setattr(rows, "ROWS", 5 * len(TOKENS))
    smaller = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs, sources))
    assert smaller == pytest.approx(found, abs=1e-10)


@pytest.mark.parametrize("edit", [EDGED, PATHED], ids=str)
def test_what_changes_nothing_under_edges_and_paths_is_the_run_to_the_bit(
    tiny: GPT2, sources: Sources, edit: Change
) -> None:
    trace, scorer = record(tiny, TOKENS, [edit], sources), metric_scorer(tiny, LD)
    same = [Ablate(head, mode=Mode.SCALE, amount=1) for head in (L0H1, L1H2, L2H0)]
    assert {value for _, value in measure(tiny, trace, scorer, same, sources)} == {
        unchanged(tiny, trace, scorer)
    }


def test_edits_of_several_places_are_measured_together(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS)
    jobs = [
        (Ablate(L0H1, LAST), Patch(M1, LAST, LAST)),
        (Ablate(L0H1), Ablate(L2H0)),
        (Patch(L1H2, LAST, LAST), Ablate(N1)),
    ]
    calls: Counter[int] = Counter()

    def watch(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        calls[layer] += site is Site.SCORES
        return x

    found = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs, sources, also=watch))
    assert calls == {0: 1, 1: 2, 2: 2}
    for job, changes in enumerate(jobs):
        expected = metric_value(tiny, record(tiny, TOKENS, changes, sources), LD)
        assert found[job] == pytest.approx(expected, abs=1e-10)
