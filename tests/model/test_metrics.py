"""Metrics of logits, and their gradients against finite differences."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.edits.interventions import Change, Sources
from model.gpt2 import GPT2
from model.metrics import PROBES, Metric, Quantity, Reference, final_gradient
from model.probes import Direction
from model.sites import Site
from model.trace import metric_value, record, reference
from tests.edits import CHANGES, TOKEN_IDS, linear_metrics
from tests.tiny import END, LD, OTHER, TOKENS

OF_LOGITS = [quantity for quantity in Quantity if quantity not in PROBES]
FROM = Reference(torch.randn(113, generator=torch.Generator().manual_seed(3)).double().log_softmax(-1))
"What the divergences are from."
SETS = st.lists(TOKEN_IDS, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    return Metric(draw(st.sampled_from(OF_LOGITS)), draw(SETS), draw(SETS), END).against(FROM)


def logits() -> torch.Tensor:
    return torch.randn(5, 113, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 3


@given(metric=metrics())
def test_the_metric_is_its_definition(metric: Metric) -> None:
    for row, value in zip(logits(), metric.of(logits()), strict=True):
        total = sum(math.exp(logit) for logit in row.tolist())
        apart = [
            math.exp(log) * (log - math.log(math.exp(logit) / total))
            for log, logit in zip(FROM.logprob.tolist(), row.tolist(), strict=True)
        ]
        targets = [float(row[token]) for token in metric.targets]
        distractors = [float(row[token]) for token in metric.distractors]
        expected = {
            Quantity.LOGIT_DIFF: sum(targets) / len(targets) - sum(distractors) / len(distractors),
            Quantity.LOGIT: sum(targets) / len(targets),
            Quantity.LOGIT_MINUS_MEAN: sum(targets) / len(targets) - sum(row.tolist()) / len(row),
            Quantity.LOGPROB: math.log(sum(map(math.exp, targets)) / total),
            Quantity.PROB: sum(map(math.exp, targets)) / total,
            Quantity.KL: sum(apart),
        }[metric.quantity]
        assert float(value) == pytest.approx(expected, abs=1e-11)


@given(metric=metrics())
def test_the_metric_of_the_final_norm_is_the_metric_of_its_logits(tiny: GPT2, metric: Metric) -> None:
    normed = record(tiny, TOKENS)[Site.LN_FINAL, 0]
    ours = metric.of_normed(normed, tiny.unembedding)
    assert (ours - metric.of(tiny.unembed(normed))).abs().max() <= 1e-11


@given(metric=metrics())
def test_the_gradient_is_the_slope(tiny: GPT2, metric: Metric) -> None:
    """Four-point differences along every axis of the final norm's output."""
    normed = record(tiny, TOKENS)[Site.LN_FINAL, 0][metric.pos]
    steps = torch.eye(len(normed), dtype=torch.float64) * 1e-3

    def at(times: int) -> torch.Tensor:
        return metric.of_normed(normed + times * steps, tiny.unembedding)

    slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / 12e-3
    assert (final_gradient(metric, normed, tiny.unembedding) - slope).abs().max() <= 1e-9


@given(metric=linear_metrics())
def test_a_linear_metric_is_its_direction(tiny: GPT2, metric: Metric) -> None:
    direction = metric.direction(tiny.unembedding)
    rows = tiny.unembedding.numpy()
    expected = np.mean([rows[token] for token in metric.targets], 0)
    if metric.quantity is Quantity.LOGIT_DIFF:
        expected = expected - np.mean([rows[token] for token in metric.distractors], 0)
    np.testing.assert_allclose(direction.numpy(), expected, rtol=0, atol=1e-14)


@given(sets=SETS)
def test_a_probability_is_the_exponential_of_its_log(sets: tuple[int, ...]) -> None:
    prob, logprob = (Metric(quantity, sets, (), 0) for quantity in (Quantity.PROB, Quantity.LOGPROB))
    assert (prob.of(logits()) - logprob.of(logits()).exp()).abs().max() <= 1e-14
    assert ((prob.of(logits()) > 0) & (prob.of(logits()) < 1)).all()


