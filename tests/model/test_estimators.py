"""Estimates of what edits do: their conventions, against gradients and finite differences, and the laws that they keep."""

import math
from collections.abc import Callable, Collection
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span, as_hook
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.backward import value_of
from model.estimates.estimators import GradDrop, attribution_patching, graddrop
from model.estimates.integrated import Rule, integrated_activations, integrated_edit, integrated_inputs
from model.estimates.qk_fix import InputEstimates, key_effects, qk_fix, query_effects
from model.estimates.swap import Direction, Estimates, Swap
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.metrics import Metric, Quantity
from model.nodes import joined
from model.sites import Hook, Site, compose, no_hook
from model.targets import Target, Via, metric_target, trace_target
from model.trace import Trace, metric_value, record
from tests.tiny import EARLY, EDITS, END, LAST, LD, OTHER, TINY, TOKENS

LOGPROB = Metric(Quantity.LOGPROB, (41,), (), END)
HEAD, MLP, NEURON, EMBED = (
    Component(Kind.HEAD, 1, 2), Component(Kind.MLP, 1), Component(Kind.NEURON, 0, 11), Component(Kind.EMBED),
)  # fmt: skip
ALONG = (
    Ablate(HEAD, Span(3, 4)), Ablate(HEAD, Span(END, END), key=2), Ablate(NEURON), Ablate(MLP, Span(END, END)),
    Ablate(EMBED, Span(4, 4), mode=Mode.SCALE, amount=0.7), Ablate(Component(Kind.TOKEN_EMBED), Span(1, 1)), Patch(MLP, Span(2, 2), Span(3, 3)),
)  # fmt: skip
"Edits of every site, to follow part of the way."
SITES = {"heads": Site.Z, "attn": Site.ATTN_OUT, "mlp": Site.MLP_OUT, "neurons": Site.MLP_POST}


def of(
    model: GPT2, tokens: tuple[int, ...], edit: Hook, asked: Metric, changes: tuple[Change, ...] = ()
) -> float:
    """The metric of a run with a hook's edit made."""
    return metric_value(model, record(model, tokens, changes, also=edit), asked)


def autograd(
    model: GPT2,
    trace: Trace,
    asked: Metric,
    sites: Collection[Site],
    sources: Sources = Sources(),
    edit: Hook = no_hook,
    computed: Collection[Site] = (),
) -> dict[tuple[Site, int], Tensor]:
    """Gradients of the metric by sites, through one graph of the whole pass; `computed` ones before the edits."""
    seen: dict[tuple[Site, int], Tensor] = {}

    def before(site: Site, layer: int, x: Tensor) -> Tensor:
        if site in computed:
            seen[site, layer] = x
        return x

    def after(site: Site, layer: int, x: Tensor) -> Tensor:
        if site in sites:
            x = x if x.requires_grad else x.detach().requires_grad_()
            seen[site, layer] = x
        return x.detach().requires_grad_() if site is Site.EMBED else x

    with torch.enable_grad():
        logits = model(
            torch.tensor([trace.tokens]), compose(before, as_hook(trace.changes, sources), edit, after)
        )
        found = torch.autograd.grad(asked.of(logits[0, asked.pos]), list(seen.values()), allow_unused=True)
    return {
        at: (torch.zeros_like(x) if grad is None else grad)[0]
        for (at, x), grad in zip(seen.items(), found, strict=True)
    }  # fmt: skip


def moving(at: tuple[Site, int], delta: Tensor) -> Hook:
    return lambda site, layer, x: x + delta if (site, layer) == at else x


def same(ours: Estimates, theirs: Estimates, atol: float = 1e-10) -> None:
    for field in fields(Estimates):
        torch.testing.assert_close(getattr(ours, field.name), getattr(theirs, field.name), rtol=0, atol=atol)


