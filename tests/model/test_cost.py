"""What things cost, counted in operations and bytes, so that no clock is asked: speed cannot be lost unseen."""

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.components import Component, Kind
from model.edits.interventions import Ablate, Span
from model.effects import attribution
from model.effects.attribution import Gradients, gradients
from model.gpt2 import GPT2, Config
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.measured.suffix import ROWS
from model.measured.sweeps import patch_residuals
from model.metrics import Metric, Quantity
from model.trace import Trace, record
from tests.bench.floors import after_flops, head_flops, residual_flops
from tests.tiny import random_model

SHAPE = Config(n_layer=6, n_head=4, d_model=64, d_mlp=256, n_ctx=256, n_vocab=101)
TABLES = (
    attribution.embed_table,
    attribution.head_table,
    attribution.pair_table,
    attribution.mlp_table,
    attribution.neuron_table,
    attribution.bias_table,
)


class Watch(TorchDispatchMode):
    """Bytes of the tensors that are alive, graphs included, and of the largest one that was ever made."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self.largest, self._now = 0, 0, 0
        self._held: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor):
                self._see(each)
        return made

    def _see(self, x: Tensor) -> None:
        storage = x.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        self._now += 0 if self._held[place] else size
        self._held[place] += 1
        self.peak, self.largest = max(self.peak, self._now), max(self.largest, size)
        weakref.finalize(x, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self._held[place] -= 1
        self._now -= 0 if self._held[place] else size


def tokens_of(length: int) -> list[int]:
    return [(7 * at + 3) % SHAPE.n_vocab for at in range(length)]


def metric_at(pos: int) -> Metric:
    return Metric(Quantity.LOGIT_DIFF, (41,), (98,), pos)


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def heads_of(config: Config, span: Span | None = None) -> list[Ablate]:
    return [
        Ablate(Component(Kind.HEAD, layer, head), span)
        for layer in range(config.n_layer)
        for head in range(config.n_head)
    ]


@pytest.fixture(scope="module")
def model() -> GPT2:
    return random_model(SHAPE, dtype=torch.float32)


@pytest.fixture(scope="module")
def run(model: GPT2) -> Trace:
    return record(model, tokens_of(24))


def test_ablating_every_head_takes_hardly_more_operations_than_it_must(model: GPT2, run: Trace) -> None:
    scorer = metric_scorer(model, metric_at(23))
    found = flops(lambda: list(measure(model, run, scorer, heads_of(SHAPE))))
    assert found < 1.05 * head_flops(24, SHAPE)


def test_an_early_token_is_scored_without_running_later_ones(model: GPT2, run: Trace) -> None:
    scorer = metric_scorer(model, metric_at(7))
    found = flops(lambda: list(measure(model, run, scorer, heads_of(SHAPE))))
    assert found < 1.1 * head_flops(8, SHAPE)


def test_an_edit_at_one_token_runs_no_earlier_one(model: GPT2, run: Trace) -> None:
    scorer = metric_scorer(model, metric_at(23))
    found = flops(lambda: list(measure(model, run, scorer, heads_of(SHAPE, Span(18, 18)))))
    least = sum(SHAPE.n_head * after_flops(1 + 2 * layer, 18, 24, SHAPE) for layer in range(SHAPE.n_layer))
    assert found < 1.1 * least


def test_patching_every_place_of_the_residual_stream_wastes_a_fifth_at_most(model: GPT2, run: Trace) -> None:
    other, scorer = record(model, [token + 1 for token in run.tokens]), metric_scorer(model, metric_at(23))
    found = flops(lambda: list(patch_residuals(model, run, other, scorer)))
    assert found < 1.2 * residual_flops(24, SHAPE)


def test_where_two_prompts_agree_patching_costs_nothing(model: GPT2, run: Trace) -> None:
    other = record(model, [*run.tokens[:20], *(token + 1 for token in run.tokens[20:])])
    scorer = metric_scorer(model, metric_at(23))
    found = flops(lambda: list(patch_residuals(model, run, other, scorer)))
    assert found < 1.7 * residual_flops(24, SHAPE, differing=20)


def passes(model: GPT2, tokens: Sequence[int]) -> None:
    resid = model.embed(torch.tensor([tokens])).detach().requires_grad_()
    metric_at(len(tokens) - 1).of(model.unembed(model.final_norm(model.layers(resid)))[0, -1]).backward()


def every_row(model: GPT2, tokens: Sequence[int]) -> None:
    trace = record(model, tokens)
    by = gradients(model, trace, metric_at(len(tokens) - 1))
    for table in TABLES:
        table(model, trace, by)


def test_the_whole_node_table_takes_less_than_twice_a_forward_and_a_backward(model: GPT2) -> None:
    tokens = tokens_of(15)
    assert flops(lambda: every_row(model, tokens)) < 2 * flops(lambda: passes(model, tokens))


@pytest.mark.parametrize("length", [64, 128])
def test_no_table_makes_a_tensor_of_queries_by_keys_by_heads_by_the_model(model: GPT2, length: int) -> None:
    with Watch() as seen:
        every_row(model, tokens_of(length))
    wide = 8  # bytes: columns are float64
    assert seen.largest <= wide * SHAPE.n_head * length * max(length, SHAPE.d_model)


def test_pairs_of_one_query_do_not_cost_those_of_all(model: GPT2) -> None:
    trace = record(model, tokens_of(128))
    by = gradients(model, trace, metric_at(127))
    with Watch() as seen:
        attribution.pair_table(model, trace, by, [127])
    assert seen.largest <= 8 * SHAPE.n_head * 128 * SHAPE.d_model


def gradient_peak(n_layer: int, length: int) -> tuple[int, Gradients]:
    model = random_model(replace(SHAPE, n_layer=n_layer), dtype=torch.float32)
    trace, metric = record(model, tokens_of(length)), metric_at(length - 1)
    with Watch() as seen:
        by = gradients(model, trace, metric)
    return seen.peak, by


def test_gradients_hold_the_graph_of_one_line_however_many_layers_there_are() -> None:
    (two, _), (eight, by) = gradient_peak(2, 128), gradient_peak(8, 128)
    stream = 128 * SHAPE.d_model * 4
    # of each further layer: two gradients
    assert eight - two <= 6 * 3 * stream
    assert by.mid.nbytes == 8 * stream


@pytest.mark.parametrize("span", [None, Span(127, 127), Span(100, 100)])
def test_a_sweep_over_heads_holds_a_batch_and_copies_no_keys_of_earlier_tokens(
    model: GPT2, span: Span | None
) -> None:
    trace, scorer = record(model, tokens_of(128)), metric_scorer(model, metric_at(127))
    with Watch() as seen:
        list(measure(model, trace, scorer, heads_of(SHAPE, span) * 8))
    # inputs, queries, keys, values, hidden layer before and after, scores and pattern
    assert seen.largest <= ROWS * 4 * max(SHAPE.d_mlp, 3 * SHAPE.d_model, SHAPE.n_head * 128)
    assert seen.peak <= 4 * seen.largest
