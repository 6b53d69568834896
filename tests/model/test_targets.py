"""Frames of tracing: what each asks about, and that the writes before it, the biases and its constant add up to it."""

import math
from collections.abc import Sequence

import pytest
import torch

from model.components import Component, Kind, Node
from model.edits.interventions import Sources
from model.effects import attribution
from model.effects.attribution import Gradients, Treatment
from model.gpt2 import GPT2
from model.lines import residual_site
from model.nodes import joined
from model.sites import Site, compose
from model.targets import Target, Via, metric_target, trace_target
from model.trace import RECORDED, Trace, record
from tests.tiny import EDITS, END, LD, TOKENS

HEAD, EARLY_HEAD = Component(Kind.HEAD, 2, 1), Component(Kind.HEAD, 1, 3)
PAIR, ROW = Node(HEAD, END, 3), Node(HEAD, END)
NEURON, MLP = Node(Component(Kind.NEURON, 1, 11), 4), Node(Component(Kind.MLP, 1), END)

FRAMES: dict[str, tuple[tuple[Node, Via | None], ...]] = {
    "a neuron": ((NEURON, None),),
    "an MLP for the metric": ((MLP, None),),
    "a score through q": ((PAIR, Via.Q),),
    "a score through k": ((PAIR, Via.K),),
    "a score through both": ((PAIR, Via.QK),),
    "a pair's value": ((PAIR, Via.V),),
    "a row's value": ((ROW, Via.V),),
    "a value for a query": ((PAIR, Via.Q), (Node(EARLY_HEAD, END, 2), Via.V)),
    "a value for a key": ((PAIR, Via.K), (Node(EARLY_HEAD, 3, 1), Via.V)),
    "an MLP for a value": ((ROW, Via.V), (Node(Component(Kind.MLP, 0), 2), None)),
    "a neuron of the first layer": ((Node(Component(Kind.NEURON, 0, 5), END), None),),
    "a score of the first layer": ((Node(Component(Kind.HEAD, 0, 2), END, 1), Via.Q),),
}


def framed(model: GPT2, trace: Trace, frames: Sequence[tuple[Node, Via | None]]) -> Target:
    target = metric_target(model, trace, LD)
    for node, via in frames:
        target = trace_target(model, trace, node, via, target)
    return target


def sum_of(model: GPT2, trace: Trace, by: Gradients, attention: str, mlp: str) -> float:
    tables = [attribution.embed_table, attribution.bias_table]
    tables += [{"head": attribution.head_table, "pair": attribution.pair_table}[attention]]
    tables += [{"mlp": attribution.mlp_table, "neuron": attribution.neuron_table}[mlp]]
    return float(joined([table(model, trace, by) for table in tables]).direct.sum())


@pytest.mark.parametrize(
    "edit", ["none", "head mean", "pair patch", "attn zero", "mlp patch", "embedding zero", "many"]
)
@pytest.mark.parametrize("frame", FRAMES)
def test_A_rows_and_biases_add_up_to_every_frame(tiny: GPT2, sources: Sources, frame: str, edit: str) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    target = framed(tiny, trace, FRAMES[frame])
    by = attribution.gradients(tiny, trace, target, sources)
    for attention, mlp in (("head", "mlp"), ("pair", "neuron")):
        assert sum_of(tiny, trace, by, attention, mlp) == pytest.approx(target.value, rel=1e-9, abs=1e-9)


