"""Edges edited in one pass: against loops over every edge, and the laws that tie them to edits of nodes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.components import Component, Kind
from model.edits.edge_tables import all_readers
from model.edits.edges import Carried, EdgeChange, EdgeKeep, narrowed, node_change
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Sources, Span
from model.edits.links import INPUTS, Link, check_link, readers_of, reading_line
from model.edits.path_edits import Meaning, PathPatch
from model.effects import attribution
from model.gpt2 import GPT2
from model.lines import written_on
from model.measured.replay import measure
from model.measured.scorers import metric_scorer, unchanged
from model.measured.sweeps import patch_residuals
from model.sites import Site
from model.trace import Trace, metric_value, record
from tests.naive import Array, Naive
from tests.tiny import (
    A1,
    BA1,
    BM1,
    EMBED,
    END,
    L0H1,
    L1H2,
    LAST,
    LD,
    M0,
    M1,
    M2,
    MIDDLE,
    N1,
    OTHER,
    POS_EMBED,
    REFERENCES,
    TINY,
    TOKEN_EMBED,
    TOKENS,
)

U = Component(Kind.UNEMBED)
KINDS = {"q": Kind.Q, "k": Kind.K, "v": Kind.V}
WHOLE = Span(0, END)
HEADS = [Component(Kind.HEAD, layer, head) for layer in range(3) for head in range(TINY.n_head)]
NODES = [EMBED, *HEADS, M0, M1, M2]
TAILS = [*NODES, A1, N1, BA1, BM1, TOKEN_EMBED, POS_EMBED]
READERS = [head for line in range(1, 2 * TINY.n_layer + 2) for head in all_readers(line, TINY)]
L2H0Q, L2H0K, L1H2V = Component(Kind.Q, 2, 0), Component(Kind.K, 2, 0), Component(Kind.V, 1, 2)


def is_edge(tail: Component, head: Component) -> bool:
    return written_on(tail) < reading_line(head, TINY.n_layer)


def logits(model: GPT2, trace: Trace) -> torch.Tensor:
    return model.unembed(trace[Site.LN_FINAL, 0])


# The naive side: numpy, one edge after the other, from what every part writes.


class NaiveEdges:
    """A pass of the naive model in which every reader's stream has its edges' writes replaced."""

    def __init__(self, naive: Naive, edges: Iterable[tuple[Component, Component, int, Array]]) -> None:
        """An edge is its tail, its head, a token, and what it carries there in place of the tail's write."""
        self.naive, self.edges = naive, list(edges)
        self.sites: dict[tuple[str, int], Array] = {}

    def run(self, tokens: tuple[int, ...]) -> Array:
        return self.naive.run(tokens, self.edit)["logits", 0]

    def edit(self, name: str, layer: int, value: Array) -> Array:
        value = value.copy()
        if name in ("q", "k", "v"):
            for head in range(self.naive.n_head):
                stream, met = self.stream(Component(KINDS[name], layer, head), "resid_pre", layer)
                if met:
                    value[head] = self.project(stream, layer, name, head)
        if name == "mlp_pre":
            stream, met = self.stream(Component(Kind.MLP, layer), "resid_mid", layer)
            if met:
                w = self.naive.w
                seen = self.norm(stream, f"h.{layer}.ln_2")
                value = seen @ w[f"h.{layer}.mlp.c_fc.weight"] + w[f"h.{layer}.mlp.c_fc.bias"]
        self.sites[name, layer] = value
        if (name, layer) == ("resid_post", self.naive.n_layer - 1):
            return self.stream(U, name, layer)[0]
        return value

    def stream(self, head: Component, name: str, layer: int) -> tuple[Array, bool]:
        stream, met = self.sites[name, layer].copy(), False
        for tail, reader, pos, carried in self.edges:
            if reader == head:
                met = True
                stream[pos] += carried - write(self.naive, self.sites, tail, pos)
        return stream, met

    def project(self, stream: Array, layer: int, name: str, head: int) -> Array:
        w, width = self.naive.w, stream.shape[1] // self.naive.n_head
        first = "qkv".index(name) * stream.shape[1] + head * width
        columns = slice(first, first + width)
        seen = self.norm(stream, f"h.{layer}.ln_1")
        weight, bias = w[f"h.{layer}.attn.c_attn.weight"], w[f"h.{layer}.attn.c_attn.bias"]
        return seen @ weight[:, columns] + bias[columns]

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        seen = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.naive.eps)
        return seen * self.naive.w[f"{name}.weight"] + self.naive.w[f"{name}.bias"]


