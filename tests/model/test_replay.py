"""Measured effects: edits replayed many at a time agree with making each one and running again."""

from dataclasses import replace

import pytest
import torch

from model.components import Component, Kind, Node
from model.edits.interventions import Ablate, Change, Sources, Span
from model.gpt2 import GPT2
from model.measured import suffix
from model.measured.replay import Scorer, measure, metric_scorer, target_scorer
from model.metrics import Metric, Quantity
from model.sites import Site
from model.targets import Via, metric_target, trace_target
from model.trace import Trace, metric_value, record
from tests.tiny import EARLY, EDITS, END, LD, TINY, TOKENS

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
        if calls > 60:
            raise InterruptedError
        return x

    found: list[int] = []
    with pytest.raises(InterruptedError):
        for job, _ in measure(tiny, record(tiny, TOKENS), metric_scorer(tiny, LD), every_head(), also=stop):
            found.append(job)
    assert 0 < len(found) < len(every_head())
