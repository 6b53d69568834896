"""Metrics inside the model: a direction's books, true activations, gradients, replays, and what refuses to be one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.components import Component, Kind, Node
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.backward import value_of
from model.estimates.remainders import remainders, slopes
from model.estimates.swap import Swap
from model.gpt2 import GPT2
from model.lens import lens, lens_values
from model.lines import last_line, residual_site
from model.measured.repair import shifts
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.metrics import Metric, Quantity
from model.nodes import NodeTable, joined
from model.probes import Activation, Direction, Probe, probe_line, refuse_probe
from model.sites import Site
from model.targets import Via, metric_target, trace_target
from model.trace import Trace, metric_value, record, reference
from model.upstream.edges import edges_from
from model.upstream.inputs import input_gradients
from tests.naive import Array, Naive
from tests.tiny import EDITS, END, TINY, TOKENS

VECTOR = tuple(torch.randn(48, generator=torch.Generator().manual_seed(7), dtype=torch.float64).tolist())
NEURON, FIRST_NEURON = Component(Kind.NEURON, 1, 11), Component(Kind.NEURON, 0, 5)
HEAD, FIRST_HEAD = Component(Kind.HEAD, 2, 1), Component(Kind.HEAD, 0, 2)


def asked(probe: Probe, pos: int = END) -> Metric:
    quantity = Quantity.DIRECTION if isinstance(probe, Direction) else Quantity.ACTIVATION
    return Metric(quantity, (41,), (), pos, probe)


DIRECTIONS = {
    "a direction before the first line": asked(Direction(1, VECTOR)),
    "a direction before an MLP": asked(Direction(4, VECTOR), 4),
    "a direction before attention": asked(Direction(5, VECTOR)),
    "a direction at the end": asked(Direction(last_line(TINY.n_layer), VECTOR), 3),
}
ACTIVATIONS = {
    "a neuron": asked(Activation(NEURON), 4),
    "a neuron of the first layer": asked(Activation(FIRST_NEURON)),
    "a head's attention": asked(Activation(HEAD, 3)),
    "a head's attention to its own token": asked(Activation(HEAD, 4), 4),
    "attention of the first layer": asked(Activation(FIRST_HEAD, 1), 5),
}
PROBED = DIRECTIONS | ACTIVATIONS


def every(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, PROBED.values(), ids=PROBED)


def rows_of(model: GPT2, trace: Trace, metric: Metric, sources: Sources, kinds: tuple[str, ...]) -> float:
    by = attribution.gradients(model, trace, metric, sources)
    tables: list[Callable[..., NodeTable]] = [getattr(attribution, f"{kind}_table") for kind in kinds]
    return float(joined([table(model, trace, by) for table in tables]).direct.sum())


@pytest.mark.parametrize("edit", ["none", "head mean", "pair patch", "mlp patch", "embedding zero", "many"])
@pytest.mark.parametrize("metric", DIRECTIONS.values(), ids=DIRECTIONS)
def test_a_directions_rows_add_up_to_the_residual_along_it(
    tiny: GPT2, sources: Sources, metric: Metric, edit: str
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    assert metric.linear and isinstance(metric.probe, Direction)
    resid = trace[residual_site(metric.probe.line, TINY.n_layer)][metric.pos].numpy()
    value = float(resid @ np.array(VECTOR))
    assert metric_value(tiny, trace, metric) == pytest.approx(value, rel=1e-12)
    for kinds in (("embed", "head", "mlp", "bias"), ("embed", "pair", "neuron", "bias")):
        assert rows_of(tiny, trace, metric, sources, kinds) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("edit", ["none", "embedding zero", "many"])
@pytest.mark.parametrize("metric", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_an_activations_rows_add_up_to_its_linear_part(
    tiny: GPT2, sources: Sources, metric: Metric, edit: str
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    target = metric_target(tiny, trace, metric)
    assert not metric.linear
    found = rows_of(tiny, trace, metric, sources, ("embed", "head", "mlp", "bias"))
    assert found == pytest.approx(target.value, rel=1e-9, abs=1e-9)


def test_a_direction_has_no_bias_of_a_layer_norm_among_its_rows(tiny: GPT2) -> None:
    for metric in DIRECTIONS.values():
        by = attribution.gradients(tiny, record(tiny, TOKENS), metric)
        table = attribution.bias_table(tiny, record(tiny, TOKENS), by)
        kinds = {table.node(row).component.kind for row in range(len(table))}
        assert kinds == {Kind.ATTN_BIAS, Kind.MLP_BIAS}


@pytest.mark.parametrize("edit", ["none", "head patch", "mlp value", "embedding mean"])
@pytest.mark.parametrize("metric", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_an_activation_is_what_the_run_recorded(
    tiny: GPT2, sources: Sources, metric: Metric, edit: str
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    assert isinstance(metric.probe, Activation)
    part, key = metric.probe.component, metric.probe.key
    if key is None:
        value = trace[Site.MLP_POST, part.layer][metric.pos, part.index]
    else:
        value = trace[Site.PATTERN, part.layer][part.index, metric.pos, key]
    assert metric_value(tiny, trace, metric) == pytest.approx(float(value), abs=1e-12)
    assert value_of(tiny, trace, metric) == pytest.approx(float(value), abs=1e-12)


@pytest.mark.parametrize("metric", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_an_activation_is_made_of_what_its_own_readers_meet(
    tiny: GPT2, sources: Sources, metric: Metric
) -> None:
    """Edges into them scaled: what was recorded, the books, the lens' last line and a replay."""
    assert isinstance(metric.probe, Activation)
    part, key, whole = metric.probe.component, metric.probe.key, Span(0, END)
    tails = [Component(Kind.EMBED), *([Component(Kind.HEAD, 0, 1)] if part.layer else [])]
    readers = [Component(Kind.MLP, part.layer)] if key is None else []
    readers += (
        [Component(kind, part.layer, part.index) for kind in (Kind.Q, Kind.K)] if key is not None else []
    )
    carried = [
        Carried(Ablate(tail, whole, mode=Mode.SCALE, amount=0.4), reader)
        for tail, reader in zip(tails * 2, readers * 2, strict=False)
    ]
    trace = record(tiny, TOKENS, [EdgeChange(tuple(carried))], sources)
    at = (Site.MLP_POST, part.layer) if key is None else (Site.PATTERN, part.layer)
    value = trace[at][metric.pos, part.index] if key is None else trace[at][part.index, metric.pos, key]
    assert metric_value(tiny, trace, metric) == pytest.approx(float(value), abs=1e-12)
    assert metric_value(tiny, record(tiny, TOKENS), metric) != pytest.approx(float(value), abs=1e-7)
    assert lens_values(tiny, trace, metric, metric.pos)[-1] == pytest.approx(float(value), abs=1e-12)
    target = metric_target(tiny, trace, metric)
    kinds = ("embed", "head", "mlp", "bias")
    assert rows_of(tiny, trace, metric, sources, kinds) == pytest.approx(target.value, abs=1e-9)
    change = Ablate(Component(Kind.TOKEN_EMBED), Span(metric.pos, metric.pos))
    ((_, replayed),) = measure(tiny, trace, metric_scorer(tiny, metric), [change], sources)
    again = record(tiny, TOKENS, [*trace.changes, change], sources)
    assert replayed == pytest.approx(metric_value(tiny, again, metric), abs=1e-10)


