"""Estimates where edges carry something else: every row's total is the slope of the edited run by that row's write."""

import pytest

from model.components import Component, Kind, Node
from model.edits.edges import Carried, EdgeChange, EdgeKeep
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.edits.links import Link
from model.edits.path_edits import Meaning, PathPatch
from model.effects import attribution, embeddings
from model.effects.writes import effects_of
from model.estimates.estimators import attribution_patching
from model.estimates.integrated import Rule, integrated_edit
from model.estimates.swap import Swap
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import metric_scorer, unchanged
from model.nodes import NodeTable
from model.trace import Trace, metric_value, record
from model.upstream.edges import edges_from
from model.upstream.inputs import input_gradients
from tests.tiny import (
    A0,
    BA1,
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
    N0,
    N2,
    TOKEN_EMBED,
    TOKENS,
)

U, L2H0Q, L1H2V, L2H3K = (
    Component(Kind.UNEMBED),
    Component(Kind.Q, 2, 0),
    Component(Kind.V, 1, 2),
    Component(Kind.K, 2, 3),
)
WHOLE = Span(0, END)
EDITS: dict[str, EdgeChange | EdgeKeep] = {
    "heads": EdgeChange(
        (Carried(Ablate(L0H1), L2H0Q), Carried(Ablate(L0H1), L1H2V), Carried(Ablate(L1H2, LAST), U))
    ),
    "patched": EdgeChange((Carried(Patch(M0, WHOLE, WHOLE), L2H3K), Carried(Patch(M0, WHOLE, WHOLE), U))),
    "scaled": EdgeChange((Carried(Ablate(M0, mode=Mode.SCALE, amount=0.3), M1),)),
    "noise": EdgeChange((Carried(Ablate(M0, mode=Mode.NOISE, amount=0.5), M1),)),
    "whole attention": EdgeChange((Carried(Ablate(A0), M1), Carried(Ablate(A0), U))),
    "a pair": EdgeChange((Carried(Ablate(L0H1, MIDDLE, key=1), M1), Carried(Ablate(L0H1, LAST, key=1), U))),
    "a neuron": EdgeChange((Carried(Ablate(N0), L2H0Q), Carried(Ablate(N0), U))),
    "the embedding": EdgeChange((Carried(Ablate(EMBED), L1H2V), Carried(Ablate(EMBED, LAST), U))),
    "a token's embedding": EdgeChange((Carried(Ablate(TOKEN_EMBED), M1),)),
    "the last layer's MLP": EdgeChange((Carried(Ablate(M2, LAST), U), Carried(Patch(M1, WHOLE, WHOLE), U))),
    "a neuron of the last layer": EdgeChange((Carried(Patch(N2, WHOLE, WHOLE), U),)),
    "a bias": EdgeChange((Carried(Ablate(BA1), Component(Kind.MLP, 2)),)),
    "biases into the end": EdgeChange(
        (Carried(Ablate(BA1), U), Carried(Ablate(Component(Kind.MLP_BIAS, 2)), U))
    ),
    "all but a circuit": EdgeKeep(
        (Link(L0H1, L2H0Q), Link(M0, M1), Link(M1, U), Link(L1H2, U, key=3)), Patch(EMBED, WHOLE, WHOLE)
    ),
}
STEP = 1e-5
TABLES = (
    attribution.embed_table,
    embeddings.token_table,
    embeddings.position_table,
    attribution.head_table,
    attribution.pair_table,
    attribution.attn_table,
    attribution.mlp_table,
    attribution.neuron_table,
    attribution.bias_table,
)


def slope(model: GPT2, trace: Trace, sources: Sources, change: Change) -> float:
    scorer = metric_scorer(model, LD)
    ((_, value),) = measure(model, trace, scorer, [change], sources)
    return (value - unchanged(model, trace, scorer)) / STEP


