"""Who changed after an edit, and sets against singles: sums that are exact."""

from dataclasses import replace

import pytest
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.effects import attribution
from model.effects.backward import Question, value_of
from model.effects.writes import effects_of
from model.gpt2 import GPT2
from model.measured.repair import Place, differing, joint, shifts
from model.metrics import Metric, Quantity
from model.sites import Site
from model.targets import Via, metric_target, trace_target
from model.trace import Trace, metric_value, record
from tests.tiny import EARLY, EDITS, END, LD, OTHER, TOKENS

HEAD, LATER = Component(Kind.HEAD, 1, 2), Component(Kind.HEAD, 2, 0)
M0, M1 = Component(Kind.MLP, 0), Component(Kind.MLP, 1)
LOGPROB = Metric(Quantity.LOGPROB, (41,), (), END)


def frame(model: GPT2, trace: Trace) -> Question:
    return trace_target(model, trace, Node(Component(Kind.HEAD, 2, 1), END, 3), Via.QK)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize(
    "metric", [LD, EARLY, replace(LD, quantity=Quantity.LOGIT)], ids=["last", "earlier", "logit"]
)
def test_changes_of_direct_effects_add_up_to_the_metrics_change(
    tiny: GPT2, sources: Sources, edit: str, metric: Metric
) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, EDITS[edit], sources)
    rows = shifts(tiny, before, after, metric)
    changed = metric_value(tiny, after, metric) - metric_value(tiny, before, metric)
    assert sum(row.change for row in rows) == pytest.approx(changed, abs=1e-10)
    assert sum(row.before for row in rows) == pytest.approx(metric_value(tiny, before, metric), abs=1e-10)
    for row in rows:
        assert row.change == pytest.approx(row.after - row.before, abs=1e-12)
    sizes = [abs(row.change) for row in rows]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("edit", ["head zero everywhere", "attn zero", "mlp patch", "embedding zero", "many"])
def test_changes_add_up_to_the_change_of_a_frame(tiny: GPT2, sources: Sources, edit: str) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, EDITS[edit], sources)
    asked = frame(tiny, before)
    changed = value_of(tiny, after, asked) - value_of(tiny, before, asked)
    assert sum(row.change for row in shifts(tiny, before, after, asked)) == pytest.approx(changed, abs=1e-10)


def test_between_two_edited_runs_only_their_difference_counts_as_the_edit(
    tiny: GPT2, sources: Sources
) -> None:
    made = EDITS["head mean"]
    before = record(tiny, TOKENS, made, sources)
    after = record(tiny, TOKENS, (*made, Ablate(M1)), sources)
    assert differing(before, after) == [Ablate(M1)]
    rows = shifts(tiny, before, after, LD)
    changed = metric_value(tiny, after, LD) - metric_value(tiny, before, LD)
    assert sum(row.change for row in rows) == pytest.approx(changed, abs=1e-10)
    by = {row.node.component: row for row in rows}
    assert by[M1].place is Place.EDITED and by[HEAD].place is Place.ELSEWHERE
    assert by[Component(Kind.HEAD, 2, 0)].place is by[Component(Kind.MLP, 2)].place is Place.DOWNSTREAM


def test_the_frozen_part_is_the_change_of_write_under_the_scale_before(tiny: GPT2) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, (Ablate(HEAD),))
    then, now = (attribution.gradients(tiny, run, LD) for run in (before, after))
    for row in shifts(tiny, before, after, LD):
        if row.node.component.kind not in (Kind.FINAL_BIAS,):
            held = effects_of(tiny, after, replace(now, direct=then.direct), row.node).direct
            assert row.before == pytest.approx(effects_of(tiny, before, then, row.node).direct, abs=1e-12)
            assert row.frozen == pytest.approx(held - row.before, abs=1e-12)
            assert row.scale == pytest.approx(effects_of(tiny, after, now, row.node).direct - held, abs=1e-12)