def test_an_edit_of_the_component_itself_comes_after_its_activation(tiny: GPT2) -> None:
    for metric in ACTIVATIONS.values():
        assert isinstance(metric.probe, Activation)
        edited = record(tiny, TOKENS, (Ablate(metric.probe.component),))
        assert metric_value(tiny, edited, metric) == metric_value(tiny, record(tiny, TOKENS), metric) != 0


def naive_value(naive: Naive, metric: Metric, edit: Callable[[str, int, Array], Array]) -> float:
    """The metric by loops, in a run that shares nothing with the library."""
    run = naive.run(TOKENS, edit)
    probe = metric.probe
    if isinstance(probe, Direction):
        site, layer = residual_site(probe.line, TINY.n_layer)
        return float(run[site.text, layer][metric.pos] @ np.array(VECTOR))
    assert probe is not None
    part = probe.component
    if probe.key is None:
        return float(run["mlp_post", part.layer][metric.pos, part.index])
    return float(run["pattern", part.layer][part.index, metric.pos, probe.key])


@every("metric")
def test_the_gradient_is_the_slope_of_an_independent_pass(tiny: GPT2, naive: Naive, metric: Metric) -> None:
    """Every layer norm live, the embeddings moved along a random direction."""
    way = np.random.default_rng(5).normal(size=(len(TOKENS), TINY.d_model))

    def at(step: float) -> float:
        return naive_value(
            naive, metric, lambda site, layer, x: x + step * way if (site, layer) == ("resid_pre", 0) else x
        )

    by = attribution.gradients(tiny, record(tiny, TOKENS), metric, treatment=Treatment.NONE)
    slope = (8 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4
    assert float((by.embed.numpy() * way).sum()) == pytest.approx(slope, rel=1e-7, abs=1e-9)
    assert metric_value(tiny, record(tiny, TOKENS), metric) == pytest.approx(at(0.0), abs=1e-12)


CHANGES: tuple[Change, ...] = (
    *(
        change
        for edit in ("head zero everywhere", "pair scale", "mlp mean", "neuron value", "attention bias")
        for change in EDITS[edit]
    ),
    *(Ablate(Component(Kind.EMBED), Span(pos, pos)) for pos in range(3)),
    Patch(Component(Kind.HEAD, 0, 1), Span(4, 6), Span(1, 3)),
    Ablate(Component(Kind.FINAL_BIAS), mode=Mode.VALUE, amount=0.3),
)


@pytest.mark.parametrize("edit", ["none", "head mean"])
@pytest.mark.parametrize("metric", [*PROBED.values(), None], ids=[*PROBED, "a divergence"])
def test_what_is_measured_is_what_whole_reruns_give(
    tiny: GPT2, sources: Sources, metric: Metric | None, edit: str
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    if metric is None:
        plain = reference(tiny, record(tiny, TOKENS), END)
        metric = Metric(Quantity.KL, (1,), (), END).against(plain)
    found = dict(measure(tiny, trace, metric_scorer(tiny, metric), CHANGES, sources))
    for job, change in enumerate(CHANGES):
        rerun = record(tiny, TOKENS, (*trace.changes, change), sources)
        assert found[job] == pytest.approx(metric_value(tiny, rerun, metric), abs=1e-10)


@every("metric")
def test_the_lens_ends_with_the_metric_and_stays_after_what_reads(tiny: GPT2, metric: Metric) -> None:
    trace = record(tiny, TOKENS)
    values = lens_values(tiny, trace, metric, metric.pos)
    assert metric.probe is not None
    line = probe_line(metric.probe)
    assert len(values) == 2 * TINY.n_layer + 2
    assert values[line - 1 :] == pytest.approx(metric_value(tiny, trace, metric), abs=1e-12)
    assert (lens(tiny, trace, metric, metric.pos).value == values).all()
    before = [
        metric_value(tiny, record(tiny, TOKENS, tuple(left_out(after, line)), Sources()), metric)
        for after in range(line - 1)
    ]
    if isinstance(metric.probe, Direction):
        assert values[: line - 1] == pytest.approx(np.array(before), abs=1e-10)


def left_out(after: int, line: int) -> list[Change]:
    """Edits that silence the lines between, so that nothing is added to the residual stream."""
    kinds = {1: Kind.ATTN, 0: Kind.MLP}
    return [Ablate(Component(kinds[at % 2], (at - 1) // 2)) for at in range(after + 1, line)]


@every("metric")
def test_the_edges_of_a_node_add_up_to_its_total_effect(tiny: GPT2, metric: Metric) -> None:
    trace = record(tiny, TOKENS)
    by = input_gradients(tiny, trace, metric, treatment=Treatment.NONE)
    gradients = attribution.gradients(tiny, trace, metric, treatment=Treatment.NONE)
    table = attribution.embed_table(tiny, trace, gradients)
    for pos in range(len(TOKENS)):
        edges = edges_from(tiny, trace, by, Node(Component(Kind.EMBED), pos))
        assert edges.total == pytest.approx(table.total[pos], rel=1e-8, abs=1e-10)


@every("metric")
def test_what_a_first_order_leaves_out_is_shared_out_among_the_steps(tiny: GPT2, metric: Metric) -> None:
    before, change = record(tiny, TOKENS), Ablate(Component(Kind.EMBED), Span(2, 2))
    after = record(tiny, TOKENS, (change,))
    by = attribution.gradients(tiny, before, metric, treatment=Treatment.NONE)
    first_order = -attribution.embed_table(tiny, before, by).total[2]
    gap = metric_value(tiny, after, metric) - metric_value(tiny, before, metric) - first_order
    found = remainders(slopes(Swap(tiny, before, None, metric)), after)
    assert sum(found.values()) == pytest.approx(gap, abs=1e-10)


@pytest.mark.parametrize("metric", DIRECTIONS.values(), ids=DIRECTIONS)
def test_changes_of_direct_effect_add_up_to_a_directions_and_owe_nothing_to_a_scale(
    tiny: GPT2, metric: Metric
) -> None:
    before, after = record(tiny, TOKENS), record(tiny, TOKENS, (Ablate(Component(Kind.HEAD, 0, 1)),))
    rows = shifts(tiny, before, after, metric)
    change = metric_value(tiny, after, metric) - metric_value(tiny, before, metric)
    assert sum(row.change for row in rows) == pytest.approx(change, abs=1e-10)
    assert all(row.scale == 0 for row in rows)


def test_a_value_can_be_traced_for_a_direction(tiny: GPT2) -> None:
    trace, metric = record(tiny, TOKENS), DIRECTIONS["a direction before attention"]
    target = metric_target(tiny, trace, metric)
    node = Node(Component(Kind.HEAD, 1, 3), END)
    frame = trace_target(tiny, trace, node, Via.V, target)
    table = attribution.head_table(tiny, trace, attribution.gradients(tiny, trace, metric))
    row = next(row for row in range(len(table)) if table.node(row) == node)
    assert frame.value == pytest.approx(table.direct[row], abs=1e-12)


def test_probes_are_values() -> None:
    for metric in PROBED.values():
        assert metric == replace(metric) and hash(metric) == hash(replace(metric))
    assert len(set(PROBED.values())) == len(PROBED)


@pytest.mark.parametrize(
    ("probe", "word"),
    [
        (lambda: Activation(Component(Kind.MLP, 1)), "M1 has no single activation"),
        (lambda: Activation(HEAD), "a head's activation has a key"),
        (lambda: Activation(NEURON, 3), "a neuron's has none"),
        (lambda: Direction(1, (1.0, 2.0)), "2 numbers: this model has 48"),
        (lambda: Direction(0, VECTOR), "no line 0"),
        (lambda: Direction(8, VECTOR), "no line 8"),
        (lambda: Activation(Component(Kind.HEAD, 2, 4), 1), "no L2H4"),
        (lambda: Activation(Component(Kind.NEURON, 3, 0)), "no N3.0"),
        (lambda: Activation(HEAD, END), "attention is causal"),
    ],
)
def test_what_is_no_probe_is_refused_in_one_sentence(probe: Callable[[], Probe], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        refuse_probe(probe(), END - 1, TINY)
