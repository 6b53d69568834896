"""Frames whose own reader does not read what all read: rows and biases add up to what the reader makes of it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from model.about.scores import row_scores, score_parts
from model.components import Component, Kind, Node
from model.edits.directions import Direction
from model.edits.edges import Carried, EdgeChange, EdgeKeep
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span, Steer
from model.edits.links import Link
from model.edits.path_edits import Meaning, PathPatch
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.backward import value_of
from model.effects.writes import effects_of
from model.gpt2 import GPT2
from model.measured.repair import shifts
from model.measured.replay import measure
from model.measured.scorers import target_scorer, unchanged
from model.nodes import NodeTable, joined
from model.sites import Site
from model.targets import Target, Via, metric_target, trace_target, wanted_at
from model.trace import Trace, record
from model.upstream.edges import edges_from, edges_into
from model.upstream.inputs import Input, input_gradients
from model.upstream.rows import Parts, rows_of
from tests.tiny import A0, BA1, EMBED, END, L0H1, L1H2, LAST, LD, M0, M1, MIDDLE, N0, TOKENS

Q, K, V, M2 = (
    Component(Kind.Q, 2, 1),
    Component(Kind.K, 2, 1),
    Component(Kind.V, 2, 1),
    Component(Kind.MLP, 2),
)
U = Component(Kind.UNEMBED)
HEAD, NEURON = Component(Kind.HEAD, 2, 1), Component(Kind.NEURON, 2, 11)
WHOLE = Span(0, END)
INTO = (Q, K, V, M2)


def into(*changes: Ablate | Patch) -> EdgeChange:
    return EdgeChange(tuple(Carried(change, reader) for reader in INTO for change in changes))


CIRCUIT = (Link(L0H1, Q), Link(M0, K), Link(M1, M2), Link(HEAD, U), Link(M2, U))
PUSH = Direction("a vector", tuple(np.random.default_rng(3).normal(size=48).tolist()))
EDITS: dict[str, tuple[Change, ...]] = {
    "heads cut": (into(Ablate(L0H1), Ablate(L1H2, LAST)),),
    "from B": (into(Patch(M0, WHOLE, WHOLE), Patch(L1H2, WHOLE, WHOLE)),),
    "one reader": (EdgeChange((Carried(Patch(M1, WHOLE, WHOLE), Q),)),),
    "scaled": (into(Ablate(M0, mode=Mode.SCALE, amount=0.3)),),
    "value": (into(Ablate(A0, MIDDLE, mode=Mode.VALUE, amount=0.4)),),
    "the embedding": (into(Ablate(EMBED)),),
    "a pair": (into(Ablate(L0H1, LAST, key=1)),),
    "a neuron and a bias": (into(Ablate(N0), Ablate(BA1)),),
    "biases": (into(Ablate(Component(Kind.MLP_BIAS, 0)), Ablate(BA1, mode=Mode.SCALE, amount=0.5)),),
    "parts of wholes that are edited": (
        Ablate(Component(Kind.ATTN, 1), mode=Mode.SCALE, amount=2.0),
        Ablate(M0, LAST, mode=Mode.SCALE, amount=-0.5),
        into(Ablate(L1H2), Ablate(BA1), Ablate(N0), Ablate(Component(Kind.MLP_BIAS, 0))),
    ),
    "all but a circuit": (EdgeKeep((*CIRCUIT, Link(L1H2, V, key=1)), Patch(EMBED, WHOLE, WHOLE)),),
    "with the stream steered": (
        Steer(Component(Kind.RESID_PRE, 2), WHOLE, amount=0.7, direction=PUSH),
        Steer(Component(Kind.RESID_MID, 2), LAST, amount=0.7, direction=PUSH),
        into(Patch(M0, WHOLE, WHOLE)),
    ),
    "with the stream cut": (
        Ablate(Component(Kind.RESID_MID, 1), MIDDLE, mode=Mode.SCALE, amount=0.5),
        into(Patch(M0, WHOLE, WHOLE), Ablate(M1)),
    ),
    "with a scale held": (
        Ablate(Component(Kind.LN1_SCALE, 2), LAST, mode=Mode.VALUE, amount=1.5),
        Ablate(Component(Kind.LN2_SCALE, 2), mode=Mode.VALUE, amount=1.5),
        into(Ablate(M0)),
    ),
    "with scales that go with the stream": (
        Ablate(Component(Kind.LN1_SCALE, 2), mode=Mode.SCALE, amount=1.4),
        Ablate(Component(Kind.LN2_SCALE, 2), mode=Mode.NOISE, amount=0.1),
        Ablate(Component(Kind.LN2_SCALE, 2), LAST, mode=Mode.SCALE, amount=0.8),
        Ablate(Component(Kind.LN1_SCALE, 1), mode=Mode.NOISE, amount=0.1),
        into(Ablate(M0), Patch(L1H2, WHOLE, WHOLE)),
    ),
    "its input edited": (
        Ablate(Q, mode=Mode.SCALE, amount=0.5),
        Patch(K, Span(3, 4), Span(3, 4)),
        Ablate(Component(Kind.V, 2), MIDDLE, mode=Mode.NOISE, amount=0.5),
        into(Ablate(M0)),
    ),
    "at the end of paths": (
        PathPatch((Patch(L0H1, WHOLE, WHOLE),), (Q, K, V, M2), Meaning.MLPS, LAST),
        into(Ablate(M1)),
    ),
}
FRAMES: dict[str, tuple[Node, Via | None]] = {
    "neuron": (Node(NEURON, END), None),
    "mlp": (Node(M2, END), None),
    "q": (Node(HEAD, END, 4), Via.Q),
    "k": (Node(HEAD, END, 4), Via.K),
    "qk": (Node(HEAD, END, 4), Via.QK),
    "qk of its own token": (Node(HEAD, END, END), Via.QK),
    "v": (Node(HEAD, END), Via.V),
}
TABLES = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)
STEP = 1e-5


def every(name: str, values: Mapping[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(name, values.values(), ids=values)


def frame_of(model: GPT2, trace: Trace, frame: tuple[Node, Via | None]) -> Target:
    return trace_target(model, trace, *frame, metric_target(model, trace, LD))


def table_of(model: GPT2, trace: Trace, by: attribution.Gradients) -> NodeTable:
    return joined([table(model, trace, by) for table in TABLES])


def by_sites(model: GPT2, base: Trace, run: Trace, frame: tuple[Node, Via | None]) -> float:
    """A head's or neuron's frame in a moved run, what it holds as in `base`: by what was recorded of its input."""
    node, via = frame
    part, pos, key = node.component, node.pos, node.key
    if part.kind is Kind.NEURON:
        return float(run[Site.MLP_PRE, 2][pos, part.index])
    (q, k, _), (new_q, new_k, new_v) = (
        [each[site, 2][1] for site in (Site.Q, Site.K, Site.V)] for each in (base, run)
    )
    if via is Via.V:
        along = attribution.head_matrices(model)[2][1] @ wanted_at(
            model, base, metric_target(model, base, LD), node
        )
        return float(base[Site.PATTERN, 2][1, pos] @ (new_v @ along))
    assert key is not None and via is not None
    found = 0.0
    if via in (Via.Q, Via.QK):
        found += float(new_q[pos] @ k[key]) / np.sqrt(12)
    if via in (Via.K, Via.QK):
        found += float(q[pos] @ new_k[key]) / np.sqrt(12)
    return found


@every("edits", EDITS)
@every("frame", FRAMES)
def test_rows_and_biases_add_up_to_what_the_reader_made_of_it(
    tiny: GPT2, sources: Sources, edits: Sequence[Change], frame: tuple[Node, Via | None]
) -> None:
    trace = record(tiny, TOKENS, edits, sources)
    target = frame_of(tiny, trace, frame)
    if frame[0].component.kind is not Kind.MLP:
        assert target.value == pytest.approx(by_sites(tiny, trace, trace, frame), abs=1e-10)
    assert value_of(tiny, trace, target) == pytest.approx(target.value, abs=1e-10)
    assert unchanged(tiny, trace, target_scorer(tiny, target)) == pytest.approx(target.value, abs=1e-10)
    for treatment in (Treatment.TARGET, Treatment.NONE):
        by = attribution.gradients(tiny, trace, target, sources, treatment)
        assert table_of(tiny, trace, by).direct.sum() == pytest.approx(target.value, abs=1e-9)


QUICK = ("q", "mlp")
"Frames that take every law; the others do where there is time."
SOME = [
    pytest.param(frame, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for name, frame in FRAMES.items()
]


@every("edits", EDITS)
@pytest.mark.parametrize("frame", SOME)
def test_what_a_row_does_is_what_the_run_says_of_the_reader(
    tiny: GPT2, sources: Sources, edits: Sequence[Change], frame: tuple[Node, Via | None]
) -> None:
    """Estimated totals are slopes of whole runs, and measured effects are differences of them."""
    trace = record(tiny, TOKENS, edits, sources)
    target = frame_of(tiny, trace, frame)
    by = attribution.gradients(tiny, trace, target, sources, Treatment.NONE)
    table, scorer = table_of(tiny, trace, by), target_scorer(tiny, target)
    parts = {L0H1, L1H2, M0, M1, EMBED, BA1, Component(Kind.HEAD, 1, 0)}
    at = {read.pos for read in target.reads}
    rows = [row for row in range(len(table)) if table.component(row) in parts and table.node(row).pos in at]
    nodes = [table.node(row) for row in rows]
    held = frame[0].component.kind is Kind.MLP  # its weights are what is asked: read back through a matrix
    for row, node in list(zip(rows, nodes, strict=True))[:: 3 if len(rows) > 12 else 1]:
        assert effects_of(tiny, trace, by, node).total == pytest.approx(table.total[row], abs=1e-9)
        assert effects_of(tiny, trace, by, node).direct == pytest.approx(table.direct[row], abs=1e-9)
        if node.component.kind is Kind.MLP or any(isinstance(each, PathPatch) for each in edits):
            continue  # scaled whole it takes its bias along; what paths give is held in an estimate
        if not table.write_norm[row]:
            continue  # the row of the whole has it
        span = Span(node.pos, node.pos)
        changes = [
            Ablate(node.component, span, mode=Mode.SCALE, amount=1 + STEP),
            Ablate(node.component, span),
        ]
        values = dict(measure(tiny, trace, scorer, changes, sources))
        slope = (values[0] - target.value) / STEP
        assert table.total[row] == pytest.approx(slope, rel=2e-3, abs=2e-5), node
        if not held:
            run = record(tiny, TOKENS, (*edits, changes[1]), sources)
            assert values[1] == pytest.approx(by_sites(tiny, trace, run, frame), abs=1e-9), node


@every("edits", EDITS)
@pytest.mark.parametrize("frame", SOME)
def test_edges_changes_of_rows_and_trees_agree_with_them(
    tiny: GPT2, sources: Sources, edits: Sequence[Change], frame: tuple[Node, Via | None]
) -> None:
    trace = record(tiny, TOKENS, edits, sources)
    target = frame_of(tiny, trace, frame)
    by = attribution.gradients(tiny, trace, target, sources, Treatment.NONE)
    inputs = input_gradients(tiny, trace, target, sources, Treatment.NONE)
    pos = target.reads[-1].pos
    for part in (L0H1, L1H2, M0, M1, EMBED):
        node = Node(part, pos)
        total = effects_of(tiny, trace, by, node).total
        if not any(change.component.kind is part.kind for change in edits if isinstance(change, Ablate)):
            assert edges_from(tiny, trace, inputs, node).total == pytest.approx(total, abs=1e-9), node
    grown = {
        rows.node(row): float(rows.effects.flatten()[row])
        for rows in rows_of(tiny, trace, target, False, (), Parts(tiny, trace))
        for row in range(rows.effects.numel())
    }
    for part in (EMBED, M0, M1):
        expected = effects_of(tiny, trace, by, Node(part, pos)).direct
        assert grown[Node(part, pos)] == pytest.approx(expected, abs=1e-9), part
    heads = {node: x for node, x in grown.items() if node.component == L0H1 and node.pos == pos}
    assert sum(heads.values()) == pytest.approx(effects_of(tiny, trace, by, Node(L0H1, pos)).direct, abs=1e-9)
    plain = record(tiny, TOKENS, (), sources)
    if not any(isinstance(change, PathPatch) for change in edits) and "input" not in str(edits):
        was = frame_of(tiny, plain, frame)
        changed = value_of(tiny, trace, was) - value_of(tiny, plain, was)
        assert sum(row.change for row in shifts(tiny, plain, trace, was)) == pytest.approx(changed, abs=1e-9)


@every("edits", EDITS)
@pytest.mark.parametrize("part", [HEAD, NEURON, M2], ids=str)
def test_edges_into_an_edited_reader_add_up_to_its_gradient_times_what_it_read(
    tiny: GPT2, sources: Sources, edits: Sequence[Change], part: Component
) -> None:
    trace = record(tiny, TOKENS, edits, sources)
    inputs = input_gradients(tiny, trace, LD, sources, Treatment.ALL)
    for via in (Via.Q, Via.K, Via.V) if part is HEAD else (None,):
        found = edges_into(tiny, trace, inputs, Input(part, END, via))
        table = table_of(tiny, trace, found)
        assert table.direct.sum() == pytest.approx(found.target.value, abs=1e-9)


@every("edits", EDITS)
@pytest.mark.parametrize("via", [Via.Q, Via.K])
def test_parts_of_scores_add_up_whatever_the_head_meets(
    tiny: GPT2, sources: Sources, edits: Sequence[Change], via: Via
) -> None:
    trace = record(tiny, TOKENS, edits, sources)
    for query in (2, END):
        found = score_parts(tiny, trace, HEAD, query, via)
        np.testing.assert_allclose(found.scores, row_scores(trace, HEAD, query), rtol=0, atol=1e-9)
        assert len(set(found.sources)) == len(found.sources)


def test_a_frame_reads_nothing_along_an_edge_that_is_cut(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS, EDITS["heads cut"], sources)
    for frame in FRAMES.values():
        by = attribution.gradients(tiny, trace, frame_of(tiny, trace, frame), sources)
        for part in (L0H1, L1H2):
            assert effects_of(tiny, trace, by, Node(part, END)).direct == pytest.approx(0, abs=1e-12)


def test_what_a_path_gives_is_no_nodes_doing(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS, EDITS["at the end of paths"], sources)
    for name in ("neuron", "mlp", "q"):
        target = frame_of(tiny, trace, FRAMES[name])
        table = table_of(tiny, trace, attribution.gradients(tiny, trace, target, sources))
        assert target.constant == pytest.approx(target.value, abs=1e-12)
        assert abs(table.direct[~table.is_bias()]).max() == 0 == abs(table.total[~table.is_bias()]).max()


def test_readers_of_two_edges_at_one_token_are_told_apart(tiny: GPT2, sources: Sources) -> None:
    """A query and a key of one token with different streams: each side adds up, and both together."""
    trace = record(tiny, TOKENS, EDITS["one reader"], sources)
    both, one, other = (frame_of(tiny, trace, (Node(HEAD, END, END), via)) for via in (Via.QK, Via.Q, Via.K))
    assert both.value == pytest.approx(one.value + other.value, abs=1e-12)
    rows: list[float] = []
    for target in (both, one, other):
        table = table_of(tiny, trace, attribution.gradients(tiny, trace, target, sources))
        rows.append(float(table.direct[[table.component(row) == M1 for row in range(len(table))]].sum()))
    assert rows[0] == pytest.approx(rows[1] + rows[2], abs=1e-12)
    assert rows[1] == 0 != rows[2]