def rows_worth_a_look(table: NodeTable) -> list[int]:
    """Some rows of each table: the parts that edges above begin in, and a few others."""
    parts = {L0H1, L1H2, A0, Component(Kind.ATTN, 1), M0, M1, M2, N0, N2, BA1, EMBED, TOKEN_EMBED}
    mine = [
        row
        for row in range(len(table))
        if table.component(row) in parts and table.node(row).pos in (1, 3, END)
    ]
    return [*mine[:12], *range(0, len(table), max(1, len(table) // 3))]


@pytest.mark.parametrize("name", EDITS)
def test_a_rows_total_is_the_slope_of_the_edited_run(tiny: GPT2, sources: Sources, name: str) -> None:
    trace = record(tiny, TOKENS, [EDITS[name]], sources)
    by = attribution.gradients(tiny, trace, LD, sources, attribution.Treatment.NONE)
    seen = 0
    for table in (each(tiny, trace, by) for each in TABLES):
        for row in rows_worth_a_look(table):
            node = table.node(row)
            if not node.component.kind.writes or node.component.kind is Kind.FINAL_BIAS:
                continue
            if node.component.kind in (Kind.ATTN, Kind.MLP):
                continue  # scaling them whole scales their bias too, which has a row of its own
            change = Ablate(
                node.component, Span(node.pos, node.pos), node.key, mode=Mode.SCALE, amount=1 + STEP
            )
            expected = pytest.approx(slope(tiny, trace, sources, change), rel=2e-3, abs=2e-5)
            assert table.total[row] == expected, node
            assert effects_of(tiny, trace, by, node).total == pytest.approx(table.total[row], abs=1e-9)
            assert effects_of(tiny, trace, by, node).direct == pytest.approx(table.direct[row], abs=1e-9)
            seen += 1
    assert seen > 40


@pytest.mark.parametrize("name", EDITS)
def test_direct_effects_add_up_and_a_cut_edge_to_the_end_has_none(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    trace = record(tiny, TOKENS, [EDITS[name]], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    tables = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)
    total = sum(float(table(tiny, trace, by).direct.sum()) for table in tables)
    assert total == pytest.approx(metric_value(tiny, trace, LD), abs=1e-9)
    cut = {"heads": L1H2, "whole attention": L0H1, "the last layer's MLP": M2}.get(name)
    if cut is not None:
        assert effects_of(tiny, trace, by, Node(cut, END)).direct == pytest.approx(0, abs=1e-12)


def test_a_node_all_of_whose_edges_are_cut_has_no_effect_left(tiny: GPT2, sources: Sources) -> None:
    readers = [
        Component(kind, layer, head)
        for layer in (1, 2)
        for kind in (Kind.Q, Kind.K, Kind.V)
        for head in range(4)
    ]
    heads = (*readers, *(Component(Kind.MLP, layer) for layer in range(3)), U)
    trace = record(tiny, TOKENS, [EdgeChange(tuple(Carried(Ablate(L0H1), head) for head in heads))], sources)
    by = attribution.gradients(tiny, trace, LD, sources)
    table = attribution.head_table(tiny, trace, by)
    mine = [row for row in range(len(table)) if table.component(row) == L0H1]
    assert abs(table.total[mine]).max() < 1e-12 < abs(table.total).max()
    assert slope(tiny, trace, sources, Ablate(L0H1, mode=Mode.SCALE, amount=1 + STEP)) == pytest.approx(
        0, abs=1e-9
    )


def test_attribution_patching_respects_cut_edges(tiny: GPT2, sources: Sources) -> None:
    """A head's estimate to first order is what a small step towards zero really does."""
    trace = record(tiny, TOKENS, [EDITS["heads"]], sources)
    found = attribution_patching(Swap(tiny, trace, None, LD, sources))
    for pos in (1, END):
        change = Ablate(L0H1, Span(pos, pos), mode=Mode.SCALE, amount=1 + STEP)
        expected = -slope(tiny, trace, sources, change)
        assert float(found.heads[0, 1, pos]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["heads", "scaled", "a pair", "all but a circuit"])
def test_edges_from_a_node_add_up_to_its_total_and_are_nothing_where_cut(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    edit = EDITS[name]
    trace = record(tiny, TOKENS, [edit], sources)
    by = attribution.gradients(tiny, trace, LD, sources, attribution.Treatment.NONE)
    inputs = input_gradients(tiny, trace, LD, sources, attribution.Treatment.NONE)
    for part in (L0H1, M0, L1H2):
        node = Node(part, END)
        found = edges_from(tiny, trace, inputs, node)
        assert found.total == pytest.approx(effects_of(tiny, trace, by, node).total, abs=1e-9)
    if name == "heads":
        assert edges_from(tiny, trace, inputs, Node(L0H1, END)).q[2, 0] == pytest.approx(0, abs=1e-12)


ALONG: dict[str, tuple[Change, ...]] = {
    **{name: (EDITS[name],) for name in ("heads", "patched", "a pair", "a neuron", "all but a circuit")},
    "a path": (PathPatch((Patch(L0H1, WHOLE, WHOLE),), (L2H0Q, Component(Kind.MLP, 1)), Meaning.DIRECT),),
    "a path through MLPs": (PathPatch((Ablate(M0),), (L2H3K, U), Meaning.MLPS, LAST),),
    "many": (
        Ablate(L1H2, MIDDLE, mode=Mode.SCALE, amount=0.5),
        EDITS["heads"],
        Ablate(A0, LAST, mode=Mode.SCALE, amount=0.5),
        PathPatch((Patch(EMBED, WHOLE, WHOLE),), (L2H0Q,), Meaning.MLPS),
    ),
}


@pytest.mark.parametrize("name", ALONG)
def test_IG_along_an_edit_goes_to_what_the_edited_run_measures(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    """Tails of edited edges, their parts and wholes, and others: midpoints, so twice the steps leave a quarter."""
    beside, bias = Component(Kind.HEAD, 0, 3), Component(Kind.ATTN_BIAS, 0)
    trace = record(tiny, TOKENS, ALONG[name], sources)
    swap, scorer = Swap(tiny, trace, None, LD, sources), metric_scorer(tiny, LD)
    changes = (
        *(Ablate(beside, LAST), Patch(beside, MIDDLE, MIDDLE), Ablate(bias, LAST), Ablate(L0H1, LAST)),
        *(
            Ablate(L0H1, LAST, key=1),
            Patch(M0, LAST, LAST),
            Ablate(A0, LAST),
            Ablate(N0),
            Patch(EMBED, LAST, LAST),
        ),
    )
    for number, value in measure(tiny, trace, scorer, changes, sources):
        exact, change = value - unchanged(tiny, trace, scorer), changes[number]
        coarse, fine = (abs(integrated_edit(swap, change, n, Rule.MIDPOINT) - exact) for n in (32, 64))
        assert coarse < 1e-2 * abs(exact) + 1e-3, str(change)
        assert fine < 0.27 * coarse + 1e-10, str(change)