@pytest.mark.parametrize("asked", [LD, EARLY, LOGPROB], ids=["logit_diff", "earlier", "logprob"])
@pytest.mark.parametrize("direction", Direction)
def test_AtP_is_the_first_order_of_patching_each_node_on_the_run_that_is_edited(
    tiny: GPT2, direction: Direction, asked: Metric
) -> None:
    """Moving a node a ten-thousandth of the way both ways, and dividing."""
    edited, other = direction.pair(record(tiny, TOKENS), record(tiny, OTHER))
    found, step = attribution_patching(Swap(tiny, edited, other, asked)), 1e-4
    for name, index in (
        ("heads", (1, 2, 4)),
        ("attn", (2, 3)),
        ("mlp", (0, 2)),
        ("neurons", (1, 4, 11)),
        ("embed", (4,)),
    ):
        layer, *rest = (0, *index) if name == "embed" else index
        site = Site.RESID_PRE if name == "embed" else SITES[name]
        at = (site, layer)
        delta = torch.zeros_like(edited[at])
        place = tuple(rest)
        delta[place] = (other[at] - edited[at])[place] * step
        up, down = (of(tiny, edited.tokens, moving(at, sign * delta), asked) for sign in (1, -1))
        assert float(getattr(found, name)[index]) == pytest.approx(
            (up - down) / 2 / step, rel=1e-5, abs=1e-9
        ), name


