"""Edits: against numpy loops, finite differences, and each other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.interventions import (
    Ablate,
    Change,
    Freeze,
    Mode,
    Patch,
    Sources,
    Span,
    Steer,
    Way,
    as_hook,
    first_layer,
    where,
)
from model.effects import attribution
from model.gpt2 import GPT2
from model.metrics import Metric
from model.nodes import joined
from model.sites import Hook, Site, compose
from model.trace import logits_at, metric_value, record
from tests.edits import CHANGES
from tests.naive import Array, Edit, Naive, Run
from tests.site_edits import SITE_EDITS, full_sources
from tests.tiny import (
    A1,
    BA1,
    BM1,
    EARLY,
    EDITS,
    EMBED,
    END,
    FINAL_BIAS,
    L0H1,
    L1H2,
    LAST,
    LD,
    M1,
    MIDDLE,
    N1,
    OTHER,
    POS_EMBED,
    REFERENCES,
    TINY,
    TOKEN_EMBED,
    TOKENS,
)

NAMES = {
    Kind.EMBED: "resid_pre", Kind.TOKEN_EMBED: "embed", Kind.POS_EMBED: "pos_embed", Kind.ATTN: "attn_out",
    Kind.MLP: "mlp_out", Kind.NEURON: "mlp_post", Kind.ATTN_BIAS: "attn_bias", Kind.MLP_BIAS: "mlp_bias",
    Kind.FINAL_BIAS: "ln_final_bias", Kind.HEAD: "z",
}  # fmt: skip
ALL_EDITS = {**EDITS, **SITE_EDITS}


def site_name(change: Change) -> str:
    if isinstance(change, Ablate) and change.mode is Mode.CUT:
        return "scores"
    if change.key is not None:
        return "pattern"
    kind = change.component.kind
    return NAMES.get(kind, kind.letters)


def part_of(value: Array, component: Component, pos: int, key: int | None) -> Array:
    """The numbers that a component has at a token, as a view that can be written through."""
    if component.kind.has_heads:
        row = value[:, pos] if component.index is None else value[component.index, pos]
        return row if key is None else row[key : key + 1]
    if component.kind is Kind.NEURON:
        assert component.index is not None
        return value[pos, component.index : component.index + 1]
    return value[pos]


@dataclass(frozen=True)
class Runs:
    """What edits take values from, in numpy."""

    means: list[Run]
    "Also what resampling draws from."
    other: Run
    base: Run


def noise(change: Ablate, pos: int, here: Array) -> Array:
    """Drawn token by token; of a layer's heads each has its own, of a pair its row's."""
    part = change.component
    kind = part.kind if change.key is None else Kind.PATTERN
    heads = [part.index] if part.index is not None or not kind.has_heads else range(TINY.n_head)
    rows: list[Array] = []
    for head in heads:
        name = str(Component(kind, part.layer, head))
        rows.append(np.random.default_rng([change.seed, pos, *name.encode()]).standard_normal(1000))
    if change.key is not None:
        return rows[0][change.key : change.key + 1]
    return np.stack([row[: here.shape[-1]] for row in rows]).reshape(here.shape)


def new_value(change: Change, n: int, pos: int, here: Array, at: tuple[str, int], runs: Runs) -> Array:
    """What a component's value at a token becomes; `n` counts the positions of the span."""
    part, key = change.component, change.key
    match change:
        case Patch():
            run = runs.other if change.example is None else runs.means[1]
            return part_of(run[at], part, change.source.first + n, change.source_key)
        case Freeze():
            return part_of(runs.base[at], part, pos, key)
        case Steer(way=Way.SET):
            return change.amount + 0 * here
        case Steer(way=Way.CLAMP):
            assert change.high is not None
            return np.minimum(np.maximum(here, change.amount), change.high)
        case Steer():
            vector = (1.0,) if change.direction is None else change.direction.vector
            return here + change.amount * np.array(vector)
        case Ablate(mode=Mode.MEAN):
            return np.mean([part_of(run[at], part, pos, key) for run in runs.means], axis=0)
        case Ablate(mode=Mode.RESAMPLE):
            return part_of(Random(change.seed).choice(runs.means)[at], part, pos, key)
        case Ablate(mode=Mode.NOISE):
            return here + change.amount * noise(change, pos, here)
        case Ablate(mode=Mode.SCALE):
            return here * change.amount
        case Ablate():
            return {Mode.ZERO: 0.0, Mode.CUT: -np.inf}.get(change.mode, change.amount) + 0 * here
        case _:
            raise AssertionError(change)