def write(naive: Naive, sites: dict[tuple[str, int], Array], tail: Component, pos: int) -> Array:
    """What a part writes at a token, of the values that a pass has had so far."""
    w, layer = naive.w, tail.layer
    match tail.kind:
        case Kind.EMBED:
            return sites["resid_pre", 0][pos]
        case Kind.TOKEN_EMBED:
            return sites["embed", 0][pos]
        case Kind.POS_EMBED:
            return sites["pos_embed", 0][pos]
        case Kind.HEAD:
            z, w_o = sites["z", layer][tail.index or 0, pos], w[f"h.{layer}.attn.c_proj.weight"]
            return z @ w_o[(tail.index or 0) * len(z) : ((tail.index or 0) + 1) * len(z)]
        case Kind.NEURON:
            return sites["mlp_post", layer][pos, tail.index] * w[f"h.{layer}.mlp.c_proj.weight"][tail.index]
        case Kind.ATTN:
            return sites["attn_out", layer][pos]
        case Kind.MLP:
            return sites["mlp_out", layer][pos]
        case Kind.ATTN_BIAS:
            return sites["attn_bias", layer][pos]
        case _:
            return sites["mlp_bias", layer][pos]


@cache
def known(naive: Naive, tokens: tuple[int, ...]) -> dict[tuple[str, int], Array]:
    return naive.run(tokens).sites


def carried_instead(naive: Naive, change: Ablate | Patch, pos: int) -> Array:
    """What an ablated or patched tail would write."""
    tail = change.component
    if isinstance(change, Patch):
        return write(naive, known(naive, OTHER), tail, pos + change.source.first - change.span.first)
    if change.mode is Mode.ZERO:
        return np.zeros(TINY.d_model)
    return np.mean([write(naive, known(naive, tokens), tail, pos) for tokens in REFERENCES], axis=0)


def in_loops(naive: Naive, edits: Sequence[EdgeChange]) -> Array:
    edges: dict[tuple[Component, Component, int], Array] = {}
    for edit in edits:
        for each in edit.carried:
            for pos in range(END + 1):
                if each.change.span is None or each.change.span.first <= pos <= each.change.span.last:
                    edges[each.change.component, each.head, pos] = carried_instead(naive, each.change, pos)
    return NaiveEdges(naive, [(*edge, value) for edge, value in edges.items()]).run(TOKENS)


@st.composite
def carried(draw: st.DrawFn) -> Carried:
    head = draw(st.sampled_from(READERS))
    # no tail within another, whose whole would count alone
    tail = draw(st.sampled_from([tail for tail in (*NODES, BA1) if is_edge(tail, head)]))
    first, last = sorted((draw(st.integers(0, END)), draw(st.integers(0, END))))
    span = Span(first, last)
    change = draw(
        st.sampled_from(
            (
                Ablate(tail, draw(st.sampled_from((span, None)))),
                Ablate(tail, span, mode=Mode.MEAN),
                Patch(tail, span, span),
                Patch(tail, Span(0, last - first), span),
            )
        )
    )
    return Carried(change, head)


EDGES = st.lists(carried(), min_size=1, max_size=12).map(lambda each: EdgeChange(tuple(each)))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDGES, min_size=1, max_size=3))
def test_any_edges_are_what_a_loop_over_them_gives(
    tiny: GPT2, naive: Naive, sources: Sources, edits: list[EdgeChange]
) -> None:
    ours = logits(tiny, record(tiny, TOKENS, edits, sources)).numpy()
    np.testing.assert_allclose(ours, in_loops(naive, edits), rtol=0, atol=1e-9)


@pytest.mark.parametrize("tail", [A1, N1, BA1, BM1, TOKEN_EMBED, POS_EMBED], ids=str)
def test_parts_of_lines_are_senders_too(tiny: GPT2, naive: Naive, sources: Sources, tail: Component) -> None:
    heads = [head for head in (L1H2V, L2H0Q, Component(Kind.MLP, 2), U) if is_edge(tail, head)]
    for change in (Patch(tail, MIDDLE, MIDDLE), Ablate(tail, mode=Mode.MEAN)):
        edit = EdgeChange(tuple(Carried(change, head) for head in heads))
        ours = logits(tiny, record(tiny, TOKENS, [edit], sources)).numpy()
        np.testing.assert_allclose(ours, in_loops(naive, [edit]), rtol=0, atol=1e-9)