def test_components_before_the_edit_change_by_the_scale_alone(tiny: GPT2) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, (Ablate(HEAD),))
    ratio = float(before[Site.LN_FINAL_SCALE, 0][END] / after[Site.LN_FINAL_SCALE, 0][END])
    kinds: set[Place] = set()
    for row in shifts(tiny, before, after, LD):
        kinds.add(row.place)
        if row.place is Place.ELSEWHERE:
            assert row.frozen == pytest.approx(0, abs=1e-12)
            expected = 0 if row.node.component.kind is Kind.FINAL_BIAS else row.before * (ratio - 1)
            assert row.scale == pytest.approx(expected, abs=1e-12)
    assert kinds == set(Place) and ratio != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "edited"),
    [
        (Ablate(HEAD), {HEAD}),
        (Ablate(HEAD, Span(0, 2)), set()),  # not at the token that is read: it acts through what comes after
        (Ablate(HEAD, key=1), {HEAD}),
        (Ablate(Component(Kind.NEURON, 1, 11)), {M1}),
        (Ablate(M1), {M1, Component(Kind.MLP_BIAS, 1)}),
        (Ablate(Component(Kind.ATTN, 1)), {*(Component(Kind.HEAD, 1, n) for n in range(4)), Component(Kind.ATTN, 1), Component(Kind.ATTN_BIAS, 1)}),
        (Ablate(Component(Kind.TOKEN_EMBED)), {Component(Kind.EMBED)}),
        (Ablate(Component(Kind.FINAL_BIAS)), {Component(Kind.FINAL_BIAS)}),
    ],
    ids=str,
)  # fmt: skip
def test_what_was_edited_is_named(tiny: GPT2, change: Change, edited: set[Component]) -> None:
    rows = shifts(tiny, record(tiny, TOKENS), record(tiny, TOKENS, (change,)), LD)
    assert {row.node.component for row in rows if row.place is Place.EDITED} == edited


def test_runs_of_two_prompts_are_refused(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="two prompts"):
        shifts(tiny, record(tiny, TOKENS), record(tiny, OTHER), LD)


@pytest.mark.parametrize("edit", ["none", "head mean"])
@pytest.mark.parametrize("asked", ["metric", "logprob", "frame"])
def test_a_set_is_measured_against_its_members_by_running_each(
    tiny: GPT2, sources: Sources, asked: str, edit: str
) -> None:
    made = EDITS[edit]
    trace = record(tiny, TOKENS, made, sources)
    question = {"metric": LD, "logprob": LOGPROB, "frame": frame(tiny, trace)}[asked]
    changes = [
        Ablate(LATER),
        Ablate(M0, Span(3, END)),
        Patch(Component(Kind.HEAD, 0, 1), Span(4, 4), Span(4, 4)),
    ]
    found = joint(tiny, trace, question, changes, sources)

    def effect(*some: Change) -> float:
        return value_of(tiny, record(tiny, TOKENS, (*made, *some), sources), question) - value_of(
            tiny, trace, question
        )

    assert found.together == pytest.approx(effect(*changes), abs=1e-10)
    assert found.singles == pytest.approx([effect(change) for change in changes], abs=1e-10)
    assert found.excess == pytest.approx(found.together - sum(found.singles), abs=1e-12)
    assert abs(found.excess) > 1e-6


def test_a_set_of_one_has_no_excess(tiny: GPT2) -> None:
    assert joint(tiny, record(tiny, TOKENS), LD, [Ablate(M0)]).excess == pytest.approx(0, abs=1e-10)


def test_the_linear_part_of_a_metric_is_what_adds_up_where_it_is_not_linear(tiny: GPT2) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, (Ablate(HEAD),))
    target = metric_target(tiny, before, LOGPROB)
    changed = value_of(tiny, after, target) - value_of(tiny, before, target)
    assert sum(row.change for row in shifts(tiny, before, after, LOGPROB)) == pytest.approx(
        changed, abs=1e-10
    )


def test_a_hook_that_raises_stops_a_set(tiny: GPT2) -> None:
    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        joint(tiny, record(tiny, TOKENS), LD, [Ablate(HEAD, mode=Mode.ZERO)], also=stop)
