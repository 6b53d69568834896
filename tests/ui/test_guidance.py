"""What guides a person on the screen: the menu, F1, the lesson, questions before something is lost."""

from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.guidance import PANES
from tests.ui.screens import make_app, play, press, rows, screen, type_line


def test_the_menu_begins_with_the_keys_of_the_pane_and_runs_what_is_chosen() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "question_mark")
        await pilot.pause()
        assert "this pane" in rows(app)[3] and "⏎" in rows(app)[3]
        await press(app, pilot, "escape", "question_mark", *"lens", "enter")
        assert app.main.line.value == "lens "

    play(body)


def test_f1_says_what_the_pane_shows_and_lists_its_keys() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "f1")
        await pilot.pause()
        shown = " ".join(screen(app).split())
        assert "Nodes by what they do to the metric: direct" in shown and "this pane" in shown
        await press(app, pilot, "enter")  # a line of text runs nothing
        assert app.session is not None and app.session.history == []

    play(body)


def test_every_pane_says_what_it_shows() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        from tdb_tui.panes.moves import ORDER

        assert set(ORDER) <= set(PANES)

    play(body)


def test_the_lesson_lays_its_page_open_and_goes_on_when_it_is_done() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "tutor")
        assert "── lesson 1/15 · the question" in screen(app)
        await press(app, pilot, "escape")
        assert any(row.startswith("Try: args") for row in rows(app)), "what to do stays in sight"
        await type_line(app, pilot, "a")
        assert "── lesson 2/15 · the answer" in screen(app)

    play(body)


def test_clearing_all_stops_asks_first() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for line in ("b A1", "b A2", "cl"):
            await type_line(app, pilot, line)
        assert rows(app)[-1].startswith("Clear all 2 stops? y/n")
        await press(app, pilot, "n")
        assert app.session is not None and len(app.session.state.stops) == 2
        await type_line(app, pilot, "cl")
        await press(app, pilot, "y")
        assert app.session.state.stops == ()

    play(body)


def test_a_typed_dot_is_the_row_under_the_cursor() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "j")
        assert app.main.look is not None
        node = app.main.look.ranked.node(1)
        await type_line(app, pilot, "ablate .")
        assert app.session is not None and len(app.session.state.inputs.edits) == 1
        assert node.partition("@")[0] in app.session.state.inputs.edits[0].text
        assert app.session.done[-1] == f"ablate {node}", "a script of the session has no cursor"

    play(body, make_app())