def test_a_pair_s_edge_carries_its_value_weighted_by_its_attention(
    tiny: GPT2, naive: Naive, sources: Sources
) -> None:
    edit = EdgeChange((Carried(Ablate(L0H1, LAST, key=2), L2H0Q),))
    run = naive.run(TOKENS)
    z = run["z", 0][1, END] - run["pattern", 0][1, END, 2] * run["v", 0][1, 2]
    without = z @ naive.w["h.0.attn.c_proj.weight"][12:24]
    theirs = NaiveEdges(naive, [(L0H1, L2H0Q, END, without)]).run(TOKENS)
    ours = logits(tiny, record(tiny, TOKENS, [edit], sources)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def out_of(change: Ablate | Patch) -> EdgeChange:
    """Every edge of a part."""
    heads = [head for head in READERS if is_edge(change.component, head)]
    return EdgeChange(tuple(Carried(change, head) for head in heads))


@pytest.mark.parametrize("tail", [tail for tail in TAILS if tail is not M2], ids=str)
def test_P_ablating_all_edges_of_a_node_is_ablating_the_node(
    tiny: GPT2, sources: Sources, tail: Component
) -> None:
    for change in (Ablate(tail), Ablate(tail, MIDDLE, mode=Mode.MEAN), Patch(tail, LAST, LAST)):
        by_node = record(tiny, TOKENS, [change], sources)
        by_edges = record(tiny, TOKENS, [out_of(change)], sources)
        torch.testing.assert_close(logits(tiny, by_edges), logits(tiny, by_node), rtol=0, atol=1e-9)


def test_P_patching_every_edge_gives_the_other_prompt_s_logits(tiny: GPT2, sources: Sources) -> None:
    other = record(tiny, OTHER)
    from_b = [Patch(tail, WHOLE, WHOLE) for tail in NODES]
    every = EdgeChange(tuple(each for change in from_b for each in out_of(change).carried))
    for edit in (every, EdgeKeep((), Patch(EMBED, WHOLE, WHOLE))):
        run = record(tiny, TOKENS, [edit], sources)
        torch.testing.assert_close(logits(tiny, run), logits(tiny, other), rtol=0, atol=1e-9)
        for site in (Site.Q, Site.PATTERN, Site.MLP_PRE):  # every reader meets B's stream
            torch.testing.assert_close(run[site, 2], other[site, 2], rtol=0, atol=1e-9)


def test_P_what_carries_its_own_write_changes_nothing_to_the_bit(tiny: GPT2, tiny32: GPT2) -> None:
    for model in (tiny, tiny32):
        clean = record(model, TOKENS)
        same = Sources(other=clean)
        links = tuple(Link(tail, head) for tail in NODES for head in READERS if is_edge(tail, head))
        for edit in (
            out_of(Patch(L0H1, WHOLE, WHOLE)),
            EdgeKeep((), Patch(EMBED, WHOLE, WHOLE)),
            EdgeKeep(links, Ablate(EMBED)),
        ):
            run = record(model, TOKENS, [edit], same)
            for at in clean.acts:
                assert torch.equal(run[at], clean[at]), at


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edit=EDGES)
def test_P_edges_in_one_pass_are_their_composition(tiny: GPT2, sources: Sources, edit: EdgeChange) -> None:
    """As one edit, as one for each edge, and with the edges of other readers in another order."""
    together = logits(tiny, record(tiny, TOKENS, [edit], sources))
    apart = [EdgeChange((each,)) for each in edit.carried]
    torch.testing.assert_close(
        logits(tiny, record(tiny, TOKENS, apart, sources)), together, rtol=0, atol=1e-10
    )
    ordered = EdgeChange(tuple(sorted(edit.carried, key=lambda each: str(each.head))))
    torch.testing.assert_close(
        logits(tiny, record(tiny, TOKENS, [ordered], sources)), together, rtol=0, atol=1e-10
    )


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edit=EDGES)
def test_P_keeping_some_edges_is_editing_all_others(tiny: GPT2, sources: Sources, edit: EdgeChange) -> None:
    kept = [each for each in edit.carried if each.change.component in NODES]
    links = [Link(each.change.component, each.head, each.change.span) for each in kept]
    for like in (Ablate(EMBED), Patch(EMBED, WHOLE, WHOLE)):
        others: list[Carried] = []
        for tail in NODES:
            for head in (head for head in READERS if is_edge(tail, head)):
                mine = [link.span or WHOLE for link in links if (link.tail, link.head) == (tail, head)]
                for pos in range(END + 1):
                    if not any(span.first <= pos <= span.last for span in mine):
                        span = Span(pos, pos)
                        change = Ablate(tail, span) if isinstance(like, Ablate) else Patch(tail, span, span)
                        others.append(Carried(change, head))
        by_rest = record(tiny, TOKENS, [EdgeChange(tuple(others))], sources)
        by_kept = record(tiny, TOKENS, [EdgeKeep(tuple(links), like)], sources)
        torch.testing.assert_close(logits(tiny, by_kept), logits(tiny, by_rest), rtol=0, atol=1e-9)