def naive_edit(changes: Sequence[Change], runs: Runs) -> Edit:
    """The same edits, one position at a time."""

    def edit(site: str, layer: int, value: Array) -> Array:
        value = value.copy()
        for change in changes:
            if site_name(change) != site or change.component.layer != layer:
                continue
            span = change.span or Span(0, len(TOKENS) - 1)
            for n, pos in enumerate(range(span.first, span.last + 1)):
                if change.key is not None and change.key > pos:
                    continue
                here = part_of(value, change.component, pos, change.key)
                here[...] = new_value(change, n, pos, here.copy(), (site, layer), runs)
        return value

    return edit


@pytest.fixture(scope="module")
def naive_runs(naive: Naive) -> Runs:
    return Runs([naive.run(tokens) for tokens in REFERENCES], naive.run(OTHER), naive.run(TOKENS))


@pytest.fixture(scope="module")
def sources(tiny: GPT2) -> Sources:
    return full_sources(tiny)


@pytest.mark.parametrize("name", ALL_EDITS)
def test_every_edit_agrees_with_the_naive_pass(
    tiny: GPT2, sources: Sources, naive: Naive, naive_runs: Runs, name: str
) -> None:
    logits = tiny(torch.tensor([TOKENS]), as_hook(ALL_EDITS[name], sources))[0]
    expected = naive.run(TOKENS, naive_edit(ALL_EDITS[name], naive_runs))["logits", 0]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-10)
    if name != "none":
        assert not np.allclose(expected, tiny(torch.tensor([TOKENS]))[0].numpy(), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(changes=CHANGES)
def test_any_list_of_edits_agrees_with_the_naive_pass(
    tiny: GPT2, sources: Sources, naive: Naive, naive_runs: Runs, changes: tuple[Change, ...]
) -> None:
    logits = tiny(torch.tensor([TOKENS]), as_hook(changes, sources))[0]
    expected = naive.run(TOKENS, naive_edit(changes, naive_runs))["logits", 0]
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-9, atol=1e-9)


def metric_under(model: GPT2, changes: Sequence[Change], metric: Metric, freeze: Hook) -> float:
    logits = model(torch.tensor([TOKENS]), compose(as_hook(changes), freeze))
    return float(metric.of(logits[0, metric.pos]))


SCALED = (
    Node(EMBED, 0), Node(EMBED, 4), Node(L0H1, 4), Node(L1H2, 2), Node(Component(Kind.HEAD, 2, 3), END),
    Node(L0H1, 4, 1), Node(L1H2, END, 5), Node(L1H2, 3, 3), Node(N1, 4), Node(N1, END),
    Node(Component(Kind.NEURON, 0, 7), 1), Node(BA1, 4), Node(BM1, END),
)  # fmt: skip


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
@pytest.mark.parametrize("node", SCALED, ids=str)
def test_I_scaling_a_node_moves_the_metric_by_its_total_effect(
    tiny: GPT2, node: Node, metric: Metric
) -> None:
    """I: by epsilon times the total effect, the final scale held: a four-point difference of real edits."""
    trace = record(tiny, TOKENS)
    scale = trace[Site.LN_FINAL_SCALE, 0]

    def freeze(site: Site, layer: int, x: Tensor) -> Tensor:
        return scale.expand_as(x) if site is Site.LN_FINAL_SCALE else x

    def at(epsilon: float) -> float:
        edit = Ablate(node.component, Span(node.pos, node.pos), node.key, Mode.SCALE, 1 + epsilon)
        return metric_under(tiny, [edit], metric, freeze)

    h = 2e-3
    slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert total_effect(tiny, node, metric) == pytest.approx(slope, abs=1e-9)


def total_effect(model: GPT2, node: Node, metric: Metric) -> float:
    trace = record(model, TOKENS)
    by = attribution.gradients(model, trace, metric)
    tables = (
        attribution.embed_table, attribution.head_table, attribution.pair_table,
        attribution.neuron_table, attribution.bias_table,
    )  # fmt: skip
    table = joined([table(model, trace, by).at([node.pos]) for table in tables])
    return next(float(table.total[row]) for row in range(len(table)) if table.node(row) == node)