def test_the_probability_of_every_token_is_one() -> None:
    everything = Metric(Quantity.PROB, tuple(range(113)), (), 0)
    assert (everything.of(logits()) - 1).abs().max() <= 1e-14


@pytest.mark.parametrize("quantity", OF_LOGITS)
def test_naming_every_token_twice_changes_nothing(quantity: Quantity) -> None:
    """A mean repeats harmlessly, a set of tokens has one probability, and a divergence names none."""
    once = Metric(quantity, (3, 8), (5,), 0).against(FROM)
    twice = replace(once, targets=(3, 8, 3, 8), distractors=(5, 5))
    assert (once.of(logits()) - twice.of(logits())).abs().max() <= 1e-14


def test_logits_far_from_zero_do_not_overflow() -> None:
    far = logits() * 1e4
    for quantity in OF_LOGITS:
        assert Metric(quantity, (3,), (5,), 0).against(FROM).of(far).isfinite().all()
    itself = Reference(far[0].log_softmax(-1))
    apart = Metric(Quantity.KL, (3,), (), 0).against(itself).of(far)
    assert apart.isfinite().all() and apart[0] == 0


@given(changes=CHANGES, pos=st.integers(0, END))
def test_a_divergence_is_never_negative_and_nothing_only_from_itself(
    tiny: GPT2, sources: Sources, changes: tuple[Change, ...], pos: int
) -> None:
    plain = record(tiny, TOKENS)
    edited = record(tiny, TOKENS, changes, sources)
    metric = Metric(Quantity.KL, (1,), (), pos).against(reference(tiny, plain, pos))
    assert metric_value(tiny, plain, metric) == 0
    p, q = (tiny.unembed(run[Site.LN_FINAL, 0][pos]).softmax(-1).numpy() for run in (plain, edited))
    assert metric_value(tiny, edited, metric) == pytest.approx(float((p * np.log(p / q)).sum()), abs=1e-12)
    assert metric_value(tiny, edited, metric) >= 0


def test_a_divergence_from_itself_has_no_slope(tiny: GPT2) -> None:
    normed = record(tiny, TOKENS)[Site.LN_FINAL, 0][END]
    metric = Metric(Quantity.KL, (1,), (), END).against(reference(tiny, record(tiny, TOKENS), END))
    assert final_gradient(metric, normed, tiny.unembedding).abs().max() <= 1e-12
    other = record(tiny, OTHER)[Site.LN_FINAL, 0][END]
    assert final_gradient(metric, other, tiny.unembedding).abs().max() > 1e-3


def test_metrics_are_values() -> None:
    assert LD == replace(LD) and hash(LD) == hash(replace(LD)) and LD != replace(LD, pos=0)
    assert {quantity: Metric(quantity, (1,), (2,), 0).linear for quantity in OF_LOGITS} == {
        Quantity.LOGIT_DIFF: True, Quantity.LOGIT: True, Quantity.LOGIT_MINUS_MEAN: True,
        Quantity.LOGPROB: False, Quantity.PROB: False, Quantity.KL: False,
    }  # fmt: skip
    kl = Metric(Quantity.KL, (1,), (), 0)
    assert kl.against(FROM) == kl.against(FROM) != kl.against(Reference(FROM.logprob)) != kl
    assert LD.against(FROM) == LD


def test_what_a_metric_needs_is_a_sentence(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="at least one target token"):
        Metric(Quantity.LOGIT, (), (), 0)
    with pytest.raises(ValueError, match="at least one distractor token"):
        Metric(Quantity.LOGIT_DIFF, (1,), (), 0)
    with pytest.raises(ValueError, match="prob is not a direction"):
        Metric(Quantity.PROB, (1,), (), 0).direction(tiny.unembedding)
    with pytest.raises(ValueError, match="kl is of two runs"):
        Metric(Quantity.KL, (1,), (), 0).of(logits())
    probe = Direction(1, (0.0,) * 48)
    with pytest.raises(ValueError, match="direction is read inside the model"):
        Metric(Quantity.DIRECTION, (1,), (), 0, probe).of(logits())
    for quantity, given_ in ((Quantity.ACTIVATION, None), (Quantity.LOGIT, probe)):
        with pytest.raises(ValueError, match="have a probe"):
            Metric(quantity, (1,), (), 0, given_)