def test_a_kept_attention_is_all_of_its_heads_and_a_kept_pair_a_part_of_its_head(
    tiny: GPT2, sources: Sources
) -> None:
    like = Ablate(EMBED)
    heads = tuple(Link(Component(Kind.HEAD, 1, head), L2H0Q) for head in range(4))
    pairs = tuple(Link(L1H2, L2H0Q, Span(END, END), key=key) for key in range(END + 1))
    for one, same in (
        ((Link(A1, L2H0Q),), heads),
        ((Link(L1H2, L2H0Q, LAST),), pairs),
        ((Link(L1H2, L2H0Q, LAST), *pairs), (Link(L1H2, L2H0Q, LAST),)),
        ((Link(EMBED, L1H2V),), (Link(TOKEN_EMBED, L1H2V), Link(POS_EMBED, L1H2V))),
    ):
        runs = [record(tiny, TOKENS, [EdgeKeep(links, like)], sources) for links in (one, same)]
        torch.testing.assert_close(runs[0][Site.Q, 2], runs[1][Site.Q, 2], rtol=0, atol=1e-10)
        torch.testing.assert_close(runs[0][Site.V, 1], runs[1][Site.V, 1], rtol=0, atol=1e-10)
        assert not torch.equal(
            runs[0][Site.Q, 2], record(tiny, TOKENS, [EdgeKeep((), like)], sources)[Site.Q, 2]
        )


NODE_EDITS: tuple[Change, ...] = (
    Ablate(L0H1, MIDDLE),
    Patch(M0, LAST, LAST),
    Ablate(M1, mode=Mode.SCALE, amount=0.5),
    Ablate(L2H0Q, Span(3, 3)),
    Freeze(Component(Kind.LN1_SCALE, 2)),
)


def test_edges_and_nodes_stack_in_any_order(tiny: GPT2, sources: Sources) -> None:
    """Tails write what other edits leave of them; an input that is edited itself keeps that edit."""
    clean = record(tiny, TOKENS)
    sources = replace(sources, base=clean)
    edges = EdgeChange(
        (Carried(Ablate(L0H1), L2H0Q), Carried(Patch(M0, WHOLE, WHOLE), L2H0Q), Carried(Ablate(L1H2), U))
    )
    first = record(tiny, TOKENS, [edges, *NODE_EDITS], sources)
    for at in range(1, len(NODE_EDITS) + 1):
        again = record(tiny, TOKENS, [*NODE_EDITS[:at], edges, *NODE_EDITS[at:]], sources)
        assert torch.equal(logits(tiny, again), logits(tiny, first))
    assert not first[Site.Q, 2][0, 3].any()
    assert torch.equal(first[Site.LN1_SCALE, 2], clean[Site.LN1_SCALE, 2])


def test_what_has_been_replaced_has_no_edges_left(tiny: GPT2, sources: Sources) -> None:
    """A head in an ablated attention, a part of a patched embedding, anything before a patched stream."""
    stream = Component(Kind.RESID_PRE, 2)
    for change, tail in (
        (Ablate(A1), L1H2),
        (Ablate(M1), N1),
        (Patch(EMBED, WHOLE, WHOLE), TOKEN_EMBED),
        (Patch(stream, WHOLE, WHOLE), M0),
        (Patch(stream, WHOLE, WHOLE), EMBED),
    ):
        edges = EdgeChange((Carried(Ablate(tail), L2H0Q), Carried(Ablate(tail), U)))
        without = record(tiny, TOKENS, [change], sources)
        assert torch.equal(
            logits(tiny, record(tiny, TOKENS, [edges, change], sources)), logits(tiny, without)
        )


