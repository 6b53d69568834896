"""Rows of the node table: against numpy loops, and the laws that they keep."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from model.components import Kind, Node
from model.edits.interventions import Sources
from model.effects import attribution
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.sites import Site
from model.targets import gradient_at, metric_target
from model.trace import Trace, metric_value, record
from tests.edits import linear_metrics
from tests.naive import Naive, Run
from tests.tiny import EARLY, END, LD, TINY, TOKENS
from tests.writes import FINAL_SCALE, every_row, gradients_of, holding, without_final_bias, writes_of


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
def test_every_column_agrees_with_numpy_loops(tiny: GPT2, naive: Naive, metric: Metric) -> None:
    """N as well: the direct effect is the write, centred, over the final scale, times weight and direction."""
    trace, by = gradients_of(tiny, metric)
    table = without_final_bias(every_row(tiny, trace, by))
    run, w = naive.run(TOKENS), naive.w
    scale = run["ln_final_scale", 0][metric.pos, 0]
    direction = w["lm_head.weight"][[41, 7]].mean(0) - w["lm_head.weight"][98]
    for row, write in enumerate(writes_of(naive, table)):
        vector, node = write.vector.numpy(), table.node(row)
        direct = ((vector - vector.mean()) / scale * w["ln_f.weight"]) @ direction
        assert table.direct[row] == pytest.approx(direct * (node.pos == metric.pos), abs=1e-9), node
        assert table.write_norm[row] == pytest.approx(np.sqrt((vector**2).sum()), abs=1e-9), node
        assert table.act[row] == pytest.approx(activation(run, node), abs=1e-9), node


def activation(run: Run, node: Node) -> float:
    part = node.component
    if node.key is not None:
        return float(run["pattern", part.layer][part.index, node.pos, node.key])
    return float(run["mlp_post", part.layer][node.pos, part.index]) if part.kind is Kind.NEURON else 1.0


def test_every_node_has_its_row(tiny: GPT2) -> None:
    table = every_row(tiny, *gradients_of(tiny, LD))
    t, layers = len(TOKENS), TINY.n_layer
    counts = {group: 0 for group in ("embed", "head", "pair", "attn", "mlp", "neuron", "bias")}
    for row in range(len(table)):
        counts[table.group(row)] += 1
    assert counts == {
        "embed": t, "head": layers * TINY.n_head * t, "pair": layers * TINY.n_head * t * (t + 1) // 2,
        "attn": layers * t, "mlp": layers * t, "neuron": layers * TINY.d_mlp * t, "bias": 2 * layers * t + 1,
    }  # fmt: skip


def test_the_final_bias_adds_what_it_adds_to_the_metric(tiny: GPT2) -> None:
    for metric in (LD, EARLY):
        trace, by = gradients_of(tiny, metric)
        table = attribution.bias_table(tiny, trace, by)
        row = len(table) - 1
        assert table.node(row) == Node(table.node(row).component, metric.pos)
        assert table.node(row).component.kind is Kind.FINAL_BIAS
        without = tiny.final_norm(trace[Site.RESID_POST, 2][None])[0, metric.pos] - tiny.ln_f.bias
        rest = float(metric.of_normed(without, tiny.unembedding))
        assert table.direct[row] == pytest.approx(metric_value(tiny, trace, metric) - rest, abs=1e-10)


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
def test_B_the_last_mlp_has_no_effect_but_the_direct_one(tiny: GPT2, metric: Metric) -> None:
    """B: for the last layer's neurons total is direct; away from the metric's token direct is nothing."""
    trace, by = gradients_of(tiny, metric)
    table = every_row(tiny, trace, by)
    last = np.isin(table.kind, [list(Kind).index(kind) for kind in (Kind.NEURON, Kind.MLP, Kind.MLP_BIAS)])
    last &= table.layer == TINY.n_layer - 1
    np.testing.assert_allclose(table.total[last], table.direct[last], rtol=0, atol=1e-12)
    assert not table.direct[table.pos != metric.pos].any()
    attention = (table.kind == list(Kind).index(Kind.HEAD)) & (table.layer == TINY.n_layer - 1)
    assert np.abs(table.total - table.direct)[attention].max() > 0.01


def test_K_nodes_after_the_metrics_token_have_no_effect(tiny: GPT2) -> None:
    table = every_row(tiny, *gradients_of(tiny, EARLY))
    after = table.pos > EARLY.pos
    assert after.any() and not table.total[after].any() and not table.direct[after].any()
    assert np.abs(table.total[table.pos < EARLY.pos]).max() > 0.1


def test_D_pair_writes_and_the_bias_are_attentions_output(tiny32: GPT2, tiny: GPT2) -> None:
    """Float32: at most gamma_n of the terms' absolute sum, n their number and the length of their products."""
    for model, unit in ((tiny, 2.0**-53), (tiny32, 2.0**-24)):
        trace = record(model, TOKENS)
        for layer, w_o in enumerate(attribution.head_matrices(model)):
            pattern, v = trace[Site.PATTERN, layer], trace[Site.V, layer]
            bias = trace[Site.ATTN_BIAS, layer]
            written = torch.einsum("hqk,hkd,hdm->qm", pattern.double(), v.double(), w_o.double()) + bias
            terms = torch.einsum("hqk,hkd,hdm->qm", pattern.abs(), v.abs(), w_o.abs()) + bias.abs()
            n = len(TOKENS) + TINY.d_model + 3
            off = (written - trace[Site.ATTN_OUT, layer]).abs()
            assert (off <= 2 * n * unit * terms).all()
            assert off.max() <= (1e-9 if model is tiny else 1e-4)


