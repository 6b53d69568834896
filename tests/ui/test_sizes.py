"""One pane made larger, what is selected told about, and other keys than the usual."""

from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.keymap import remapped
from tests.ui.screens import make_app, play, press, rows, screen, session


def test_plus_makes_a_pane_half_then_whole_then_as_it_was_and_underscore_goes_back() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        before = screen(app)
        await press(app, pilot, "2", "plus")
        half = rows(app)
        assert half[3].startswith("─1 code")
        assert "2 ranked" in half[3]
        assert not any("8 ld" in row for row in half)
        await press(app, pilot, "plus")
        whole = rows(app)
        assert whole[3].startswith("─2 ranked")
        assert not any("4 log" in row for row in whole)
        await press(app, pilot, "underscore")
        assert rows(app) == half
        await press(app, pilot, "underscore", "1")
        assert screen(app) == before
        await press(app, pilot, "plus", "plus", "plus")
        assert screen(app) == before

    play(body)


def test_the_log_grows_too_and_can_be_scrolled() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, *["n"] * 9)
        await press(app, pilot, "4", "plus")
        assert sum("(tdb) next" in row for row in rows(app)) >= 3
        first = app.main.log_pane.top
        await press(app, pilot, "k", "k")
        assert app.main.log_pane.top == first - 2
        await press(app, pilot, "q")
        assert app.main.wishes.zoom is None
        assert app.return_code is None

    play(body)


def test_inspect_tells_about_the_node_under_the_cursor_and_follows_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "I")
        view = app.main.ranked.view
        assert view is not None
        assert f"inspect {view.node(0)}" in screen(app)
        await press(app, pilot, "j", "j")
        shown = screen(app)
        assert f"inspect {view.node(2)}" in shown
        assert "direct    " in shown
        await press(app, pilot, "I")
        assert app.main.active == "inspect"
        await press(app, pilot, "x")
        assert app.session is not None
        assert [edit.text.split("@")[0] for edit in app.session.state.inputs.edits] == [
            f"ablate {view.component(2)}"
        ]
        assert "edited    i1" in screen(app)

    play(body, size=(120, 40))


def test_what_is_inspected_is_there_at_once_on_a_wide_screen() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert "I inspect E@END" in screen(app)
        await press(app, pilot, "j")
        assert "I inspect A0@END" in screen(app)

    play(body, size=(200, 50))


def test_keys_of_ones_own_are_what_the_screen_takes_and_shows() -> None:
    app = make_app(session)
    app.main.keymap = remapped({"next": "m", "step": "ctrl+s"})
    app.main.hints.items = app.main.keymap.hints()

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "m", "m")
        assert app.session is not None
        assert app.session.state.place.line == 2
        assert rows(app)[-1].startswith("m next  ^S into")

    play(body, app)
