"""The logit lens, against numpy loops and against the model itself."""

import numpy as np
import pytest
import torch

from model.edits.interventions import Sources
from model.gpt2 import GPT2
from model.lens import lens, lens_values, read, residuals
from model.metrics import Metric, Quantity
from model.sites import Site
from model.trace import logits_at, metric_value, record
from tests.naive import Array, Naive
from tests.rounding import metric_bound
from tests.tiny import EARLY, EDITS, END, LD, TINY, TOKENS, in_float64

LINES = 2 * TINY.n_layer + 2
METRICS = {
    "logit difference": LD,
    "earlier": EARLY,
    "logit": Metric(Quantity.LOGIT, (3, 4), (), END),
    "logprob": Metric(Quantity.LOGPROB, (41, 7), (), END),
    "prob": Metric(Quantity.PROB, (41, 7), (), END),
}


def naive_lens(naive: Naive, pos: int) -> Array:
    """Logits after every line, read at one token: [line, vocab]."""
    run, w = naive.run(TOKENS), naive.w
    after = [run["resid_pre", 0][pos]]
    for layer in range(TINY.n_layer):
        after.append(after[-1] + run["attn_out", layer][pos])
        after.append(after[-1] + run["mlp_out", layer][pos])
    after.append(after[-1])
    logits: list[Array] = []
    for x in after:
        centred = x - x.mean()
        normed = centred / np.sqrt((centred**2).mean() + naive.eps) * w["ln_f.weight"] + w["ln_f.bias"]
        logits.append(w["lm_head.weight"] @ normed)
    return np.stack(logits)


@pytest.mark.parametrize("pos", range(len(TOKENS)))
def test_every_line_agrees_with_numpy_loops(tiny: GPT2, naive: Naive, pos: int) -> None:
    logits = naive_lens(naive, pos)
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    reading = lens(tiny, record(tiny, TOKENS), LD, pos, k=5)
    order = np.argsort(-logits, axis=-1)
    np.testing.assert_array_equal(reading.top, order[:, :5])
    np.testing.assert_allclose(
        reading.top_prob, np.take_along_axis(probs, order[:, :5], -1), rtol=0, atol=1e-10
    )
    np.testing.assert_array_equal(reading.target_rank, np.argwhere(order == LD.targets[0])[:, 1])
    expected = logits[:, [41, 7]].mean(-1) - logits[:, 98]
    np.testing.assert_allclose(reading.value, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("name", ["none", "many", "final bias", "embedding zero"])
def test_the_last_line_is_the_metric(tiny: GPT2, sources: Sources, name: str, metric: Metric) -> None:
    trace = record(tiny, TOKENS, EDITS[name], sources)
    values = lens_values(tiny, trace, metric, metric.pos)
    assert len(values) == LINES
    target = metric_value(tiny, trace, metric)
    assert values[-1] == pytest.approx(target, abs=1e-10)
    assert values[-2] == pytest.approx(values[-1], abs=1e-12)  # U reads the stream and adds nothing to it
    np.testing.assert_allclose(lens(tiny, trace, metric, metric.pos).value, values, rtol=0, atol=1e-10)


def test_in_float32_the_last_line_is_the_metric_within_rounding(tiny32: GPT2) -> None:
    """Two float32 computations of one number lie within twice its rounding bound (`tests/rounding.py`)."""
    trace = record(tiny32, TOKENS)
    bound = metric_bound(in_float64(tiny32), TOKENS, LD)
    assert abs(lens_values(tiny32, trace, LD, END)[-1] - metric_value(tiny32, trace, LD)) <= 2 * bound < 0.02


def test_the_last_lines_tokens_are_the_models(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    for pos in range(len(TOKENS)):
        reading = lens(tiny, trace, LD, pos, k=4)
        best = logits_at(tiny, trace, pos).softmax(-1).topk(4)
        np.testing.assert_array_equal(reading.top[-1], best.indices.numpy())
        np.testing.assert_allclose(reading.top_prob[-1], best.values.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["none", "many", "embedding zero", "attn scale"])
def test_residuals_are_the_stream_after_each_line(tiny: GPT2, sources: Sources, name: str) -> None:
    trace = record(tiny, TOKENS, EDITS[name], sources)
    stream = residuals(trace, TINY.n_layer, 2)
    writes = [(site, layer) for layer in range(TINY.n_layer) for site in (Site.ATTN_OUT, Site.MLP_OUT)]
    assert stream.shape == (LINES, TINY.d_model)
    assert torch.equal(stream[0], trace[Site.RESID_PRE, 0][2])
    for line, at in enumerate(writes):
        assert (stream[line + 1] - stream[line] - trace[at][2]).abs().max() <= 1e-12
    assert torch.equal(stream[-1], stream[-2])
    assert (read(tiny, trace, stream[-1], 2) - trace[Site.LN_FINAL, 0][2]).abs().max() <= 1e-12


def test_an_edit_moves_the_lens_from_its_line_on(tiny: GPT2) -> None:
    clean, edited = record(tiny, TOKENS), record(tiny, TOKENS, EDITS["mlp value"])
    before, after = (lens_values(tiny, trace, LD, END) for trace in (clean, edited))
    line = 1 + 2 * 1 + 1  # M1
    np.testing.assert_array_equal(before[:line], after[:line])
    assert (before[line:] != after[line:]).all()


def test_more_tokens_than_there_are_is_all_of_them(tiny: GPT2) -> None:
    reading = lens(tiny, record(tiny, TOKENS), LD, END, k=1000)
    assert reading.top.shape == (LINES, TINY.n_vocab)
    np.testing.assert_allclose(reading.top_prob.sum(-1), 1, rtol=0, atol=1e-12)
