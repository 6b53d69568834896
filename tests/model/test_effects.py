"""Effects against reruns: total ones are slopes, direct ones what is missed when all else is held."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Kind, Node
from model.edits.interventions import Ablate, Span, as_hook
from model.effects import attribution
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.nodes import joined
from model.sites import Hook, Site, compose
from model.trace import Trace, metric_value
from tests.naive import Naive
from tests.rounding import balance_bound
from tests.tiny import EARLY, EDITS, END, LD, TOKENS
from tests.writes import (
    FINAL_SCALE,
    WRITES,
    Write,
    adding,
    every_row,
    gradients_of,
    holding,
    some_rows,
    without_final_bias,
    writes_of,
)

LOGPROB = Metric(Quantity.LOGPROB, (41, 7), (), END)
PROB = replace(LOGPROB, quantity=Quantity.PROB, pos=3)


@torch.no_grad()
def metric_under(model: GPT2, metric: Metric, hook: Hook, batch: int = 1) -> Tensor:
    """The metric of each row of a batch of the same prompt: [batch]."""
    return metric.of(model(torch.tensor([TOKENS] * batch), hook)[:, metric.pos])


def slopes(model: GPT2, metric: Metric, trace: Trace, writes: list[Write]) -> np.ndarray:
    """d metric / d (factor of each write), the final scale held: a four-point difference, error h^4."""
    h, freeze = 2e-3, holding(trace, FINAL_SCALE)
    ours = as_hook(trace.changes)

    def at(amount: float) -> Tensor:
        hook = compose(ours, adding(writes, amount), freeze)
        return metric_under(model, metric, hook, len(writes))

    return ((8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)).numpy()


@pytest.mark.parametrize("metric", [LD, EARLY, LOGPROB, PROB], ids=["last", "earlier", "logprob", "prob"])
def test_C_total_effects_are_the_slope_of_scaling_a_write(tiny: GPT2, naive: Naive, metric: Metric) -> None:
    """C: the write times the gradient right after its own sub-layer, the final scale held."""
    trace, by = gradients_of(tiny, metric)
    table = some_rows(without_final_bias(every_row(tiny, trace, by)))
    expected = slopes(tiny, metric, trace, writes_of(naive, table))
    np.testing.assert_allclose(table.total, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["head scale", "attn scale", "mlp value", "embedding zero", "pair value"])
def test_C_total_effects_are_slopes_under_edits_too(tiny: GPT2, name: str) -> None:
    """The edited run's own writes: what a later edit overwrites has no effect, what it scales has that share."""
    trace, by = gradients_of(tiny, LD, EDITS[name])
    table = joined(
        [f(tiny, trace, by) for f in (attribution.embed_table, attribution.attn_table, attribution.mlp_table)]
    )
    writes: list[Write] = []
    for row in range(len(table)):
        node = table.node(row)
        if node.component.kind is Kind.EMBED:
            writes.append(Write(Site.RESID_PRE, 0, node.pos, trace[Site.RESID_PRE, 0][node.pos]))
            continue
        attn = node.component.kind is Kind.ATTN
        layer = node.component.layer
        out, bias = (Site.ATTN_OUT, Site.ATTN_BIAS) if attn else (Site.MLP_OUT, Site.MLP_BIAS)
        replaced = any(
            change.component == node.component and (change.span is None or change.span.first <= node.pos)
            for change in trace.changes
        )
        vector = trace[out, layer][node.pos] - (0 if replaced else trace[bias, layer][node.pos])
        writes.append(Write(out, layer, node.pos, vector))
    np.testing.assert_allclose(table.total, slopes(tiny, LD, trace, writes), rtol=0, atol=1e-9)


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
def test_J_without_a_write_and_with_all_else_held_the_metric_falls_by_its_direct_effect(
    tiny: GPT2, naive: Naive, metric: Metric
) -> None:
    """J, and I's second half: the direct path is linear, so removing the write takes exactly its direct effect."""
    trace, by = gradients_of(tiny, metric)
    table = some_rows(without_final_bias(every_row(tiny, trace, by)))
    writes = writes_of(naive, table)
    for factor in (-1.0, 0.001, 3.0):
        hook = compose(holding(trace, WRITES), adding(writes, factor))
        change = metric_under(tiny, metric, hook, len(writes)) - metric_value(tiny, trace, metric)
        np.testing.assert_allclose(change.numpy(), factor * table.direct, rtol=0, atol=1e-9)


@pytest.mark.parametrize("group", ["embed", "head", "pair", "attn", "mlp", "neuron", "bias"])
def test_J_in_float32_the_frozen_ablation_stays_within_rounding(tiny32: GPT2, group: str) -> None:
    """The loudest node of each kind zeroed by a real edit, every later write and the final scale held."""
    trace, by = gradients_of(tiny32, LD)
    table = without_final_bias(every_row(tiny32, trace, by)).at([END])
    of_group = [row for row in range(len(table)) if table.group(row) == group]
    loudest = max(of_group, key=lambda row: abs(table.direct[row]))
    node, direct = table.node(loudest), float(table.direct[loudest])
    part = node.component
    if group in ("attn", "mlp"):  # zeroing the output takes the bias along
        bias = Node(replace(part, kind=Kind.ATTN_BIAS if group == "attn" else Kind.MLP_BIAS), END)
        direct += sum(float(table.direct[row]) for row in range(len(table)) if table.node(row) == bias)
    change = Ablate(part, Span(END, END), node.key)
    own = {Kind.MLP: Site.MLP_OUT, Kind.NEURON: Site.MLP_OUT, Kind.MLP_BIAS: Site.MLP_OUT}
    at = own.get(part.kind, Site.ATTN_OUT), part.layer
    held = [where for where in WRITES if where != at or part.kind is Kind.EMBED]
    after = metric_under(tiny32, LD, compose(as_hook([change]), holding(trace, held)))
    bound = 2 * balance_bound(tiny32, trace, LD)
    assert metric_value(tiny32, trace, LD) - float(after[0]) == pytest.approx(direct, abs=bound)
    assert abs(direct) > 2 * bound, "too quiet to tell"