def test_M_swapping_target_and_distractor_negates_every_effect(tiny: GPT2, tiny32: GPT2) -> None:
    swapped = replace(LD, targets=LD.distractors, distractors=LD.targets)
    for model in (tiny, tiny32):
        trace, by = gradients_of(model, LD)
        there, back = every_row(model, trace, by), every_row(model, *gradients_of(model, swapped))
        np.testing.assert_array_equal(there.direct, -back.direct)
        np.testing.assert_array_equal(there.total, -back.total)
        assert metric_value(model, trace, LD) == -metric_value(model, trace, swapped)


def test_M_effects_are_linear_in_the_set_of_tokens(tiny: GPT2) -> None:
    def effects(metric: Metric) -> np.ndarray:
        table = every_row(tiny, *gradients_of(tiny, metric))
        return np.stack([table.direct, table.total])

    logits = [effects(Metric(Quantity.LOGIT, (token,), (), END)) for token in (41, 7, 98, 3)]
    both = effects(Metric(Quantity.LOGIT_DIFF, (41, 7), (98, 3), END))
    expected = (logits[0] + logits[1]) / 2 - (logits[2] + logits[3]) / 2
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-11)


def read_gradient(model: GPT2, trace: Trace, metric: Metric) -> Tensor:
    """d metric / d(last residual at its token), the final scale held: [d_model]."""
    target = metric_target(model, trace, metric)
    return gradient_at(model, trace, target, target.reads[0])


def test_N_a_direct_effect_is_what_the_write_does_to_each_tokens_logit(tiny: GPT2, naive: Naive) -> None:
    """For every token of the vocabulary: the write through the frozen final norm and the unembedding."""
    trace = record(tiny, TOKENS)
    run, w = naive.run(TOKENS), naive.w
    promoted = np.empty((TINY.n_head, TINY.n_vocab))
    for head in range(TINY.n_head):
        vector = run.pairs[1][head, END].sum(0)
        normed = (vector - vector.mean()) / run["ln_final_scale", 0][END, 0] * w["ln_f.weight"]
        promoted[head] = w["lm_head.weight"] @ normed
    for token in range(TINY.n_vocab):
        metric = Metric(Quantity.LOGIT, (token,), (), END)
        direct = read_gradient(tiny, trace, metric)
        ours = torch.einsum(
            "hd,hdm,m->h", trace[Site.Z, 1][:, END], attribution.head_matrices(tiny)[1], direct
        )
        np.testing.assert_allclose(ours.numpy(), promoted[:, token], rtol=0, atol=1e-9)


def test_O_repeating_every_token_of_a_set_leaves_the_metric(tiny: GPT2) -> None:
    twice = replace(LD, targets=LD.targets * 2, distractors=LD.distractors * 3)
    once, again = (every_row(tiny, *gradients_of(tiny, metric)) for metric in (LD, twice))
    np.testing.assert_allclose(once.direct, again.direct, rtol=0, atol=1e-12)
    np.testing.assert_allclose(once.total, again.total, rtol=0, atol=1e-12)


def shuffled(model: GPT2, layer: int) -> tuple[GPT2, list[int], list[int]]:
    """The same function with a layer's heads and neurons in another order: new head i is old head order[i]."""
    heads, neurons = (
        [2, 0, 3, 1],
        torch.randperm(TINY.d_mlp, generator=torch.Generator().manual_seed(5)).tolist(),
    )
    copy = GPT2(model.config).double().requires_grad_(False)
    copy.load_state_dict(model.state_dict())
    block, d = copy.blocks[layer], TINY.d_head
    columns = torch.cat([torch.arange(h * d, (h + 1) * d) for h in heads])
    three = torch.cat([columns + n * TINY.d_model for n in range(3)])
    block.attn.c_attn.weight.copy_(block.attn.c_attn.weight[:, three].clone())
    block.attn.c_attn.bias.copy_(block.attn.c_attn.bias[three].clone())
    block.attn.c_proj.weight.copy_(block.attn.c_proj.weight[columns].clone())
    block.mlp.c_fc.weight.copy_(block.mlp.c_fc.weight[:, neurons].clone())
    block.mlp.c_fc.bias.copy_(block.mlp.c_fc.bias[neurons].clone())
    block.mlp.c_proj.weight.copy_(block.mlp.c_proj.weight[neurons].clone())
    return copy, heads, neurons