def test_AtP_noising_has_its_gradient_on_A_and_denoising_on_B(tiny: GPT2) -> None:
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    assert Direction.NOISING.pair(a, b) == (a, b)
    assert Direction.DENOISING.pair(a, b) == (b, a)
    noising = attribution_patching(Swap(tiny, a, b, LD))
    denoising = attribution_patching(Swap(tiny, b, a, LD))
    on_a, on_b = (autograd(tiny, run, LD, {Site.Z}) for run in (a, b))
    diff = b[Site.Z, 1] - a[Site.Z, 1]
    torch.testing.assert_close(noising.heads[1], (diff * on_a[Site.Z, 1]).sum(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(denoising.heads[1], (-diff * on_b[Site.Z, 1]).sum(-1), rtol=0, atol=1e-12)
    assert (noising.heads + denoising.heads).abs().max() > 1e-3


def test_AtP_nodes_add_up_from_neurons_to_MLP_and_from_heads_to_attention(tiny: GPT2) -> None:
    found = attribution_patching(Swap(tiny, record(tiny, TOKENS), record(tiny, OTHER), LD))
    torch.testing.assert_close(found.neurons.sum(-1), found.mlp, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.heads.sum(1), found.attn, rtol=0, atol=1e-10)


@pytest.mark.parametrize("edit", ["none", "attn zero", "head mean", "pair scale", "neuron zero", "many"])
@pytest.mark.parametrize("treatment", Treatment)
def test_AtP_to_zero_is_minus_activation_times_gradient_and_biases_go_with_their_output(
    tiny: GPT2, sources: Sources, edit: str, treatment: Treatment
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    found = attribution_patching(Swap(tiny, trace, None, LD, sources, treatment))
    by = attribution.gradients(tiny, trace, LD, sources, treatment)
    table = attribution.head_table(tiny, trace, by)
    heads = table.take(table.kind == list(Kind).index(Kind.HEAD))
    np.testing.assert_allclose(found.column(heads), -heads.total, rtol=0, atol=1e-10)
    embed = attribution.embed_table(tiny, trace, by)
    np.testing.assert_allclose(found.column(embed), -embed.total, rtol=0, atol=1e-10)
    out = torch.stack([trace[Site.MLP_OUT, layer] for layer in range(TINY.n_layer)])
    torch.testing.assert_close(found.mlp, -(out * by.post).sum(-1), rtol=0, atol=1e-10)


def test_a_column_follows_the_rows_of_any_table(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    by = attribution.gradients(tiny, trace, LD)
    tables = (
        attribution.neuron_table,
        attribution.pair_table,
        attribution.attn_table,
        attribution.bias_table,
    )
    table = joined([part(tiny, trace, by) for part in tables])
    found = attribution_patching(Swap(tiny, trace, record(tiny, OTHER), LD))
    column = found.column(table)
    rows = np.random.default_rng(0).choice(len(table), 400, replace=False)
    for row in rows.tolist():
        node = table.node(row)
        part = node.component
        match part.kind:
            case Kind.NEURON:
                assert column[row] == float(found.neurons[part.layer, node.pos, part.index])
            case Kind.ATTN:
                assert column[row] == float(found.attn[part.layer, node.pos])
            case _:
                assert math.isnan(column[row])


def test_AtP_is_exact_where_everything_after_the_edit_is_linear(tiny: GPT2) -> None:
    """A neuron's frame reads layer 1's heads directly; with the scale held it is linear in them."""
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    target = trace_target(tiny, a, Node(Component(Kind.NEURON, 1, 7), 5))
    found = attribution_patching(Swap(tiny, a, b, target, treatment=Treatment.TARGET))
    z = (b[Site.Z, 1] - a[Site.Z, 1])[:, 5]
    read = attribution.gradients(tiny, a, target).direct[5]
    exact = torch.einsum("hd,hdm,m->h", z, attribution.head_matrices(tiny)[1], read)
    torch.testing.assert_close(found.heads[1, :, 5], exact, rtol=0, atol=1e-12)
    assert not found.heads[2].any() and not found.mlp[1:].any() and not found.heads[1, :, :5].any()


@pytest.mark.parametrize("edit", ["none", "head mean", "pair scale", "mlp value", "attn zero"])
def test_measured_patches_by_almost_the_same_values_agree_with_AtP(
    tiny: GPT2, sources: Sources, edit: str
) -> None:
    """On top of the edits that the run has, whichever they override."""
    a, b = record(tiny, TOKENS, EDITS[edit], sources), record(tiny, OTHER)
    near = replace(a, acts={at: a[at] + 1e-5 * (b[at] - a[at]) for at in a.acts})
    found = attribution_patching(Swap(tiny, a, near, LD, sources))
    estimates = {
        Patch(HEAD, Span(4, 4), Span(4, 4)): found.heads[1, 2, 4],
        Patch(MLP, Span(3, 3), Span(3, 3)): found.mlp[1, 3],
        Patch(NEURON, Span(2, 2), Span(2, 2)): found.neurons[0, 2, 11],
        Patch(EMBED, Span(5, 5), Span(5, 5)): found.embed[5],
    }
    base = metric_value(tiny, a, LD)
    values = replace(sources, other=near)
    measured = dict(measure(tiny, a, metric_scorer(tiny, LD), list(estimates), values))
    for job, estimate in enumerate(estimates.values()):
        assert measured[job] - base == pytest.approx(float(estimate), rel=1e-3, abs=1e-10)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("asked", [LD, LOGPROB], ids=["logit_diff", "logprob"])
def test_IG_over_embeddings_converges_to_the_metrics_difference(
    tiny: GPT2, direction: Direction, asked: Metric
) -> None:
    edited, other = direction.pair(record(tiny, TOKENS), record(tiny, OTHER))
    exact = metric_value(tiny, other, asked) - metric_value(tiny, edited, asked)
    errors = {
        (rule, steps): abs(
            float(integrated_inputs(Swap(tiny, edited, other, asked), steps, rule).embed.sum()) - exact
        )
        for rule in Rule
        for steps in (20, 40)
    }
    assert errors[Rule.MIDPOINT, 40] < 0.02 * abs(exact) + 1e-3
    # a midpoint sum gains two orders a halving, a left sum one
    assert errors[Rule.MIDPOINT, 40] < 0.4 * errors[Rule.MIDPOINT, 20] + 1e-6
    assert errors[Rule.RIEMANN_LEFT, 40] < 0.7 * errors[Rule.RIEMANN_LEFT, 20] + 1e-6


def test_IG_from_zero_is_IG_from_a_run_whose_every_activation_is_zero(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    zero = replace(trace, acts={at: torch.zeros_like(x) for at, x in trace.acts.items()})
    by_none, by_run = (Swap(tiny, trace, other, LD) for other in (None, zero))
    for estimate in (integrated_inputs, integrated_activations):
        same(*(estimate(swap, 2, Rule.MIDPOINT) for swap in (by_none, by_run)), atol=0)


@pytest.mark.parametrize("made", ["none", "many", "attn zero"])
@pytest.mark.parametrize("asked", ["logit_diff", "earlier", "logprob", "frame"])
def test_IG_along_an_edit_alone_goes_to_what_is_measured(
    tiny: GPT2, sources: Sources, asked: str, made: str
) -> None:
    """A midpoint sum's error is a quarter with twice the steps."""
    trace = record(tiny, TOKENS, EDITS[made], sources)
    frame = trace_target(tiny, trace, Node(Component(Kind.HEAD, 2, 1), END, 3), Via.QK)
    question = {"logit_diff": LD, "earlier": EARLY, "logprob": LOGPROB, "frame": frame}[asked]
    swap, base = Swap(tiny, trace, None, question, sources), value_of(tiny, trace, question)
    for change in ALONG:
        run = record(tiny, TOKENS, (*EDITS[made], change), sources)
        exact = value_of(tiny, run, question) - base
        coarse, fine = (abs(integrated_edit(swap, change, n, Rule.MIDPOINT) - exact) for n in (8, 16))
        assert coarse < 1e-2 * abs(exact) + 1e-3, str(change)
        assert fine < 0.27 * coarse + 1e-10, str(change)


def test_IG_along_an_edit_with_one_left_step_is_AtP(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS)
    once = attribution_patching(Swap(tiny, trace, None, LD))
    swap = Swap(tiny, trace, None, LD, sources)
    for node, value in ((HEAD, once.heads[1, 2, 4]), (MLP, once.mlp[1, 4]), (EMBED, once.embed[4])):
        found = integrated_edit(swap, Ablate(node, Span(4, 4)), 1, Rule.RIEMANN_LEFT)
        assert found == pytest.approx(float(value), abs=1e-12)


def test_IG_along_what_comes_too_late_is_nothing_and_of_the_final_bias_refused(tiny: GPT2) -> None:
    swap = Swap(tiny, record(tiny, TOKENS), None, EARLY)
    assert integrated_edit(swap, Ablate(HEAD, Span(END, END)), 2, Rule.MIDPOINT) == 0.0
    with pytest.raises(ValueError, match="BU has no path"):
        integrated_edit(swap, Ablate(Component(Kind.FINAL_BIAS)), 2, Rule.MIDPOINT)


@pytest.mark.parametrize("rule", Rule)
def test_IG_inputs_is_the_mean_of_gradients_at_the_rules_fractions(tiny: GPT2, rule: Rule) -> None:
    """EAP-IG's inputs: embeddings on the way, the difference of activations fixed."""
    a, b, steps = record(tiny, TOKENS), record(tiny, OTHER), 3
    fractions = {Rule.RIEMANN_LEFT: (0, 1 / 3, 2 / 3), Rule.MIDPOINT: (1 / 6, 1 / 2, 5 / 6)}[rule]
    found = integrated_inputs(Swap(tiny, a, b, LD), steps, rule)
    expected = torch.zeros_like(found.heads[1])
    start, end = a[Site.RESID_PRE, 0], b[Site.RESID_PRE, 0]
    for fraction in fractions:
        kept: list[Tensor] = []

        def keep(site: Site, layer: int, x: Tensor, kept: list[Tensor] = kept) -> Tensor:
            if site is Site.Z and layer == 1:
                kept.append(x)
            return x

        with torch.enable_grad():
            leaf = (start + fraction * (end - start)).requires_grad_()
            resid = tiny.layers(leaf[None], keep)
            score = LD.of_normed(tiny.final_norm(resid)[0, END], tiny.unembedding)
            (grad,) = torch.autograd.grad(score, kept[0])
        expected += ((b[Site.Z, 1] - a[Site.Z, 1]) * grad[0]).sum(-1) / steps
    torch.testing.assert_close(found.heads[1], expected, rtol=0, atol=1e-10)


def test_IG_with_one_left_step_is_AtP(tiny: GPT2) -> None:
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    once = attribution_patching(Swap(tiny, a, b, LD))
    same(integrated_inputs(Swap(tiny, a, b, LD), 1, Rule.RIEMANN_LEFT), once)
    same(integrated_activations(Swap(tiny, a, b, LD), 1, Rule.RIEMANN_LEFT), once)


def test_IG_along_activations_adds_up_to_patching_a_layers_site_whole(tiny: GPT2) -> None:
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    found = integrated_activations(Swap(tiny, a, b, LD), 40, Rule.MIDPOINT)
    base = metric_value(tiny, a, LD)
    for name, site in SITES.items():
        for layer in range(TINY.n_layer):

            def put(where: Site, at: int, x: Tensor, site: Site = site, layer: int = layer) -> Tensor:
                return b[site, layer][None] if (where, at) == (site, layer) else x

            exact = of(tiny, TOKENS, put, LD) - base
            assert float(getattr(found, name)[layer].sum()) == pytest.approx(exact, rel=0.02, abs=2e-3), (
                name,
                layer,
            )


def test_no_steps_are_refused(tiny: GPT2) -> None:
    a = record(tiny, TOKENS)
    with pytest.raises(ValueError, match="at least 1"):
        integrated_inputs(Swap(tiny, a, a, LD), 0, Rule.MIDPOINT)


@pytest.mark.parametrize("edit", ["none", "attn zero", "many"])
def test_GradDrop_averages_passes_with_one_layers_output_detached(
    tiny: GPT2, sources: Sources, edit: str
) -> None:
    a, b = record(tiny, TOKENS, EDITS[edit], sources), record(tiny, OTHER)
    found = graddrop(Swap(tiny, a, b, LD, sources))
    passes: list[Estimates] = []
    for dropped in range(TINY.n_layer):

        def detach(site: Site, layer: int, x: Tensor, dropped: int = dropped) -> Tensor:
            return x.detach() if layer == dropped and site in (Site.ATTN_OUT, Site.MLP_OUT) else x

        sites = (*SITES.values(), Site.RESID_PRE)
        by = autograd(tiny, a, LD, sites, sources, detach)
        diff = {at: (b[at] - a[at]) * grad for at, grad in by.items()}
        for site in (Site.ATTN_OUT, Site.MLP_OUT):
            diff[site, dropped] = torch.zeros_like(diff[site, dropped])
        heads, attn, mlp = (
            torch.stack([diff[site, n].sum(-1) for n in range(TINY.n_layer)])
            for site in (Site.Z, Site.ATTN_OUT, Site.MLP_OUT)
        )
        neurons = torch.stack([diff[Site.MLP_POST, n] for n in range(TINY.n_layer)])
        passes.append(Estimates(diff[Site.RESID_PRE, 0].sum(-1), heads, attn, mlp, neurons))
    others = TINY.n_layer - 1
    for field in fields(Estimates):
        values = torch.stack([getattr(each, field.name) for each in passes])
        count = TINY.n_layer if field.name == "embed" else others
        torch.testing.assert_close(
            getattr(found.signed, field.name), values.sum(0) / count, rtol=0, atol=1e-10
        )
        torch.testing.assert_close(
            getattr(found.absolute, field.name), values.abs().sum(0) / count, rtol=0, atol=1e-10
        )


def test_GradDrop_leaves_the_last_layers_direct_path(tiny: GPT2) -> None:
    """Nothing comes after the last MLP but the norm: every other pass has the same gradient."""
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    last = attribution_patching(Swap(tiny, a, b, LD)).mlp[-1]
    torch.testing.assert_close(graddrop(Swap(tiny, a, b, LD)).signed.mlp[-1], last, rtol=0, atol=1e-12)


def test_GradDrop_of_a_frame_counts_layers_after_it_as_passes_that_drop_nothing(tiny: GPT2) -> None:
    """A neuron of layer 1 reads that layer's heads directly: alike in the passes of layers 0 and 2."""
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    frame = trace_target(tiny, a, Node(Component(Kind.NEURON, 1, 7), 5))
    once, found = attribution_patching(Swap(tiny, a, b, frame)), graddrop(Swap(tiny, a, b, frame))
    torch.testing.assert_close(found.signed.heads[1], once.heads[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(found.absolute.heads[1], once.heads[1].abs(), rtol=0, atol=1e-12)
    assert not found.absolute.mlp[1:].any() and not found.absolute.heads[2].any()
    assert once.heads[1].any() and found.absolute.embed.any()


def naive_effects(q: Tensor, k: Tensor, new: Tensor, gradient: Tensor, side: str) -> Tensor:
    """One query or key replaced at a time and the whole softmax done again, in loops."""
    heads, length, d_head = q.shape
    out = torch.zeros(heads, length, dtype=q.dtype)
    for head in range(heads):
        for pos in range(length):
            queries, keys = q[head].clone(), k[head].clone()
            (queries if side == "q" else keys)[pos] = new[head, pos]
            for query in range(length):
                old = (k[head, : query + 1] @ q[head, query] / math.sqrt(d_head)).softmax(-1)
                now = (keys[: query + 1] @ queries[query] / math.sqrt(d_head)).softmax(-1)
                out[head, pos] += ((now - old) * gradient[head, query, : query + 1]).sum()
    return out


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0], ids=["even", "sharp", "saturated"])
def test_the_QK_fix_recomputes_the_softmax_for_each_query_and_key(size: float) -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, new_q, new_k = size * torch.randn(4, 2, 6, 5, generator=generator, dtype=torch.float64)
    gradient = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    ours, theirs = query_effects(q, k, new_q, gradient), naive_effects(q, k, new_q, gradient, "q")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    ours, theirs = key_effects(q, k, new_k, gradient), naive_effects(q, k, new_k, gradient, "k")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert ours.abs().max() > 1e-3


def scored_with(model: GPT2, trace: Trace, target: Target, hook: Hook) -> float:
    """A frame with a hook's edit made and its own scale held as in `trace`."""
    kept: dict[int, Tensor] = {}

    def keep(site: Site, layer: int, x: Tensor) -> Tensor:
        if site is Site.RESID_MID and layer == 1:
            kept[0] = x[0]
        return x

    model(torch.tensor([trace.tokens]), compose(hook, keep))
    read = target.reads[0]
    x = kept[0][read.pos]
    ln = model.blocks[1].ln_2
    seen = (x - x.mean()) / trace[Site.LN2_SCALE, 1][read.pos] * ln.weight + ln.bias
    return float(seen @ read.normed) + target.constant


def put(site: Site, layer: int, head: int, pos: int, value: Tensor) -> Hook:
    def hook(where: Site, at: int, x: Tensor) -> Tensor:
        if (where, at) != (site, layer):
            return x
        x = x.clone()
        x[:, head, pos] = value
        return x

    return hook


@torch.no_grad()
def test_AtP_star_QK_fix_is_exact_where_all_is_linear_after_the_pattern_and_plain_AtP_is_not(
    tiny: GPT2,
) -> None:
    """A neuron of the same layer reads the heads' outputs; its scale is held."""
    a, b = record(tiny, TOKENS), record(tiny, OTHER)
    target = trace_target(tiny, a, Node(Component(Kind.NEURON, 1, 7), 5))
    found = qk_fix(Swap(tiny, a, b, target, treatment=Treatment.TARGET))
    base, off = scored_with(tiny, a, target, no_hook), 0.0
    for site, fixed, linear in (
        (Site.Q, found.q, found.q_linear),
        (Site.K, found.k, found.k_linear),
        (Site.V, found.v, found.v),
    ):
        for head in range(TINY.n_head):
            for pos in (2, 4, 5):
                hook = put(site, 1, head, pos, b[site, 1][head, pos])
                exact = scored_with(tiny, a, target, hook) - base
                assert float(fixed[1, head, pos]) == pytest.approx(exact, abs=1e-10)
                off = max(off, abs(float(linear[1, head, pos]) - exact))
    assert off > 1e-3


def test_AtP_star_QK_fix_and_plain_AtP_agree_for_small_differences(tiny: GPT2, sources: Sources) -> None:
    a = record(tiny, TOKENS, EDITS["pair scale"], sources)
    b = record(tiny, OTHER)
    close = replace(a, acts={at: a[at] + 1e-6 * (b[at] - a[at]) for at in a.acts})
    found = qk_fix(Swap(tiny, a, close, LD, sources))
    for fixed, linear in ((found.q, found.q_linear), (found.k, found.k_linear)):
        torch.testing.assert_close(fixed, linear, rtol=1e-3, atol=1e-11)
        assert linear.abs().max() > 1e-9


def test_QK_fix_to_zero_spreads_a_querys_attention_evenly(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    found = qk_fix(Swap(tiny, trace, None, LD))
    by = autograd(tiny, trace, LD, (), computed=(Site.PATTERN,))[Site.PATTERN, 1]
    even = torch.tril(torch.ones(END + 1, END + 1, dtype=by.dtype))
    even = even / even.sum(-1, keepdim=True)
    expected = ((even - trace[Site.PATTERN, 1]) * by).sum(-1)
    torch.testing.assert_close(found.q[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("asked", [LD, LOGPROB], ids=["logit_diff", "logprob"])
def test_the_value_of_a_question_is_the_metric_and_the_frame(tiny: GPT2, asked: Metric) -> None:
    trace = record(tiny, TOKENS)
    assert value_of(tiny, trace, asked) == pytest.approx(metric_value(tiny, trace, asked), abs=1e-12)
    frame = trace_target(tiny, trace, Node(HEAD, END, 3), Via.V, metric_target(tiny, trace, LD))
    assert value_of(tiny, trace, frame) == pytest.approx(frame.value, abs=1e-12)


ESTIMATORS: dict[str, Callable[[Swap], object]] = {
    "AtP": attribution_patching,
    "IG inputs": lambda swap: integrated_inputs(swap, 2, Rule.MIDPOINT),
    "IG of an edit": lambda swap: integrated_edit(
        replace(swap, sources=Sources(other=swap.other)), Patch(HEAD, LAST, LAST), 2, Rule.MIDPOINT
    ),
    "IG activations": lambda swap: integrated_activations(swap, 2, Rule.MIDPOINT),
    "GradDrop": graddrop,
    "QK fix": qk_fix,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_stop_for_a_hook_that_raises(tiny: GPT2, name: str) -> None:
    a = record(tiny, TOKENS)
    estimate = ESTIMATORS[name]

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        estimate(Swap(tiny, a, record(tiny, OTHER), LD, also=stop))


def test_prompts_of_two_lengths_cannot_be_exchanged(tiny: GPT2) -> None:
    with pytest.raises(ValueError, match="7 tokens and the other 6"):
        Swap(tiny, record(tiny, TOKENS), record(tiny, OTHER[:-1]), LD)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_prompt_against_itself_estimates_nothing(tiny: GPT2, name: str) -> None:
    a = record(tiny, TOKENS)
    found = ESTIMATORS[name](Swap(tiny, a, a, LD))
    one = found.absolute if isinstance(found, GradDrop) else found
    if isinstance(one, float):
        assert one == 0.0
        return
    assert isinstance(one, Estimates | InputEstimates)
    for field in fields(one):
        assert float(getattr(one, field.name).abs().max()) <= 1e-12


def test_zero_ablation_of_the_last_MLP_is_estimated_as_measured_where_the_scale_is_held(tiny: GPT2) -> None:
    """The last MLP is followed by the norm alone."""
    trace = record(tiny, TOKENS)
    found = attribution_patching(Swap(tiny, trace, None, LD, treatment=Treatment.TARGET))
    change = Ablate(Component(Kind.MLP, 2), Span(END, END))
    run = record(tiny, TOKENS, (change,))
    resid = run[Site.RESID_POST, 2][END] - trace[Site.RESID_POST, 2][END]
    direct = attribution.gradients(tiny, trace, LD).direct[END]
    assert float(found.mlp[2, END]) == pytest.approx(float(resid @ direct), abs=1e-12)