def test_a_neurons_frame_is_its_recorded_preactivation(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    target = trace_target(tiny, trace, NEURON)
    assert target.value == pytest.approx(float(trace[Site.MLP_PRE, 1][4, 11]), abs=1e-12)


def test_a_scores_frame_is_the_recorded_score_and_counted_twice_through_both_sides(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS, sites=RECORDED | {Site.SCORES})
    score = float(trace[Site.SCORES, 2][1, END, 3])
    for via, times in ((Via.Q, 1), (Via.K, 1), (Via.QK, 2)):
        assert trace_target(tiny, trace, PAIR, via).value == pytest.approx(times * score, abs=1e-12)


def test_a_values_frame_is_the_heads_direct_effect_without_what_it_cannot_trace(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    metric = metric_target(tiny, trace, LD)
    by = attribution.gradients(tiny, trace, LD)
    pairs = attribution.pair_table(tiny, trace, by)
    row = next(i for i in range(len(pairs)) if pairs.node(i) == PAIR)
    assert trace_target(tiny, trace, PAIR, Via.V, metric).value == pytest.approx(pairs.direct[row], abs=1e-12)
    heads = attribution.head_table(tiny, trace, by)
    row = next(i for i in range(len(heads)) if heads.node(i) == ROW)
    assert trace_target(tiny, trace, ROW, Via.V, metric).value == pytest.approx(heads.direct[row], abs=1e-12)


def test_E_direct_effects_through_both_sides_are_those_through_q_plus_those_through_k(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    tables = {
        via: attribution.head_table(
            tiny, trace, attribution.gradients(tiny, trace, trace_target(tiny, trace, PAIR, via))
        )
        for via in (Via.Q, Via.K, Via.QK)
    }
    for measure in ("direct", "total"):
        q, k, both = (torch.tensor(getattr(tables[via], measure)) for via in (Via.Q, Via.K, Via.QK))
        torch.testing.assert_close(q + k, both, rtol=0, atol=1e-12)
        assert float(q.abs().max()) > 1e-3
        assert float(k.abs().max()) > 1e-3


@pytest.mark.parametrize("frame", FRAMES)
def test_what_comes_after_a_frame_or_at_tokens_it_does_not_read_has_no_direct_effect(
    tiny: GPT2, frame: str
) -> None:
    trace = record(tiny, TOKENS)
    target = framed(tiny, trace, FRAMES[frame])
    by = attribution.gradients(tiny, trace, target)
    heads = attribution.head_table(tiny, trace, by)
    for row in range(len(heads)):
        node = heads.node(row)
        if 1 + 2 * node.component.layer >= target.line:
            assert heads.direct[row] == heads.total[row] == 0
        elif node.pos not in by.scored:
            assert heads.direct[row] == 0
        if node.pos > max(by.scored):
            assert heads.total[row] == 0


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("treatment", Treatment)
def test_C_total_effects_are_finite_differences_of_the_frame(
    tiny: GPT2, frame: str, treatment: Treatment
) -> None:
    """The embedding of one token a little larger, scales held as the treatment says."""
    trace = record(tiny, TOKENS)
    target = framed(tiny, trace, FRAMES[frame])
    by = attribution.gradients(tiny, trace, target, treatment=treatment)
    table = attribution.embed_table(tiny, trace, by)
    for pos in (1, 3, END):
        up, down = (scored(tiny, trace, target, treatment, pos, step) for step in (1e-5, -1e-5))
        assert table.total[pos] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-7)


def scored(model: GPT2, trace: Trace, target: Target, treatment: Treatment, pos: int, step: float) -> float:
    """The target with the embedding at `pos` scaled by 1 + step."""

    def hook(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        if site is Site.RESID_PRE and layer == 0:
            x = x.clone()
            x[0, pos] *= 1 + step
        if treatment is Treatment.ALL and site in (Site.LN1_SCALE, Site.LN2_SCALE):
            return trace[site, layer][None]
        return x

    changed: dict[tuple[Site, int], torch.Tensor] = {}

    def keep(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
        changed[site, layer] = x[0]
        return x

    model(torch.tensor([trace.tokens]), compose(hook, keep))
    line, n_layer = target.line, model.config.n_layer
    resid = changed[residual_site(line, n_layer)]
    total = 0.0
    for read in target.reads:
        if line == 2 * n_layer + 1:
            norm, kept = model.ln_f, trace[Site.LN_FINAL_SCALE, 0]
        elif line % 2:
            norm, kept = model.blocks[line // 2].ln_1, trace[Site.LN1_SCALE, line // 2]
        else:
            norm, kept = model.blocks[line // 2 - 1].ln_2, trace[Site.LN2_SCALE, line // 2 - 1]
        x = resid[read.pos] - resid[read.pos].mean()
        variance = float((x**2).mean())
        live = math.sqrt(variance + norm.eps)
        scale = live if treatment is Treatment.NONE else float(kept[read.pos])
        total += float((x / scale * norm.weight) @ read.normed)
    return total


@pytest.mark.parametrize(
    ("node", "via", "word"),
    [
        (Node(Component(Kind.EMBED), 2), None, "cannot be traced"),
        (Node(Component(Kind.ATTN, 1), 2), None, "cannot be traced"),
        (Node(HEAD, 4), Via.V, "a token that is not read"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_one_sentence(
    tiny: GPT2, node: Node, via: Via | None, word: str
) -> None:
    trace = record(tiny, TOKENS)
    with pytest.raises(ValueError, match=word):
        trace_target(tiny, trace, node, via, metric_target(tiny, trace, LD))


def test_a_value_cannot_be_traced_for_what_comes_before_it(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    with pytest.raises(ValueError, match="comes after what reads"):
        trace_target(tiny, trace, PAIR, Via.V, trace_target(tiny, trace, NEURON))