def same(model: GPT2, one: Sequence[Change], other: Sequence[Change]) -> None:
    """Both ways of putting an edit give the same logits, and not the clean ones."""
    tokens = torch.tensor([TOKENS])
    first, second = model(tokens, as_hook(one)), model(tokens, as_hook(other))
    assert (first - second).abs().max() <= 1e-9
    assert (first - model(tokens)).abs().max() > 1e-3


def heads_of(layer: int, span: Span | None = None) -> list[Ablate]:
    return [Ablate(Component(Kind.HEAD, layer, index), span) for index in range(TINY.n_head)]


def test_G_zeroing_a_head_is_zeroing_its_attention_to_every_key(tiny: GPT2) -> None:
    same(tiny, [Ablate(L1H2, LAST)], [Ablate(L1H2, LAST, key=key) for key in range(len(TOKENS))])


def test_G_zeroing_every_head_and_the_bias_is_zeroing_attention(tiny: GPT2) -> None:
    same(tiny, [*heads_of(1, MIDDLE), Ablate(BA1, MIDDLE)], [Ablate(A1, MIDDLE)])


def test_G_zeroing_every_neuron_and_the_bias_is_zeroing_the_mlp(tiny: GPT2) -> None:
    neurons = [Ablate(Component(Kind.NEURON, 1, index)) for index in range(TINY.d_mlp)]
    same(tiny, [*neurons, Ablate(BM1)], [Ablate(M1)])


def test_G_zeroing_attention_and_mlp_leaves_the_residual_stream(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS, [Ablate(A1), Ablate(M1)])
    assert torch.equal(trace[Site.RESID_PRE, 1], trace[Site.RESID_POST, 1])


def test_zeroing_both_embeddings_is_zeroing_their_sum(tiny: GPT2) -> None:
    same(tiny, [Ablate(TOKEN_EMBED, MIDDLE), Ablate(POS_EMBED, MIDDLE)], [Ablate(EMBED, MIDDLE)])


def test_scaling_by_one_changes_nothing_and_by_zero_is_zeroing(tiny: GPT2) -> None:
    tokens = torch.tensor([TOKENS])
    for part in (L1H2, A1, M1, N1, BA1, BM1, EMBED, TOKEN_EMBED, POS_EMBED, FINAL_BIAS):
        once = Ablate(part, mode=Mode.SCALE, amount=1)
        assert torch.equal(tiny(tokens, as_hook([once])), tiny(tokens))
        nothing, zero = replace(once, amount=0), Ablate(part)
        assert torch.equal(tiny(tokens, as_hook([nothing])), tiny(tokens, as_hook([zero])))


def test_edits_apply_in_order(tiny: GPT2) -> None:
    put, double = Ablate(M1, mode=Mode.VALUE, amount=0.5), Ablate(M1, mode=Mode.SCALE, amount=2)
    assert (record(tiny, TOKENS, [put, double])[Site.MLP_OUT, 1] == 1).all()
    assert (record(tiny, TOKENS, [double, put])[Site.MLP_OUT, 1] == 0.5).all()


def test_K_an_edit_reaches_no_earlier_token(tiny: GPT2, sources: Sources) -> None:
    """K: an edit at token t leaves every earlier token's logits as they were, to the bit."""
    clean = tiny(torch.tensor([TOKENS]))[0]
    for name, changes in ALL_EDITS.items():
        spans = [change.span for change in changes]
        if None in spans or not spans:
            continue
        first = min(span.first for span in spans if span)
        edited = tiny(torch.tensor([TOKENS]), as_hook(changes, sources))[0]
        assert torch.equal(edited[:first], clean[:first]), name


def test_K_a_pair_cannot_be_made_to_look_ahead(tiny: GPT2, sources: Sources) -> None:
    """Of an edit to every query, only the queries at or after the key take part."""
    clean = record(tiny, TOKENS)[Site.PATTERN, 1]
    value = Ablate(L1H2, key=3, mode=Mode.VALUE, amount=0.9)
    patch = Patch(L1H2, Span(0, END), Span(0, END), key=3, source_key=0)
    for change in (value, patch):
        pattern = record(tiny, TOKENS, [change], sources)[Site.PATTERN, 1]
        assert torch.equal(pattern[:, :3], clean[:, :3])
        assert not torch.equal(pattern[2, 3:, 3], clean[2, 3:, 3])
        assert not pattern.triu(1).any()