def test_O_another_order_of_heads_and_neurons_only_moves_rows(tiny: GPT2) -> None:
    other, heads, neurons = shuffled(tiny, 1)
    for table, order in (
        (attribution.head_table, heads),
        (attribution.pair_table, heads),
        (attribution.neuron_table, neurons),
    ):
        before, after = (table(model, *gradients_of(model, LD)) for model in (tiny, other))
        place = {before.node(row): row for row in range(len(before))}
        for row in range(len(after)):
            node = after.node(row)
            part = node.component
            if part.layer == 1 and part.index is not None:
                node = replace(node, component=replace(part, index=order[part.index]))
            was = place[node]
            assert after.direct[row] == pytest.approx(before.direct[was], abs=1e-9)
            assert after.total[row] == pytest.approx(before.total[was], abs=1e-9)
            assert after.act[row] == pytest.approx(before.act[was], abs=1e-9)


@torch.no_grad()
def test_E_scores_are_query_times_key_and_their_gradient_splits_between_the_two(tiny: GPT2) -> None:
    """E: by way of the query plus by way of the key is the whole gradient of a head's score."""
    head, query, key = 2, END, 3
    resid = record(tiny, TOKENS)[Site.RESID_PRE, 1][None]
    scale = record(tiny, TOKENS)[Site.LN1_SCALE, 1]

    def through(*ways: Site) -> tuple[float, Tensor]:
        """(the score, its gradient by the residual), the layer norm's scale held and the other way detached."""
        score: list[Tensor] = []

        def hook(site: Site, layer: int, x: Tensor) -> Tensor:
            if site is Site.LN1_SCALE:
                return scale.expand_as(x)
            if site is Site.SCORES:
                score.append(x[0, head, query, key])
            return x.detach() if site in {Site.Q, Site.K} - set(ways) else x

        with torch.enable_grad():
            leaf = resid.detach().clone().requires_grad_()
            tiny.blocks[1](leaf, 1, hook)
            (gradient,) = torch.autograd.grad(score[0], leaf)
        return float(score[0].detach()), gradient[0]

    value, both = through(Site.Q, Site.K)
    by_query, by_key = through(Site.Q)[1], through(Site.K)[1]
    trace = record(tiny, TOKENS)
    q, k = trace[Site.Q, 1][head, query], trace[Site.K, 1][head, key]
    assert value == pytest.approx(float(q @ k) / TINY.d_head**0.5, abs=1e-12)
    assert (both - by_query - by_key).abs().max() <= 1e-12
    assert by_query.abs().sum(-1).nonzero().flatten().tolist() == [query]
    assert by_key.abs().sum(-1).nonzero().flatten().tolist() == [key]
    zero_query = value - float((by_query * resid[0]).sum())  # linear: what is left is bias times key
    assert zero_query == pytest.approx(float(constant_query(tiny, head) @ k) / TINY.d_head**0.5, abs=1e-10)


def constant_query(model: GPT2, head: int) -> Tensor:
    """The query of a residual stream of zeros: biases alone."""
    block, columns = model.blocks[1], slice(head * TINY.d_head, (head + 1) * TINY.d_head)
    return block.ln_1.bias @ block.attn.c_attn.weight[:, columns] + block.attn.c_attn.bias[columns]


@settings(max_examples=20, deadline=None)
@given(metric=linear_metrics())
def test_the_direct_gradient_is_autograds_with_the_final_scale_held(tiny: GPT2, metric: Metric) -> None:
    trace = record(tiny, TOKENS)
    with torch.enable_grad():
        leaf = trace[Site.RESID_POST, 2].clone().requires_grad_()
        normed = tiny.final_norm(leaf[None], holding(trace, FINAL_SCALE))[0, metric.pos]
        (expected,) = torch.autograd.grad(metric.of_normed(normed, tiny.unembedding), leaf)
    direct = read_gradient(tiny, trace, metric)
    assert (direct - expected[metric.pos]).abs().max() <= 1e-12


def test_a_hook_that_raises_stops_the_gradients(tiny: GPT2, sources: Sources) -> None:
    class Stop(Exception):
        pass

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        raise Stop

    with pytest.raises(Stop):
        attribution.gradients(tiny, record(tiny, TOKENS), LD, sources, also=stop)


@pytest.mark.cuda
def test_a_gpu_finds_the_same_effects(tiny: GPT2) -> None:
    here = every_row(tiny, *gradients_of(tiny, LD))
    copy = GPT2(TINY).double().requires_grad_(False)
    copy.load_state_dict(tiny.state_dict())
    there = every_row(copy.to("cuda"), *gradients_of(copy.to("cuda"), LD))
    np.testing.assert_allclose(here.direct, there.direct, rtol=0, atol=1e-10)
    np.testing.assert_allclose(here.total, there.total, rtol=0, atol=1e-10)