def test_of_two_edits_of_an_edge_the_later_counts_and_of_whole_and_part_the_whole(
    tiny: GPT2, sources: Sources
) -> None:
    def run(*changes: Ablate | Patch) -> torch.Tensor:
        return record(tiny, TOKENS, [EdgeChange((Carried(each, L2H0Q),)) for each in changes], sources)[
            Site.Q, 2
        ]

    zero, patch, pair = Ablate(L1H2), Patch(L1H2, LAST, LAST), Ablate(L1H2, LAST, key=2)
    assert torch.equal(run(patch, zero), run(zero))
    assert torch.equal(run(zero, patch)[:, END], run(patch)[:, END])
    assert torch.equal(run(zero, patch)[:, :END], run(zero)[:, :END])
    assert torch.equal(run(zero, pair), run(zero)) and torch.equal(run(pair, zero), run(zero))
    assert torch.equal(run(Ablate(A1), zero), run(Ablate(A1)))


def test_a_run_that_begins_later_knows_what_earlier_lines_write(tiny: GPT2, sources: Sources) -> None:
    base = record(tiny, TOKENS, [Ablate(M0)], sources)
    edges = EdgeChange((Carried(Ablate(L0H1), L2H0Q), Carried(Patch(EMBED, WHOLE, WHOLE), U)))
    for changes in ([Ablate(M0), edges], [edges, Ablate(M0), Ablate(M1)]):
        whole, late = (record(tiny, TOKENS, changes, sources, base=each) for each in (None, base))
        assert torch.equal(logits(tiny, whole), logits(tiny, late))
    with_edges = record(tiny, TOKENS, [edges], sources)
    assert torch.equal(
        logits(tiny, record(tiny, TOKENS, [], sources, base=with_edges)), logits(tiny, record(tiny, TOKENS))
    )


@pytest.mark.parametrize(
    ("tail", "head", "message"),
    [
        (M2, L2H0Q, "M2 does not come before L2H0.q: an edge goes down the pass"),
        (L1H2, Component(Kind.V, 1, 0), "L1H2 does not come before L1H0.v: an edge goes down the pass"),
        (U, U, "U is no sender: E, WTE, WPE, heads, A9, M9, neurons and biases of layers are"),
    ],
)
def test_an_edge_that_no_model_has_gets_one_sentence(tail: Component, head: Component, message: str) -> None:
    with pytest.raises(ValueError) as error:
        check_link(tail, head, TINY.n_layer)
    assert str(error.value) == message


def test_readers_are_inputs_and_nothing_else() -> None:
    assert readers_of(L1H2, 4) == tuple(Component(kind, 1, 2) for kind in INPUTS)
    assert len(readers_of(A1, 4)) == 12 and readers_of(U, 4) == (U,)
    with pytest.raises(ValueError, match="E is no reader"):
        readers_of(EMBED, 4)
    with pytest.raises(ValueError, match="an edge cannot carry 'ablate L1H2@6<2 cut'"):
        node_change(Ablate(L1H2, LAST, key=2, mode=Mode.CUT))


def test_a_change_is_narrowed_to_the_tokens_that_are_read() -> None:
    assert narrowed(Ablate(M0), LAST) == Ablate(M0, LAST)
    assert narrowed(Ablate(M0, MIDDLE), LAST) is None
    assert narrowed(Patch(M0, Span(2, 4), Span(0, 2)), Span(3, 6)) == Patch(M0, Span(3, 4), Span(1, 2))


def test_the_text_is_the_command() -> None:
    edit = EdgeChange(
        (Carried(Ablate(L0H1, LAST), L2H0Q), Carried(Ablate(L0H1, LAST), L2H0K), Carried(Ablate(M0), U))
    )
    assert str(edit) == "edge ablate L0H1@6 -> L2H0.q,L2H0.k, M0@* -> U zero"
    patch = EdgeChange((Carried(Patch(M0, LAST, LAST), U), Carried(Patch(M1, MIDDLE, MIDDLE), U)))
    assert str(patch) == "edge patch M0@6 -> U, M1@2:4 -> U from B"
    shifted = EdgeChange((Carried(Patch(M0, LAST, Span(3, 3)), U),))
    assert str(shifted) == "edge patch M0@6 -> U from B@3"
    keep = EdgeKeep((Link(L0H1, L2H0Q, LAST), Link(L0H1, L2H0K, LAST, 2)), Ablate(EMBED, mode=Mode.MEAN))
    assert str(keep) == "edge keep L0H1@6 -> L2H0.q, L0H1@6<2 -> L2H0.k mean"
    assert str(EdgeKeep((), Patch(EMBED, WHOLE, WHOLE))) == "edge keep none from B"


