"""The recorded pass walked forwards and backwards: places, stops, displays, and that the numbers add up."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.components import Kind
from tdb_tui import lines
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.state import Place
from tdb_tui.stepping import rows_inside
from tests.sessions import END, ODD, SHAPE, begin, do, fail, load, said, write_model

LINES = 2 * SHAPE.n_layer + 2


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Fewer neurons than a line shows, an odd number of heads, in float64."""
    return load(write_model(tmp_path_factory.mktemp("models") / "odd", ODD), "float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def place(session: Session) -> tuple[int, int | None]:
    return session.state.place.line, session.state.place.inside


def test_the_lines_are_the_sublayers_in_order() -> None:
    names = [lines.name(line, 2) for line in range(lines.count(2))]
    assert names == ["E", "A0", "M0", "A1", "M1", "U"]
    assert [lines.line_of(lines.component(line, 2), 2) for line in range(6)] == list(range(6))


def test_next_walks_line_by_line_and_its_deltas_add_up_to_the_metric(session: Session) -> None:
    total, result = 0.0, {}
    for line in range(LINES):
        assert place(session) == (line, None)
        result = do(session, "n").result
        total += result["delta"]
        assert result["ld"] == pytest.approx(total, abs=1e-9)
        assert result["line"] == (lines.name(line + 1, SHAPE.n_layer) if line + 1 < LINES else None)
    assert result["stopped_by"] == "end"
    assert total == pytest.approx(session.snapshot.now.value, abs=1e-5)


@pytest.mark.parametrize(
    "edit", ["w", "ablate L1H2", "ablate A1", "ablate M2@END", "ablate BM1 value 0.3", "ablate BU"]
)
@pytest.mark.parametrize("which", ["engine", "odd"])
def test_the_rows_inside_a_line_add_up_to_the_line(
    which: str, edit: str, request: pytest.FixtureRequest
) -> None:
    session = begin(request.getfixturevalue(which))
    do(session, edit)
    n_layer = session.snapshot.n_layer
    for pos in (END, 3):
        do(session, f"token @{pos}", "j 0")
        for line in range(lines.count(n_layer)):
            rows = rows_inside(session.snapshot, line)
            do(session, f"j {line}")
            whole = do(session, "n").result
            if not rows:
                continue
            do(session, f"j {line}", "s")
            parts = [do(session, "n").result for _ in range(rows - 1)]
            before_last = parts[-1]["ld"]
            last = do(session, "n").result
            assert last["line"] == whole["line"] and last["inside"] is None
            assert last["ld"] == pytest.approx(whole["ld"], abs=1e-5)
            opened = session.snapshot.asked.inside(line, pos)
            assert opened.delta[:-1] == pytest.approx([part["delta"] for part in parts])
            assert opened.delta.sum() == pytest.approx(whole["delta"], abs=1e-5)
            assert opened.value[-1] == pytest.approx(whole["ld"], abs=1e-5)
            assert opened.value[-2] == before_last


def test_parts_of_a_replaced_line_add_nothing(session: Session) -> None:
    do(session, "ablate A1 scale 2", "ablate M1@END scale 3")
    for line in (3, 4):
        opened = session.snapshot.asked.inside(line, END)
        assert np.abs(opened.delta[:-1]).max() < 1e-6
        assert abs(opened.delta[-1]) > 1e-6


def test_an_mlp_opens_into_its_strongest_neurons_and_one_row_for_the_rest(
    session: Session, odd: Engine
) -> None:
    opened = session.snapshot.asked.inside(2, END)
    assert [part.kind for part in opened.parts] == [Kind.NEURON] * 25
    assert opened.rest == SHAPE.d_mlp - 25
    assert opened.names[-2:] == ["103 more", "BM0"]
    table = session.snapshot.asked.table("neuron")
    here = (table.layer == 0) & (table.pos == END)
    strongest = np.argsort(-np.abs(table.total[here]), kind="stable")[:25]
    assert {part.index for part in opened.parts} == set(table.index[here][strongest])
    assert begin(odd).snapshot.asked.inside(2, END).rest == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["n", "s", "r", "n 2", "s 3"]), max_size=12))
def test_every_movement_can_be_walked_back(engine: Engine, moves: list[str]) -> None:
    session = begin(engine)
    for move in moves:
        before = session.state.place
        if move == "r" and before.inside is None:
            continue
        if before.line == LINES:
            break
        do(session, move)
        assert (session.state.place.line, session.state.place.inside or 0) > (
            before.line,
            before.inside or 0,
        ) or (before.inside is None and session.state.place.inside == 0)
    # back to the start, one smallest step at a time
    places = [session.state.place]
    while places[-1] != Place(0):
        do(session, "rs")
        places.append(session.state.place)
        assert (places[-1].line, places[-1].inside or 0) <= (places[-2].line, places[-2].inside or 0)
    for expected in reversed(places[:-1]):
        do(session, "s")
        assert session.state.place == expected