def test_an_edit_is_the_same_for_every_row_of_a_batch(tiny: GPT2, sources: Sources) -> None:
    batch = torch.tensor([TOKENS, OTHER, REFERENCES[1]])
    for name, changes in ALL_EDITS.items():
        hook = as_hook(changes, sources)
        together = tiny(batch, hook)
        for row in range(3):
            assert (together[row] - tiny(batch[row : row + 1], hook)[0]).abs().max() <= 1e-9, name


def test_edits_write_on_copies(tiny: GPT2, sources: Sources) -> None:
    """Neither weights nor the runs that values come from are ever written to."""
    weights = {name: x.clone() for name, x in tiny.state_dict().items()}
    other, clean = record(tiny, OTHER), record(tiny, TOKENS)
    before = {at: x.clone() for at, x in (*other.acts.items(),)}
    for changes in ALL_EDITS.values():
        record(tiny, TOKENS, changes, replace(sources, other=other), base=clean)
    assert all(torch.equal(x, weights[name]) for name, x in tiny.state_dict().items())
    assert all(torch.equal(x, before[at]) for at, x in other.acts.items())
    assert torch.equal(clean[Site.LN_FINAL, 0], record(tiny, TOKENS)[Site.LN_FINAL, 0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Ablate(L1H2), "ablate L1H2@* zero"),
        (Ablate(L1H2, LAST, key=2), "ablate L1H2@6<2 zero"),
        (Ablate(A1, MIDDLE, mode=Mode.MEAN), "ablate A1@2:4 mean"),
        (Ablate(N1, LAST, mode=Mode.SCALE, amount=-0.5), "ablate N1.11@6 scale -0.5"),
        (Ablate(FINAL_BIAS, mode=Mode.VALUE, amount=3), "ablate BU@* value 3"),
        (Patch(M1, MIDDLE, Span(0, 2)), "patch M1@2:4 from B@0:2"),
        (Patch(L1H2, LAST, LAST, 1, 2), "patch L1H2@6<1 from B@6<2"),
    ],
)
def test_an_edits_text_is_the_command_that_makes_it(change: Change, text: str) -> None:
    assert str(change) == text


def test_layers_that_an_edit_touches_first() -> None:
    expected = {EMBED: -1, TOKEN_EMBED: -1, POS_EMBED: -1, L0H1: 0, A1: 1, N1: 1, BM1: 1, FINAL_BIAS: 3}
    assert {part: first_layer(Ablate(part), n_layer=3) for part in expected} == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patch(M1, MIDDLE, LAST), "3 positions cannot take 1 positions' values"),
        (lambda: Patch(L1H2, LAST, LAST, key=2), "pair takes its value from a pair"),
        (lambda: Patch(L1H2, LAST, LAST, source_key=2), "pair takes its value from a pair"),
        (lambda: as_hook([Patch(M1, LAST, LAST)]), "patch needs a prompt B"),
        (lambda: as_hook([Ablate(M1, mode=Mode.MEAN)]), "mean needs reference prompts"),
        (lambda: as_hook([Ablate(L1H2, key=1, mode=Mode.MEAN)]), "mean needs reference prompts"),
        (lambda: as_hook([Ablate(Component(Kind.UNEMBED))]), "U puts nothing out that could be replaced"),
        (lambda: where(Component(Kind.LATENT, 1, 5)), "F1.5 puts nothing out"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_edited_logits_are_the_edited_models(tiny: GPT2) -> None:
    """The metric of a trace is the metric of the logits of the same edited pass."""
    for changes in ((Ablate(L1H2),), (Ablate(FINAL_BIAS),), (Ablate(M1, LAST),)):
        trace = record(tiny, TOKENS, changes)
        logits: Tensor = tiny(torch.tensor([TOKENS]), as_hook(changes))[0]
        assert (logits_at(tiny, trace, 4) - logits[4]).abs().max() <= 1e-10
        assert metric_value(tiny, trace, EARLY) == pytest.approx(float(EARLY.of(logits[4])), abs=1e-10)
