"""The second implementation: against loops in numpy, against the first one under every edit, and by its own laws."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.directions import Direction as Along
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Span, Steer, Way
from model.effects.attribution import gradients
from model.gpt2 import GPT2
from model.metrics import PROBES, Metric, Quantity, Reference
from model.probes import Activation, Direction
from model.reference import books, effects, questions
from model.reference.metrics import metric_of, weights_of
from model.reference.passes import Given, Pass
from model.reference.questions import Question
from model.reference.run import PlainGPT2, gelu, gelu_slope, read_plain
from model.reference.writes import write_of
from model.sets.tables import WHOLE
from model.sites import Site
from model.trace import RECORDED, record
from model.weights import save_model
from tests.naive import Naive
from tests.site_edits import EXAMPLE, SITE_EDITS, full_sources
from tests.tiny import (
    EDITS,
    EMBED,
    END,
    L0H1,
    L1H2,
    LAST,
    LD,
    M0,
    M1,
    MIDDLE,
    N0,
    N1,
    OTHER,
    REFERENCES,
    TINY,
    TOKENS,
    random_model,
)  # fmt: skip

SITES = {
    "embed": Site.EMBED, "positions": Site.POS_EMBED, "q": Site.Q, "k": Site.K, "v": Site.V, "pattern": Site.PATTERN,
    "z": Site.Z, "attn_bias": Site.ATTN_BIAS, "attn_out": Site.ATTN_OUT, "pre": Site.MLP_PRE, "post": Site.MLP_POST,
    "mlp_bias": Site.MLP_BIAS, "mlp_out": Site.MLP_OUT, "final_bias": Site.LN_FINAL_BIAS,
    "resid_pre": Site.RESID_PRE, "resid_mid": Site.RESID_MID, "resid_post": Site.RESID_POST, "scores": Site.SCORES,
    "ln1_scale": Site.LN1_SCALE, "ln2_scale": Site.LN2_SCALE, "ln_final_scale": Site.LN_FINAL_SCALE,
}  # fmt: skip
METRICS = {each.value: replace(LD, quantity=each) for each in Quantity if each not in PROBES} | {
    "direction": Metric(
        Quantity.DIRECTION, (41,), (), END, Direction(4, tuple(np.linspace(-1, 1, TINY.d_model)))
    ),
    "activation": Metric(Quantity.ACTIVATION, (41,), (), END, Activation(N1)),
    "attention": Metric(Quantity.ACTIVATION, (41,), (), END, Activation(L1H2, 3)),
}


@pytest.fixture(scope="module")
def plain(tiny: GPT2) -> PlainGPT2:
    return PlainGPT2(dict(tiny.state_dict()), TINY.n_layer, TINY.n_head, TINY.ln_eps)


@pytest.fixture(scope="module")
def given(plain: PlainGPT2) -> Given:
    means = tuple(plain.run(tokens) for tokens in REFERENCES)
    places = (tuple(range(len(TOKENS))),) * len(means)
    return Given(plain.run(OTHER), plain.run(TOKENS), means, places, examples={EXAMPLE: means[1]})


def near(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def test_a_pass_is_that_of_the_loops_at_every_place(plain: PlainGPT2, naive: Naive) -> None:
    run, loops = plain.run(TOKENS), naive.run(TOKENS)
    for (name, layer), value in run.values.items():
        near(value, torch.from_numpy(loops[SITES[name].text, layer]))
    for layer in range(TINY.n_layer):
        near(run.stream[1 + 2 * layer], torch.from_numpy(loops["resid_mid", layer]))
        near(run.stream[2 + 2 * layer], torch.from_numpy(loops["resid_post", layer]))
    near(plain.logits(run, END), torch.from_numpy(loops["logits", 0][END]))


ALONG = Along("a direction", tuple(np.linspace(-1, 1, TINY.d_model)))
ALSO: Mapping[str, tuple[Change, ...]] = {
    "frozen head": (Ablate(L0H1), Freeze(L1H2, MIDDLE)),
    "frozen pair": (Ablate(M0), Freeze(L1H2, LAST, key=2), Freeze(N1)),
    "steered neuron": (
        Steer(N1, LAST, way=Way.SET, amount=2.0),
        Steer(N0, way=Way.CLAMP, amount=-0.1, high=0.1),
    ),
    "steered pair": (Steer(L1H2, LAST, key=1, way=Way.ADD, amount=0.25),),
    "steered stream": (
        Steer(M1, MIDDLE, amount=-1.5, direction=ALONG),
        Steer(EMBED, amount=0.5, direction=ALONG),
    ),
    "pair by its mean": (Ablate(L1H2, LAST, key=3, mode=Mode.MEAN),),
}
CASES = {**EDITS, **ALSO, **SITE_EDITS}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_every_edit_means_the_same_in_both_implementations(
    tiny: GPT2, plain: PlainGPT2, given: Given, changes: tuple[Change, ...]
) -> None:
    trace = record(tiny, TOKENS, changes, full_sources(tiny), sites=RECORDED | {Site.SCORES})
    run = plain.run(TOKENS, changes, given)
    for (name, layer), value in run.values.items():
        near(value, trace[SITES[name], layer])
    near(plain.logits(run, END), tiny.unembed(trace[Site.LN_FINAL, 0][END]))


@pytest.mark.parametrize(
    "name", ["resid_mid patch", "steered everywhere", "resid_post scale", "stream replaced and steered"]
)
def test_effects_under_edits_of_the_stream_are_those_of_the_first_implementation(
    tiny: GPT2, plain: PlainGPT2, given: Given, name: str
) -> None:
    sources = full_sources(tiny)
    trace, run = record(tiny, TOKENS, SITE_EDITS[name], sources), plain.run(TOKENS, SITE_EDITS[name], given)
    question = questions.about_metric(plain, run, LD)
    pulled = effects.gradients(plain, run, question, given)
    by = gradients(tiny, trace, LD, sources)
    for table in (part(tiny, trace, by) for part in WHOLE):
        for row in range(len(table)):
            node = table.node(row)
            found = effects.effects_of(plain, run, question, node, pulled)
            assert table.total[row] == pytest.approx(found.total, abs=1e-9), node
            assert table.direct[row] == pytest.approx(found.direct, abs=1e-9), node
            assert table.write_norm[row] == pytest.approx(found.write_norm, abs=1e-9), node


def asked(plain: PlainGPT2, run: Pass, metric: Metric) -> Question:
    base = plain.logits(plain.run(OTHER), metric.pos) if metric.quantity is Quantity.KL else None
    return questions.about_metric(plain, run, metric, base)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
@pytest.mark.parametrize(
    "name",
    [
        "none",
        "many",
        "head inside an edited attention",
        "stream replaced and steered",
        "resid_mid patch",
        "frozen scales",
    ],
)
def test_every_write_read_again_adds_up_to_the_question(
    plain: PlainGPT2, given: Given, name: str, metric: Metric
) -> None:
    run = plain.run(TOKENS, CASES[name], given)
    question = asked(plain, run, metric)
    parts, biases = books.books(plain, run, question)
    assert parts + biases == pytest.approx(questions.value_of(plain, run, question), abs=1e-10)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())
@pytest.mark.parametrize("line", [0, 1, 2, 3])
def test_gradients_are_finite_differences_of_the_pass(plain: PlainGPT2, metric: Metric, line: int) -> None:
    """By the stream after a line, no scale held: the pass run on from there, moved a little either way."""
    run = plain.run(TOKENS)
    question = asked(plain, run, metric)
    line = min(line, question.line - 1)  # the last that is before what asks
    gradient = effects.gradients(plain, run, question, held="none")[line]
    push = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(line), dtype=torch.float64)
    ahead, behind = (moved(plain, run, question, line, push * step) for step in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(float((gradient * push).sum()), rel=1e-5, abs=1e-7)


def moved(plain: PlainGPT2, run: Pass, question: Question, line: int, push: Tensor) -> float:
    stream = [*run.stream[:line], run.stream[line] + push]
    for at in range(line + 1, question.line):
        stream.append(plain.step(at, stream[-1], lambda name, layer, x: x))
    return questions.live_value(plain, replace(run, stream=tuple(stream)), question, question.line - 1)


def test_what_is_measured_is_the_difference_of_two_whole_passes(plain: PlainGPT2) -> None:
    run, change = plain.run(TOKENS), Ablate(L1H2, LAST)
    question = questions.about_metric(plain, run, LD)
    before, after = (metric_of(LD, plain.logits(each, END)) for each in (run, plain.run(TOKENS, [change])))
    assert effects.measured(plain, run, question, change) == pytest.approx(float(before - after), abs=1e-12)
    nothing = Ablate(L1H2, Span(0, 0), mode=change.mode, key=0)
    assert effects.measured(plain, run, question, nothing) != 0


FORMULAS: Mapping[str, Metric] = {name: metric for name, metric in METRICS.items() if metric.probe is None}


@pytest.mark.parametrize("metric", FORMULAS.values(), ids=FORMULAS.keys())
def test_a_metrics_weights_are_the_gradient_of_its_value(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(1)
    logits, base = torch.randn(2, TINY.n_vocab, generator=generator, dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(metric_of(metric, leaf, base), leaf)
    near(weights_of(metric, logits, base), gradient)
    theirs = metric.against(Reference(base.log_softmax(-1)))
    near(metric_of(metric, logits, base), theirs.of(logits))


def test_the_nonlinearity_is_gelu_by_tanh_and_its_slope_by_hand() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.gelu(x, approximate="tanh")
    near(gelu(x), expected)
    near(gelu_slope(x), torch.autograd.grad(expected.sum(), x)[0])


def test_a_frame_of_a_head_asks_for_its_score_and_its_value(plain: PlainGPT2) -> None:
    run = plain.run(TOKENS)
    before = questions.about_metric(plain, run, LD)
    q, k = run["q", 1][2, END], run["k", 1][2, 3]
    score = float(q @ k) / TINY.d_head**0.5
    for via, times in (("q", 1), ("k", 1), ("qk", 2)):
        question = questions.about_node(plain, run, Node(L1H2, END, 3), via, before)
        assert questions.value_of(plain, run, question) == pytest.approx(times * score, abs=1e-12)
    value = questions.about_node(plain, run, Node(L1H2, END), "v", before)
    write = write_of(plain, run, Node(L1H2, END))
    direct = float(questions.reread(plain, run, before, END, write))
    assert questions.value_of(plain, run, value) == pytest.approx(direct, abs=1e-12)


def test_a_checkpoint_is_read_from_its_files_alone(plain: PlainGPT2, tmp_path: Path) -> None:
    save_model(random_model(), tmp_path, torch.float64)
    again = read_plain(tmp_path)
    assert (again.n_layer, again.n_head, again.eps) == (plain.n_layer, plain.n_head, plain.eps)
    near(again.logits(again.run(TOKENS), END), plain.logits(plain.run(TOKENS), END))


def test_an_edit_that_is_unknown_here_is_refused_by_name(plain: PlainGPT2) -> None:
    with pytest.raises(ValueError, match=r"^ablate U@\* zero is unknown to the independent pass$"):
        plain.run(TOKENS, [Ablate(Component(Kind.UNEMBED))])


@pytest.mark.parametrize(
    "change", [Patch(L1H2, LAST, LAST, example=2), Freeze(M0), Ablate(M0, mode=Mode.RESAMPLE)], ids=str
)
def test_an_edit_without_its_source_is_refused_by_name(plain: PlainGPT2, change: Change) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(str(change))} needs "):
        plain.run(TOKENS, [change])
