"""The laws of the node table on the bundled model itself, in float64 to 1e-9 and in float32 to rounding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import model.demo
from model.components import Component, Kind
from model.edits.interventions import Ablate, Patch, Sources, Span
from model.effects import attribution
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.metrics import Metric, Quantity
from model.nodes import joined
from model.sites import Site
from model.tokenizer import Tokenizer, load_tokenizer
from model.trace import metric_value, record
from model.weights import load_model

DEMO = Path(model.demo.__file__).parent / "gpt2-demo"
A = "<|endoftext|>When Mary and John went to the store, John gave a drink to"
B = "<|endoftext|>When Mary and John went to the store, Mary gave a drink to"
BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-4}
"Logits are of the order of 10 here; float32 keeps seven digits and a few hundred terms are added."


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(DEMO)


@pytest.fixture(scope="module", params=list(BOUNDS), ids=str)
def demo(request: pytest.FixtureRequest) -> GPT2:
    return load_model(DEMO, request.param)


def bound(demo: GPT2) -> float:
    return BOUNDS[demo.wte.weight.dtype]


@pytest.fixture
def tokens(tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(A)


@pytest.fixture
def metric(tokenizer: Tokenizer, tokens: list[int]) -> Metric:
    [mary], [john] = tokenizer.encode(" Mary"), tokenizer.encode(" John")
    return Metric(Quantity.LOGIT_DIFF, (mary,), (john,), len(tokens) - 1)


HEADS = [Component(Kind.HEAD, layer, head) for layer in range(6) for head in range(8)]


def test_A_every_partition_adds_up_to_the_metric(demo: GPT2, tokens: list[int], metric: Metric) -> None:
    for changes in ((), (Ablate(HEADS[33], Span(3, 9)), Ablate(Component(Kind.MLP, 2)))):
        trace = record(demo, tokens, changes)
        by = attribution.gradients(demo, trace, metric)
        for attention in (attribution.head_table, attribution.pair_table, attribution.attn_table):
            for mlp in (attribution.mlp_table, attribution.neuron_table):
                makers = (attribution.embed_table, attention, mlp, attribution.bias_table)
                total = joined([make(demo, trace, by) for make in makers]).direct.sum()
                assert total == pytest.approx(metric_value(demo, trace, metric), abs=bound(demo))


def test_B_in_the_last_layer_total_and_direct_effects_of_neurons_are_one(
    demo: GPT2, tokens: list[int], metric: Metric
) -> None:
    trace = record(demo, tokens)
    table = attribution.neuron_table(demo, trace, attribution.gradients(demo, trace, metric))
    last = table.layer == 5
    np.testing.assert_allclose(table.direct[last], table.total[last], rtol=0, atol=bound(demo))
    assert not table.direct[table.pos != metric.pos].any()


def test_D_the_writes_of_a_layers_heads_and_its_bias_are_its_output(demo: GPT2, tokens: list[int]) -> None:
    trace = record(demo, tokens)
    for layer, w_o in enumerate(attribution.head_matrices(demo)):
        summed = torch.einsum("htd,hdm->tm", trace[Site.Z, layer], w_o) + trace[Site.ATTN_BIAS, layer]
        torch.testing.assert_close(summed, trace[Site.ATTN_OUT, layer], rtol=0, atol=bound(demo))


def test_K_an_edit_changes_nothing_before_its_token(demo: GPT2, tokens: list[int]) -> None:
    base, edited = record(demo, tokens), record(demo, tokens, [Ablate(HEADS[2], Span(7, 7))])
    for layer in range(6):
        assert torch.equal(base[Site.RESID_POST, layer][:7], edited[Site.RESID_POST, layer][:7])
    assert not torch.equal(base[Site.RESID_POST, 5][7:], edited[Site.RESID_POST, 5][7:])


def test_M_exchanging_target_and_distractor_turns_every_sign(
    demo: GPT2, tokens: list[int], metric: Metric
) -> None:
    trace = record(demo, tokens)
    turned = replace(metric, targets=metric.distractors, distractors=metric.targets)
    here, there = (
        attribution.head_table(demo, trace, attribution.gradients(demo, trace, m)) for m in (metric, turned)
    )
    np.testing.assert_array_equal(here.direct, -there.direct)
    np.testing.assert_allclose(here.total, -there.total, rtol=0, atol=bound(demo))


def test_P_patching_everything_gives_prompt_b_and_patching_itself_nothing(
    demo: GPT2, tokenizer: Tokenizer, tokens: list[int], metric: Metric
) -> None:
    own, other = record(demo, tokens), record(demo, tokenizer.encode(B))
    everywhere = Span(0, len(tokens) - 1)
    whole = [Patch(Component(Kind.EMBED), everywhere, everywhere)]
    assert torch.equal(
        record(demo, tokens, whole, Sources(other=other))[Site.LN_FINAL, 0], other[Site.LN_FINAL, 0]
    )
    every = [Patch(head, everywhere, everywhere) for head in HEADS]
    assert torch.equal(
        record(demo, tokens, every, Sources(other=own))[Site.LN_FINAL, 0], own[Site.LN_FINAL, 0]
    )


def test_measured_effects_of_all_heads_are_those_of_single_runs(
    demo: GPT2, tokens: list[int], metric: Metric
) -> None:
    trace, edits = record(demo, tokens), [Ablate(head) for head in HEADS]
    for at, value in measure(demo, trace, metric_scorer(demo, metric), edits):
        single = metric_value(demo, record(demo, tokens, [edits[at]], base=trace), metric)
        assert value == pytest.approx(single, abs=bound(demo))
