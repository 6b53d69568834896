"""`rank`: groups that add up, filters that agree with a loop, effects measured together, by patching, and in part."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Span
from model.gpt2 import GPT2
from model.measured.scorers import Scorer
from model.nodes import NodeTable, code_of
from model.trace import Trace, metric_value, record
from tdb_tui import effects
from tdb_tui.commands import ranking
from tdb_tui.engine import Engine
from tdb_tui.language.evaluation import Value, evaluate
from tdb_tui.language.filters import COLUMNS, matching, parse_filter
from tdb_tui.language.parsing import Call
from tdb_tui.language.syntax import ExpressionError
from tdb_tui.measurements import Measurements
from tdb_tui.runs import READINGS
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import RankView
from tdb_tui.tables.ranking import KINDS, ranked
from tests.sessions import END, PROMPT, SHAPE, TOKENS, begin, do, fail, load, write_model

Row = dict[str, object]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    engine.interrupt.clear()
    engine.forget()
    begun = begin(engine)
    do(begun, "set measure off")
    return begun


def rows_of(session: Session, line: str) -> list[Row]:
    return do(session, f"{line} -n 0").result["rows"]


def rerun(session: Session, *changes: Change) -> float:
    """Target minus target with the changes made on top of the session's, by one whole run."""
    now, sources = session.snapshot.now, session.snapshot.asked.run.sources
    run = record(now.model, now.trace.tokens, (*now.trace.changes, *changes), sources)
    return now.value - metric_value(now.model, run, now.metric)


# Groups.


def shared(row: Row, per: str) -> object:
    """What the rows of a group have in common."""
    if per == "layer":
        return row["layer"] if row["layer"] is not None else str(row["node"]).partition("@")[0]
    return row["pos"] if per == "token" else str(row["node"]).partition("@")[0]