EDITS: tuple[EdgeChange | EdgeKeep | PathPatch, ...] = (
    EdgeChange((Carried(Ablate(L0H1), L2H0Q), Carried(Patch(M0, LAST, LAST), U))),
    EdgeChange((Carried(Ablate(EMBED, LAST), U), Carried(Ablate(L1H2), Component(Kind.MLP, 2)))),
    EdgeKeep((Link(L0H1, L2H0Q, LAST), Link(M2, U)), Ablate(EMBED)),
    EdgeChange((Carried(Ablate(TOKEN_EMBED, Span(1, 1)), U), Carried(Ablate(L0H1, LAST, 1), L2H0Q))),
    PathPatch((Patch(L0H1, WHOLE, WHOLE),), (L2H0Q, U), Meaning.MLPS),
    PathPatch((Patch(M0, WHOLE, WHOLE),), (L2H0K, Component(Kind.MLP, 1)), tokens=MIDDLE),
    PathPatch((Patch(L0H1, MIDDLE, MIDDLE),), (L1H2V, U)),
)
"Edits of every kind that needs the model."


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_P_direct_effects_and_biases_add_up_whatever_edges_are_edited(
    tiny: GPT2, sources: Sources, edit: EdgeChange | EdgeKeep | PathPatch
) -> None:
    trace = record(tiny, TOKENS, [Ablate(M1, LAST), edit], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    tables = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)
    total = sum(float(table(tiny, trace, by).direct.sum()) for table in tables)
    assert total == pytest.approx(metric_value(tiny, trace, LD), abs=1e-9)


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_effects_on_top_of_edges_are_those_of_a_whole_run(
    tiny: GPT2, sources: Sources, edit: EdgeChange | EdgeKeep | PathPatch
) -> None:
    """Measured nodes, those too that stay as they are but cut edges, and every cell of a sweep of the stream."""
    assert sources.other is not None
    other, sources = record(tiny, OTHER), replace(sources, base=record(tiny, TOKENS))
    trace, scorer = record(tiny, TOKENS, [edit], sources), metric_scorer(tiny, LD)
    same = [Patch(EMBED, Span(1, 1), Span(1, 1)), Freeze(Component(Kind.RESID_MID, 1)), Freeze(L0H1)]
    changes = [Ablate(L0H1), Patch(M1, LAST, LAST), Ablate(L2H0Q, LAST), EDITS[0], EDITS[3], *same]
    for number, value in measure(tiny, trace, scorer, changes, sources):
        run = record(tiny, TOKENS, [edit, changes[number]], sources)
        assert value == pytest.approx(unchanged(tiny, run, scorer), abs=1e-10)
    for layer, pos, value in patch_residuals(tiny, trace, other, scorer, sources):
        place = Component(Kind.RESID_PRE, layer)
        cell = Patch(place, Span(pos, pos), Span(pos, pos))
        run = record(tiny, TOKENS, [edit, cell], sources)
        assert value == pytest.approx(unchanged(tiny, run, scorer), abs=1e-9)


def test_P_gradients_hold_what_edges_carry(tiny: GPT2, sources: Sources) -> None:
    """Of a part that is no tail, the estimate is the slope of the measurement."""
    edit = EdgeChange((Carried(Patch(M0, WHOLE, WHOLE), L2H0Q), Carried(Ablate(M0, LAST), U)))
    step, part = 1e-5, Component(Kind.HEAD, 1, 3)
    trace, scorer = record(tiny, TOKENS, [edit], sources), metric_scorer(tiny, LD)
    by = attribution.gradients(tiny, trace, LD, sources, attribution.Treatment.NONE)
    table = attribution.head_table(tiny, trace, by)
    rows = [row for row in range(len(table)) if table.component(row) == part]
    change = Ablate(part, mode=Mode.SCALE, amount=1 + step)
    ((_, value),) = measure(tiny, trace, scorer, [change], sources)
    slope = (value - unchanged(tiny, trace, scorer)) / step
    assert slope == pytest.approx(float(table.total[rows].sum()), rel=1e-3)