def test_steps_forward_and_back_visit_the_same_places(session: Session) -> None:
    forward = [session.state.place]
    while session.state.place.line < LINES:
        do(session, "s")
        forward.append(session.state.place)
    back = [session.state.place]
    while session.state.place != Place(0):
        do(session, "rs")
        back.append(session.state.place)
    assert back == forward[::-1]
    assert len(forward) == LINES + 1 + SHAPE.n_layer * ((SHAPE.n_head + 1) + 27)


def test_counts_go_as_far_as_there_is_to_go(session: Session) -> None:
    do(session, "n 3")
    assert place(session) == (3, None)
    do(session, "rn 2")
    assert place(session) == (1, None)
    assert do(session, "n 1000").result["stopped_by"] == "end"
    do(session, "rn 1000")
    assert place(session) == (0, None)


def test_return_finishes_the_opened_line(session: Session) -> None:
    do(session, "n", "s 3")
    assert place(session) == (1, 2)
    do(session, "rn")
    assert place(session) == (1, 1)
    do(session, "r")
    assert place(session) == (2, None)


def test_until_and_jump_go_to_a_line_by_number_or_by_what_it_computes(session: Session) -> None:
    for line, at in (
        ("unt", 1),
        ("unt 3", 3),
        ("unt M1", 4),
        ("unt L2H3", 5),
        ("unt U", 9),
        ("unt", LINES),
        ("j 0", 0),
        ("j M3", 8),
    ):
        do(session, line)
        assert place(session) == (at, None), line


def test_a_jump_heeds_no_stop_and_until_does(session: Session) -> None:
    do(session, "b A1", "j A3")
    assert session.state.stops[0].hits == 0
    do(session, "j 0")
    assert do(session, "unt A3").result["stopped_by"] == "b1"


def test_continue_goes_from_stop_to_stop_to_the_end_and_over_again(session: Session) -> None:
    do(session, "b A1", "b 6")
    assert [do(session, "c").result["stopped_by"] for _ in range(4)] == ["b1", "b2", "end", "b1"]
    assert [stop.hits for stop in session.state.stops] == [2, 1]
    text = said(do(session, "cl 1", "cl 2", "c"))
    assert "The pass finished: " in text and "c starts again, N steps back" in text


def test_continuing_from_the_end_can_stop_at_the_first_line(session: Session) -> None:
    do(session, "b E", "c")
    assert do(session, "c").result | {"delta": 0, "ld": 0} == {
        "line": "E", "number": 0, "inside": None, "delta": 0, "ld": 0, "stopped_by": "b1",
    }  # fmt: skip


def test_going_back_stops_where_going_on_did(session: Session) -> None:
    do(session, "b A1", "b 6", "watch line > 3", "watch ld")
    forward: list[int] = []
    while (reply := do(session, "c")).result["stopped_by"] != "end":
        forward.append(reply.result["number"])
    back: list[int] = []
    while (reply := do(session, "rc")).result["stopped_by"] != "start":
        back.append(reply.result["number"])
    assert back == forward[::-1]
    assert {3, 4, 6} <= set(forward)


def test_next_stops_early_at_a_breakpoint_as_a_debugger_does(session: Session) -> None:
    do(session, "b M0")
    reply = do(session, "n 5")
    assert reply.result["stopped_by"] == "b1" and reply.lines[0] == "Breakpoint 1 at M0"
    assert place(session) == (2, None) and session.state.stops[0].hits == 1
    assert do(session, "n 2").result["number"] == 4


def test_stops_at_one_place_are_all_counted_and_all_named(session: Session) -> None:
    do(session, "b A1", "b A1, ld > -1000", "tbreak A1")
    reply = do(session, "c")
    assert reply.lines[:3] == ("Breakpoint 1 at A1", "Breakpoint 2 at A1 if ld > -1000", "Breakpoint 3 at A1")
    assert [(stop.number, stop.hits) for stop in session.state.stops] == [(1, 1), (2, 1)]