@pytest.mark.parametrize("per", ["component", "layer", "token"])
@pytest.mark.parametrize("kinds", ["all", "components @END", "pairs", "neurons", "parts in L1"])
@pytest.mark.parametrize("edit", ["", "ablate A1@2:4"])
def test_groups_add_up_their_rows_and_the_books_balance(
    session: Session, kinds: str, per: str, edit: str
) -> None:
    do(session, *([edit] if edit else []))
    sums: dict[object, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for row in rows_of(session, f"rank {kinds}"):
        for at, value in enumerate((row["direct"], row["total"], 1)):
            sums[shared(row, per)][at] += value  # pyright: ignore[reportOperatorIssue]
    answer = do(session, f"rank {kinds} per {per} -n 0").result
    found = {shared(row, per): [row["direct"], row["total"], row["count"]] for row in answer["rows"]}
    assert found == {group: pytest.approx(values, abs=1e-10) for group, values in sums.items()}
    books = answer["balance"]
    assert books["rows"] == pytest.approx(sum(row["direct"] for row in answer["rows"]), abs=1e-10)
    assert books["sum"] == pytest.approx(answer["target"]["value"], abs=1e-9)
    assert books["sum"] == pytest.approx(books["rows"] + books["biases"] + books["rest"], abs=1e-12)


def test_books_of_a_page_of_groups_leave_the_others_to_the_rest(session: Session) -> None:
    answer = do(session, "rank all per layer -n 2").result
    assert answer["balance"]["rows"] == pytest.approx(sum(row["direct"] for row in answer["rows"]), abs=1e-10)
    assert abs(answer["balance"]["difference"]) < 1e-9 and abs(answer["balance"]["rest"]) > 1e-3


@pytest.mark.parametrize("edit", ["", "ablate L0H1@2", "ablate M2@END mean"])
def test_a_component_measured_at_every_token_is_one_whole_run(session: Session, edit: str) -> None:
    do(session, "set means positions", *([edit] if edit else []))
    rows = rows_of(session, "rank components per component by measured")
    assert len(rows) == SHAPE.n_layer * (SHAPE.n_head + 1) + 1
    for row in rows:
        part = _component(row)
        assert row["node"] == f"{part}@*" and row["pos"] is None
        assert row["measured"] == pytest.approx(rerun(session, Ablate(part)), abs=1e-9)


def _component(row: Row) -> Component:
    kind = {"head": Kind.HEAD, "mlp": Kind.MLP, "embed": Kind.EMBED}[str(row["kind"])]
    layer, index = row["layer"], row["index"]
    return Component(kind, layer if isinstance(layer, int) else 0, index if isinstance(index, int) else None)


HEADS = [
    Component(Kind.HEAD, layer, index) for layer in range(SHAPE.n_layer) for index in range(SHAPE.n_head)
]
MLPS = [Component(Kind.MLP, layer) for layer in range(SHAPE.n_layer)]


@pytest.mark.parametrize("edit", ["", "ablate L1H2"])
@pytest.mark.parametrize("kinds", ["heads", "components", "pairs"])
def test_a_layer_or_a_token_is_measured_with_all_its_nodes_ablated_together(
    session: Session, kinds: str, edit: str
) -> None:
    do(session, *([edit] if edit else []))
    parts = [*HEADS, *MLPS, Component(Kind.EMBED)] if kinds == "components" else HEADS
    for row in rows_of(session, f"rank {kinds} per layer by measured"):
        if row["kind"] == "layer":
            own = [part for part in parts if part.kind.has_layer and part.layer == row["layer"]]
            together = rerun(session, *(Ablate(part) for part in own))
            assert row["measured"] == pytest.approx(together, abs=1e-9)
    for row in rows_of(session, f"rank {kinds} per token by measured"):
        assert row["kind"] == "token" and isinstance(row["pos"], int)
        at = Span(row["pos"], row["pos"])
        together = rerun(session, *(Ablate(part, at) for part in parts))
        assert row["measured"] == pytest.approx(together, abs=1e-9)


def test_a_group_with_a_constant_in_it_cannot_be_measured(session: Session) -> None:
    do(session, "trace N2.7@3")
    groups = rows_of(session, "rank all per token by direct")
    found = {row["pos"]: row["measured"] for row in rows_of(session, "rank all per token by measured")}
    assert set(found) == {row["pos"] for row in groups} - {3} and None not in found.values()
    assert all(found[pos] == 0.0 for pos in range(4, TOKENS))  # later tokens cannot matter


def test_what_is_measured_of_rows_and_of_groups_stays_apart(session: Session) -> None:
    do(session, "ablate A1@2:4")
    some = {row["node"]: row["measured"] for row in rows_of(session, "rank heads per component by measured")}
    every = {row["node"]: row["measured"] for row in rows_of(session, "rank attns per component by measured")}
    part = Component(Kind.ATTN, 1)
    assert some["A1@*"] == pytest.approx(rerun(session, Ablate(part, Span(2, 4))), abs=1e-9)
    assert every["A1@*"] == pytest.approx(rerun(session, Ablate(part)), abs=1e-9) != some["A1@*"]


def test_a_head_is_the_sum_of_its_pairs_and_of_its_rows(session: Session) -> None:
    ways = [rows_of(session, f"rank {kinds} per head by direct") for kinds in ("heads", "pairs")]
    rows, pairs = ({row["node"]: row["direct"] for row in way} for way in ways)
    assert rows == pytest.approx(pairs, abs=1e-10)


def test_a_component_at_one_token_is_that_node(session: Session) -> None:
    groups = rows_of(session, "rank heads @END per component by measured")
    nodes = rows_of(session, "rank heads @END by measured")
    assert [(row["node"], row["measured"]) for row in groups] == [
        (row["node"], row["measured"]) for row in nodes
    ]


# Filters and firsts.

FILTERS = (
    "abs(direct) > 0.1 and layer >= 2",
    "layer >= 2",
    'kind == "head" or total > 0',
    'kind != "mlp" and not pos == 13',
    "total / direct > 1",
    "1 / (pos - 3) > 0 or pos == 3",
    "pos == 3 or 1 / (pos - 3) > 0",
    "not total / direct > 1",
    "direct ** 0.5 > 0.01",
    "-1 < total <= 1 < norm",
    "measured > 0",
    "not measured > 0",
    'kind == "embed" or measured > total',
    "measured != 0 and abs(measured - total) > 2 * abs(total)",
    "max(direct, total, measured) > min(norm, 1) - 1",
    "key >= 0",
    "2 * pos ** 2 - pos > 10",
    "1 < 2",
    "count == 1 and -act < 0",
)


class RowScope:
    """One row as the scope of an expression; what it does not have is no value."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def name(self, name: str) -> Value:
        value = self.row["write_norm" if name == "norm" else name]
        if value is None:
            raise ExpressionError(f"no {name}")
        assert isinstance(value, int | float | str)
        return value

    def call(self, function: str, args: tuple[Value, ...]) -> Value:
        raise AssertionError(function)

    def baseline(self) -> "RowScope":
        return self


def holds(text: str, row: Row) -> bool:
    try:
        return evaluate(parse_filter(text), RowScope(row)) is True
    except ExpressionError:
        return False


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("kinds", ["parts", "pairs @END"])
def test_a_filter_keeps_what_a_loop_over_the_rows_keeps(session: Session, kinds: str, text: str) -> None:
    asked = session.snapshot.asked
    list(asked.measure(ranked(asked, RankView(KINDS["heads"])).nodes(range(60))))
    rows = rows_of(session, f"rank {kinds} by total")
    view = session.state.rank
    shown = ranked(asked, RankView(view.kinds, view.by, view.pos, where=parse_filter(text)))
    wanted = [row["node"] for row in rows if holds(text, row)]
    assert [str(node) for node in shown.nodes(range(len(shown)))] == wanted


def test_a_filter_of_measured_effects_measures_first_and_one_of_others_measures_only_what_it_keeps(
    session: Session,
) -> None:
    everything = rows_of(session, "rank heads @END by measured")
    wanted = [row for row in everything if abs(row["measured"]) > 0.1]  # pyright: ignore[reportArgumentType]
    assert rows_of(session, "rank heads @END by measured where abs(measured) > 0.1") == wanted
    assert 0 < len(wanted) < len(everything)
    before = session.snapshot.asked.known
    kept = rows_of(session, "rank heads by measured where pos == 3 and layer == 1")
    assert len(kept) == SHAPE.n_head == session.snapshot.asked.known - before


def test_a_filter_may_be_quoted_and_followed_by_other_words(session: Session) -> None:
    plain = rows_of(session, "rank heads by direct where layer >= 2 and pos > 3")
    assert rows_of(session, 'rank heads where "layer >= 2 and pos > 3" by direct') == plain
    assert rows_of(session, "rank heads where layer >= 2 and pos > 3 -n 0 by direct") == plain
    found = do(session, "rank all where 'embed' == kind -n 0").result["rows"]
    assert len(found) == TOKENS


def test_filters_of_groups_are_about_the_groups(session: Session) -> None:
    groups = rows_of(session, "rank heads per component by direct")
    kept = rows_of(session, "rank heads per component by direct where abs(direct) > 0.05 and count == 14")
    assert kept == [row for row in groups if abs(row["direct"]) > 0.05]  # pyright: ignore[reportArgumentType]
    assert 0 < len(kept) < len(groups)


@pytest.mark.parametrize("by", ["direct", "total", "norm"])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_so_many_of_each_kind_are_the_first_of_each_in_one_order(
    session: Session, by: str, count: int
) -> None:
    seen: dict[object, int] = defaultdict(int)
    wanted: list[object] = []
    for row in rows_of(session, f"rank parts by {by}"):
        seen[row["kind"]] += 1
        if seen[row["kind"]] <= count:
            wanted.append(row["node"])
    assert [row["node"] for row in rows_of(session, f"rank parts by {by} each {count}")] == wanted


def test_neurons_of_every_token_are_ranked_filtered_and_paged_without_one_object(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = RankView(("neuron",), where=parse_filter("abs(total) > 0.001"), each=500)
    monkeypatch.setattr(NodeTable, "node", lambda *args: pytest.fail("an object"))
    monkeypatch.setattr(NodeTable, "component", lambda *args: pytest.fail("an object"))
    shown = ranked(session.snapshot.asked, view)
    assert len(shown) == 500 and len(shown.table) == SHAPE.n_layer * SHAPE.d_mlp * TOKENS


@pytest.mark.parametrize("line", ["rank neurons @END by direct", "rank pairs @3", "rank heads per component"])
def test_pages_together_are_all_rows(session: Session, line: str) -> None:
    whole, found, at = rows_of(session, line), list[Row](), f"{line} -n 70"
    while at:
        page = do(session, at)
        found += page.result["rows"]
        at = page.more
    assert found == whole


# The parts of the embedding.


@pytest.mark.parametrize("edit", ["", "ablate E@3 scale 2", "ablate WTE@2", "ablate L0H1"])
@pytest.mark.parametrize("frame", ["", "trace M1@END"])
def test_token_and_position_embeddings_add_up_to_the_embedding(
    session: Session, edit: str, frame: str
) -> None:
    do(session, *(line for line in (edit, frame) if line))
    for measure in ("direct", "total"):
        sums = [0.0] * TOKENS
        for row in [*rows_of(session, "rank wte"), *rows_of(session, "rank wpe")]:
            sums[row["pos"]] += row[measure]  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportCallIssue]
        whole = {row["pos"]: row[measure] for row in rows_of(session, "rank embeds")}
        assert dict(enumerate(sums)) == pytest.approx(whole, abs=1e-10)
    books = do(session, "rank parts by direct -n 0").result
    assert sum(row["direct"] for row in books["rows"]) == pytest.approx(books["target"]["value"], abs=1e-9)


def test_a_part_of_the_embedding_is_measured_by_itself(session: Session) -> None:
    for words, kind in (("wte", Kind.TOKEN_EMBED), ("wpe", Kind.POS_EMBED)):
        for row in rows_of(session, f"rank {words} by measured"):
            assert isinstance(row["pos"], int) and row["node"] == f"{kind.letters}@{row['pos']}"
            change = Ablate(Component(kind), Span(row["pos"], row["pos"]))
            assert row["measured"] == pytest.approx(rerun(session, change), abs=1e-9)


# Patching.


@pytest.mark.parametrize("line", ["rank heads", "rank pairs @END", "rank parts", "rank components per token"])
def test_patching_from_the_same_prompt_changes_nothing_at_all(engine: Engine, line: str) -> None:
    session = begin(engine, prompt_b=PROMPT)
    rows = rows_of(session, f"{line} by patched")
    assert len(rows) > TOKENS - 2 and {row["patched"] for row in rows} == {0.0}


def test_a_patched_row_is_what_the_command_patch_does(session: Session) -> None:
    rows = rows_of(session, "rank components by patched @END")
    assert len({row["patched"] for row in rows}) > 10
    for row in rows:
        change = do(session, f"patch {row['node']} from B").result
        do(session, "undo")
        assert row["patched"] == pytest.approx(change["before"] - change["after"], abs=1e-9)
        assert row["measured"] is None


def test_another_prompt_b_is_another_measurement(session: Session) -> None:
    rows = rows_of(session, "rank heads by patched @END")
    do(session, 'prompt B " Anna and Mary went to the store, Mary gave a drink to"')
    again = {row["node"]: row["patched"] for row in rows_of(session, "rank heads by patched @END")}
    assert any(again[row["node"]] != row["patched"] for row in rows)
    for node, patched in list(again.items())[:3]:
        change = do(session, f"patch {node} from B").result
        do(session, "undo")
        assert patched == pytest.approx(change["before"] - change["after"], abs=1e-9)


def test_without_a_prompt_b_nothing_can_be_patched(engine: Engine) -> None:
    error = fail(begin(engine, prompt_b=None), "rank heads by patched").error
    assert error is not None and error.code == "no-prompt-b"


# What is kept.


def test_what_has_been_measured_is_found_again_after_undo_redo_and_many_other_runs(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows_of(session, "rank heads by measured")
    do(session, "ablate L0H1")
    second = rows_of(session, "rank heads by measured")
    for number in range(READINGS):
        do(session, f"ablate M3@{number % TOKENS} scale {2 + number}")
    do(session, *["undo"] * READINGS)
    edits: list[object] = []
    replayed = effects.measure

    def watched(
        model: GPT2, trace: Trace, scorer: Scorer, changes: Sequence[object], *args: Any, **more: Any
    ) -> Any:
        edits.extend(changes)
        return replayed(model, trace, scorer, changes, *args, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(effects, "measure", watched)
    assert rows_of(session, "rank heads by measured") == second
    do(session, "undo")
    assert rows_of(session, "rank heads by measured") == first
    do(session, "redo", "set ln all")
    again = rows_of(session, "rank heads by measured")
    assert [(row["node"], row["measured"]) for row in again] == [
        (row["node"], row["measured"]) for row in second
    ]
    assert edits == []
    do(session, "target Anna")
    assert rows_of(session, "rank heads @END by measured") != again and len(edits) == len(HEADS)


def test_measurements_are_forgotten_oldest_first_beyond_a_bound() -> None:
    kept = Measurements(most=10)
    for question in "abc":
        for code in range(4):
            kept.of(question).keep(code, 1.0)
    assert [len(kept.of(question)) for question in "cb"] == [4, 4]
    assert len(kept.of("a")) == 0
    kept.of("c").keep((Ablate(HEADS[0]),), 2.0)
    assert kept.of("c").get((Ablate(HEADS[0]),)) == 2.0 and kept.of("c").get(3) == 1.0


def test_an_interrupted_measurement_is_kept_shown_and_gone_on_with(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdb_tui.commands.ranking.STREAM_SECONDS", 0.0)
    streams: list[Snapshot] = []

    def stop(snapshot: Snapshot) -> None:
        streams.append(snapshot)
        if len(streams) == 40:
            engine.interrupt.set()

    session.streamed = stop
    failed = fail(session, "rank heads by measured")
    assert failed.interrupted and failed.error is not None
    known = session.snapshot.asked.known
    assert 40 <= known < 224 and f"{known} of 224 rows are measured and kept" in failed.error.message
    assert engine.progress == "" and streams[0].state.rank.by == "measured" == session.state.rank.by
    shown = ranked(session.snapshot.asked, session.state.rank)
    values = shown.values[shown.order]
    assert len(shown) == 224 and not np.isnan(values[:known]).any() and np.isnan(values[known:]).all()
    assert (np.diff(np.abs(values[:known])) <= 0).all()
    totals = np.abs(shown.table.total[shown.order[known:]])
    assert (np.diff(totals) <= 0).all()
    session.streamed = None
    rows = rows_of(session, "rank heads by measured")
    engine.forget()
    assert [row["measured"] for row in rows] == pytest.approx(
        [row["measured"] for row in rows_of(begin(engine), "rank heads by measured")], abs=1e-9
    )


def test_an_interrupt_before_anything_is_measured_changes_nothing(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ranking.read_view

    def interrupting(snapshot: Snapshot, call: Call) -> RankView:
        engine.interrupt.set()
        return read(snapshot, call)

    monkeypatch.setattr(ranking, "read_view", interrupting)
    before = session.state
    failed = fail(session, "rank heads by measured")
    assert failed.interrupted and failed.error is not None
    assert failed.error.message == "interrupted: nothing was changed"
    assert session.state is before and session.snapshot.asked.known == 0


# Codes.


def test_every_node_has_a_code_of_its_own(session: Session) -> None:
    asked = session.snapshot.asked
    kinds = ("embed", "wte", "wpe", "head", "pair", "attn", "mlp", "neuron", "bias")
    codes = np.concatenate([asked.table(kind).codes() for kind in kinds])
    assert len(np.unique(codes)) == len(codes)
    for kind in kinds:
        table = asked.table(kind)
        for row in (0, len(table) // 2, len(table) - 1):
            assert table.codes()[row] == code_of(table.node(row))
            assert table.groups()[row] == table.group(row)


def test_columns_of_a_filter_are_all_there(session: Session) -> None:
    asked = session.snapshot.asked
    for name in COLUMNS:
        text = f"{name} == 'head'" if name == "kind" else f"{name} < 1e9"
        shown = ranked(asked, RankView(("head",), where=parse_filter(text)))
        rows = asked.rows_of("head")
        assert len(shown) == (0 if name in ("measured", "patched", "key") else rows), name
    assert matching(parse_filter("1 < 2"), {"total": np.zeros(3)}).tolist() == [True] * 3
    assert END == TOKENS - 1


# By attention.


def answered(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, f"{line} -n 0").result["rows"]


@pytest.mark.parametrize("edit", ["", "ablate A1@2:4"])
def test_heads_by_attention_are_as_their_strongest_pair_is(session: Session, edit: str) -> None:
    do(session, *([edit] if edit else []))
    strongest: dict[str, float] = {}
    for row in answered(session, "rank pairs by attn"):
        head = str(row["node"]).partition("<")[0]
        assert row["attn"] == row["act"]
        strongest.setdefault(head, row["attn"])  # the first is the largest
    found = answered(session, "rank all by attn")
    assert {row["node"]: row["attn"] for row in found} == strongest
    weights = [row["attn"] for row in found]
    assert weights == sorted(weights, reverse=True) and len(found) == SHAPE.n_layer * SHAPE.n_head * TOKENS
    for row in found:
        part = Component(Kind.HEAD, row["layer"], row["index"])
        assert row["attn"] == session.snapshot.now.pattern(part)[row["pos"]].max()


def test_attention_is_a_column_of_filters_and_of_what_is_printed(session: Session) -> None:
    sharp = answered(session, "rank heads where attn > 0.5")
    assert {row["node"] for row in sharp} == {
        row["node"] for row in answered(session, "rank heads") if row["attn"] > 0.5
    }
    assert 0 < len(sharp) < len(answered(session, "rank heads"))
    reply = do(session, "rank heads by attn @END -n 1")
    assert reply.lines[0].split() == ["#", "node", "total", "direct", "measured", "norm", "attn", "reads"]
    assert f"{reply.result['rows'][0]['attn']:.4g}" in reply.lines[1].split()
    assert do(session, "rank mlps by attn").result["rows"] == [], "only heads attend"
    error = fail(session, "rank heads by attn per component").error
    assert error is not None and "attn" in error.message
