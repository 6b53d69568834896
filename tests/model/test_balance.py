"""The books balance: rows of every kind and every bias add up to the metric, whatever was edited."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from model.edits.interventions import Change, Sources
from model.effects import attribution
from model.effects.attribution import Gradients
from model.gpt2 import GPT2
from model.metrics import Metric
from model.nodes import NodeTable, joined
from model.sites import Site
from model.trace import Trace, metric_value, record
from tests.edits import CHANGES, linear_metrics
from tests.rounding import balance_bound
from tests.tiny import EARLY, EDITS, END, L1H2, LD, TOKENS, sources_of

Table = Callable[[GPT2, Trace, Gradients], NodeTable]

ATTENTION: dict[str, Table] = {
    "head": attribution.head_table,
    "pair": attribution.pair_table,
    "attn": attribution.attn_table,
}
MLP: dict[str, Table] = {"neuron": attribution.neuron_table, "mlp": attribution.mlp_table}


def books(model: GPT2, trace: Trace, by: Gradients, attention: str, mlp: str) -> NodeTable:
    """Every row of one partition of the model."""
    parts = (attribution.embed_table, ATTENTION[attention], MLP[mlp], attribution.bias_table)
    return joined([table(model, trace, by) for table in parts])


def differences(
    model: GPT2, changes: tuple[Change, ...], sources: Sources, metric: Metric
) -> tuple[Trace, list[float]]:
    """How far each of the six partitions is from the metric."""
    trace = record(model, TOKENS, changes, sources)
    by = attribution.gradients(model, trace, metric, sources)
    target = metric_value(model, trace, metric)
    return trace, [
        float(books(model, trace, by, attention, mlp).direct.sum()) - target
        for attention in ATTENTION
        for mlp in MLP
    ]


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
@pytest.mark.parametrize("name", EDITS)
def test_A_direct_effects_and_biases_add_up_to_the_metric(
    tiny: GPT2, sources: Sources, name: str, metric: Metric
) -> None:
    _, off = differences(tiny, EDITS[name], sources, metric)
    assert max(map(abs, off)) <= 1e-9


@pytest.fixture(scope="module")
def sources32(tiny32: GPT2) -> Sources:
    return sources_of(tiny32)


@pytest.mark.parametrize("name", EDITS)
def test_A_in_float32_they_add_up_within_rounding(tiny32: GPT2, sources32: Sources, name: str) -> None:
    """The bound is derived in `tests/rounding.py`; a convention that is off shows as tenths."""
    trace, off = differences(tiny32, EDITS[name], sources32, LD)
    assert max(map(abs, off)) <= balance_bound(tiny32, trace, LD) < 0.02


@settings(max_examples=60, deadline=None)
@given(changes=CHANGES, metric=linear_metrics())
def test_A_holds_for_any_edits_and_any_linear_metric(
    tiny: GPT2, sources: Sources, changes: tuple[Change, ...], metric: Metric
) -> None:
    trace, off = differences(tiny, changes, sources, metric)
    scale = 1 + float(trace[Site.LN_FINAL_SCALE, 0].max())
    assert max(map(abs, off)) <= 1e-9 * scale


def test_A_the_metric_is_what_the_logits_say(tiny: GPT2) -> None:
    logits = tiny(torch.tensor([TOKENS]))[0]
    for metric in (LD, EARLY):
        at = logits[metric.pos]
        expected = (at[41] + at[7]) / 2 - at[98]
        assert metric_value(tiny, record(tiny, TOKENS), metric) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("name", EDITS)
def test_D_pairs_add_up_to_heads_heads_to_attention_and_neurons_to_mlps(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    """Layer by layer and token by token, direct and total effect alike."""
    trace = record(tiny, TOKENS, EDITS[name], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    sums = {kind: sums_by_place(table(tiny, trace, by)) for kind, table in (ATTENTION | MLP).items()}
    np.testing.assert_allclose(sums["pair"], sums["head"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(sums["head"], sums["attn"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(sums["neuron"], sums["mlp"], rtol=0, atol=1e-9)


def sums_by_place(table: NodeTable) -> np.ndarray:
    """[direct or total, layer, pos]."""
    sums = np.zeros((2, 3, len(TOKENS)))
    for n, column in enumerate((table.direct, table.total)):
        np.add.at(sums[n], (table.layer, table.pos), column)
    return sums


@pytest.mark.parametrize("name", EDITS)
def test_chosen_positions_are_those_rows_of_the_whole_table(tiny: GPT2, sources: Sources, name: str) -> None:
    trace = record(tiny, TOKENS, EDITS[name], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    for table in (attribution.pair_table, attribution.neuron_table):
        some, whole = table(tiny, trace, by, [1, 6]), table(tiny, trace, by).at([1, 6])
        np.testing.assert_allclose(ordered(some), ordered(whole), rtol=0, atol=1e-12)


def ordered(table: NodeTable) -> np.ndarray:
    """Every column, [column, row], rows in order of what they are."""
    names = (table.key, table.pos, table.index, table.layer, table.kind)
    order = np.lexsort(names)
    return np.stack([*names, table.act, table.write_norm, table.direct, table.total])[:, order]


@pytest.mark.parametrize("name", EDITS)
def test_no_node_is_listed_twice_and_no_norm_is_negative(tiny: GPT2, sources: Sources, name: str) -> None:
    trace = record(tiny, TOKENS, EDITS[name], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    for attention, mlp in (("head", "mlp"), ("pair", "neuron")):
        table = books(tiny, trace, by, attention, mlp)
        assert len({table.node(row) for row in range(len(table))}) == len(table)
        assert table.write_norm.min() >= 0


def test_an_edited_pair_keeps_its_row_and_an_edited_head_gets_one_in_place_of_its_pairs(tiny: GPT2) -> None:
    def at_the_end(name: str) -> NodeTable:
        trace = record(tiny, TOKENS, EDITS[name])
        table = attribution.pair_table(tiny, trace, attribution.gradients(tiny, trace, LD), [END])
        return table.take((table.layer == L1H2.layer) & (table.index == L1H2.index))

    pairs, head = at_the_end("pair value"), at_the_end("head scale at the end")
    assert pairs.key.tolist() == list(range(END + 1)) and pairs.act[3] == 0.9 and pairs.direct.all()
    assert head.key.tolist() == [*range(END + 1), -1] and not head.direct[:-1].any() and head.direct[-1]
    assert not head.write_norm[:-1].any() and head.write_norm[-1] > 0
