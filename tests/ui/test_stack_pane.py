"""The edits pane as a stack, and commands typed line by line."""

from dataclasses import replace

from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.edits.stack import worths
from tdb_tui.session import Session
from tdb_tui.state import Inputs
from tests.ui.screens import log, play, press, rows, type_line

WIDE = (120, 40)


def test_space_switches_the_selected_edit_and_its_worth_is_shown() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "ablate L1H0 ;; ablate M2 ;; edits")
        await press(app, pilot, "5", "space")
        assert [edit.enabled for edit in app.session.state.inputs.edits] == [False, True]
        assert "(tdb) toggle i1" in log(app)
        assert any("i1 - ablate L1H0@*" in row for row in rows(app))
        await press(app, pilot, "space", "j", "space", "z")
        assert [edit.enabled for edit in app.session.state.inputs.edits] == [True, True]
        worth = app.session.snapshot.now.value - app.session.engine.value(_without_first(app.session))
        assert any(f"i1 * {worth:+.2f} " in row for row in rows(app))

    play(body, size=WIDE)


def _without_first(session: Session) -> Inputs:
    return replace(session.state.inputs, edits=session.state.inputs.edits[1:])


def test_space_means_nothing_where_no_edit_or_stop_is() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await press(app, pilot, "5", "space")
        assert "*** no edit or stop is selected: there are none" in log(app)
        await type_line(app, pilot, "b A2")
        await press(app, pilot, "6", "space")
        assert [stop.enabled for stop in app.session.state.stops] == [False]

    play(body, size=WIDE)


def test_commands_of_a_stop_are_typed_line_by_line() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "b A1")
        await type_line(app, pilot, "commands 1")
        assert any(row.startswith("(com)") for row in rows(app)) and rows(app)[-1].startswith(
            "end ends the list"
        )
        assert app.session.state.stops[0].commands == ()
        for line in ("silent", "p line", "end"):
            await type_line(app, pilot, line)
        assert app.session.state.stops[0].commands == ("silent", "p line")
        assert any(row.startswith("(tdb)") for row in rows(app)) and not any(
            "(com)" in row for row in rows(app)
        )
        await press(app, pilot, "c")
        assert log(app)[-1] == "3"

    play(body, size=WIDE)


def test_escape_leaves_a_block_unsaid() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "b A1")
        await type_line(app, pilot, "commands 1")
        await press(app, pilot, "p", "escape")
        assert not any("(com)" in row for row in rows(app))
        assert app.session.state.stops[0].commands == ()

    play(body, size=WIDE)


def test_whoever_sees_the_stack_sees_what_each_edit_is_worth() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "ablate L1H0 ;; ablate M2")
        engine, inputs = app.session.engine, app.session.state.inputs
        found = worths(inputs, engine.known_value)
        for edit, worth in zip(inputs.edits, found, strict=True):
            assert worth.marginal is not None and worth.cumulative is not None
            shown = f"i{edit.number} * {worth.marginal:+.2f} {worth.cumulative:+.2f} {edit.text}"[:30]
            assert any(shown in row for row in rows(app)), shown

    play(body, size=WIDE)


def test_keys_move_the_selected_edit_and_the_cursor_goes_with_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "ablate L1H0 ;; ablate M2 ;; ablate M0")

        def order() -> list[int]:
            assert app.session is not None
            return [edit.number for edit in app.session.state.inputs.edits]

        await press(app, pilot, "5", "J")
        assert order() == [2, 1, 3]
        await press(app, pilot, "J")
        assert order() == [2, 3, 1]
        await press(app, pilot, "K", "z")
        assert order() == [2, 3, 1]
        await press(app, pilot, "J")
        assert order() == [2, 3, 1] and "*** i1 is the last already" in log(app)
        await press(app, pilot, "1", "K")
        assert log(app)[-1] == "*** no edit is selected: 5 goes to them"

    play(body, size=WIDE)


def test_edits_that_wait_are_marked_and_a_key_runs_them() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        await type_line(app, pilot, "set autorun off")
        ran = app.session.engine.sites_run
        await press(app, pilot, "2", "x", "j", "x")
        assert app.session.engine.sites_run == ran
        assert " stale │ 2 iv" in rows(app)[0]
        assert sum(row.endswith("(not run)") for row in rows(app)) == 2
        await press(app, pilot, "x")
        assert " stale " in rows(app)[0] and "│ 1 iv" in rows(app)[0], (
            "the same key takes an edit away that has not been run"
        )
        await press(app, pilot, "n")
        assert any("note: stale: this is of the run before" in row for row in log(app))
        await press(app, pilot, "R")
        assert " stale" not in rows(app)[0] and "(Δ " in rows(app)[0]
        assert not any("(not run)" in row for row in rows(app))

    play(body, size=WIDE)