def test_a_condition_is_asked_with_what_has_been_executed(session: Session) -> None:
    do(session, "b any, line == 4")
    assert do(session, "c").result["number"] == 4
    do(session, "condition 1 ld > 1e6", "j 0")
    assert do(session, "c").result["stopped_by"] == "end"
    values = session.snapshot.now.lens_values(END)
    do(
        session,
        f"condition 1 ld == {float(values[5])!r}"
        if values[5] > 0
        else f"condition 1 -ld == {-float(values[5])!r}",
    )
    assert do(session, "c").result["number"] == 6


def test_a_temporary_breakpoint_holds_once(session: Session) -> None:
    do(session, "tbreak A2")
    assert do(session, "c").result["stopped_by"] == "b1"
    assert session.state.stops == ()
    do(session, "b A2")
    assert session.state.stops[0].number == 2  # numbers are never given twice


def test_ignored_crossings_are_passed_over(session: Session) -> None:
    do(session, "b any, line > 0", "ignore 1 3")
    assert do(session, "c").result["number"] == 4
    assert session.state.stops[0].hits == 1
    do(session, "c")
    assert session.state.place.line == 5


def test_a_disabled_stop_does_not_hold(session: Session) -> None:
    do(session, "b A1", "watch line > 3", "disable 1 w2")
    assert do(session, "c").result["stopped_by"] == "end"
    do(session, "enable 1")
    assert do(session, "c").result["stopped_by"] == "b1"


def test_a_watch_holds_after_the_line_that_changed_it(session: Session) -> None:
    values = np.concatenate([[0.0], session.snapshot.now.lens_values(END)])
    signs = [line for line in range(1, LINES + 1) if (values[line - 1] > 0) != (values[line] > 0)]
    leaps = [line for line in range(1, LINES + 1) if abs(values[line] - values[line - 1]) >= 0.5]
    for watch, expected in (("watch ld", signs), ("watch ld by 0.5", leaps), ("watch line > 3", [4])):
        do(session, watch, "j 0")
        found: list[int] = []
        while (reply := do(session, "c")).result["stopped_by"] != "end":
            found.append(reply.result["number"])
            assert reply.lines[0].startswith(f"watch {session.state.stops[0].number} hit: ")
        assert found == [line for line in expected if line < LINES] or found == expected, watch
        do(session, "cl --all")


def test_a_watch_says_which_line_made_it_and_what_was_before(session: Session) -> None:
    do(session, "watch line > 3")
    assert do(session, "c").lines[0] == "watch 1 hit: A1 made line > 3 true (was false)"
    do(session, "cl 1", "j 0", "watch kind == 'mlp'")
    assert do(session, "c").lines[0] == "watch 2 hit: A0 made kind == 'mlp' true (was false)"


def test_displays_are_printed_where_they_have_changed(session: Session) -> None:
    do(session, "display line", "display kind == 'mlp'")
    assert do(session, "n").lines[-1] == "d1 line: 1  [was 0]"
    assert do(session, "n").lines[-2:] == ("d1 line: 2  [was 1]", "d2 kind == 'mlp': true  [was false]")
    do(session, "undisplay 1")
    assert do(session, "n").lines[-1] == "d2 kind == 'mlp': false  [was true]"
    assert [display.name for display in session.state.displays] == ["d2"]


def test_the_listing_marks_place_stops_edits_and_the_largest_change(session: Session) -> None:
    do(session, "b A1", "b M1", "disable 2", "ablate L2H1", "j A1")
    rows = {line.split()[-3]: line for line in do(session, "l").lines[:-1]}
    assert rows["A1"].lstrip(">").startswith("B") and "->" in rows["A1"]
    assert rows["M1"].lstrip(">").startswith("o")
    assert rows["A2"].lstrip(">").startswith("*")
    deltas = session.snapshot.now.deltas(END)
    largest = lines.name(int(np.abs(deltas).argmax()), SHAPE.n_layer)
    assert [name for name, row in rows.items() if ">>" in row.split("->")[0]] == [largest]


def test_run_goes_back_to_the_first_line_and_keeps_everything_else(session: Session) -> None:
    do(session, "b A1", "display ld", "ablate L0H0", "n 3", "run")
    assert place(session) == (0, None)
    assert session.state.stops and session.state.displays and session.state.inputs.edits


def test_where_names_the_line_and_the_row(session: Session, tmp_path: Path) -> None:
    assert do(session, "w").lines[1] == f"line 0 of {LINES}: E"
    assert do(session, "n", "s 2", "w").lines[1] == f"line 1 of {LINES}: A0, row 1 of it"
    assert do(session, "c", "w").lines[1] == f"line {LINES} of {LINES}: the end of the pass"
    assert fail(session, "r").error is not None
