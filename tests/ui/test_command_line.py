"""The command line: history, completion, ghost text, and the ways out of it."""

from textual.events import Paste
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tests.ui.screens import make_app, play, press, rows, type_line


def test_the_history_is_walked_by_what_has_been_typed() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for line in ("next", "p ld", "list"):
            await type_line(app, pilot, line)
        await press(app, pilot, "escape", "colon", "p")
        await press(app, pilot, "up")
        assert app.main.line.value == "p ld"
        await press(app, pilot, "down")
        assert app.main.line.value == "p"
        await press(app, pilot, "ctrl+u", "ctrl+p", "ctrl+p", "ctrl+p")
        assert app.main.line.value == "next"
        await press(app, pilot, "up")
        assert app.main.line.value == "next", "there is nothing older"
        await press(app, pilot, "ctrl+n", "ctrl+n", "ctrl+n")
        assert app.main.line.value == ""

    play(body)


def test_ghost_text_is_the_last_line_that_begins_so_and_right_accepts_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "p rank('Mary')")
        await press(app, pilot, "colon", "p", "space", "r")
        await pilot.pause()
        assert "p rank('Mary')" in rows(app)[22]
        await press(app, pilot, "right")
        assert app.main.line.value == "p rank('Mary')"

    play(body)


def test_tab_completes_offers_and_goes_round() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "colon", *"abl", "tab")
        assert app.main.line.value == "ablate "
        await press(app, pilot, *"L1H0 m", "tab")
        assert app.main.line.value == "ablate L1H0 mean "
        await press(app, pilot, "ctrl+c", *"unt", "tab", "tab")
        await press(app, pilot, "ctrl+c", *"re", "tab")
        offered = rows(app)[-1]
        assert offered.startswith("Tab: ")
        assert {"redo", "reset", "return"} <= set(offered.split())
        first = app.main.line.value
        await press(app, pilot, "tab")
        assert app.main.line.value != first
        assert app.main.line.value in offered.split()
        await press(app, pilot, "x")
        assert rows(app)[-1].startswith("⏎ run")

    play(body)


def test_leaving_keeps_the_text_and_ctrl_c_clears_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "colon", *"abl", "ctrl+g")
        assert app.main.focused is None
        await press(app, pilot, "colon")
        assert app.main.line.value == "abl"
        await press(app, pilot, "ctrl+c")
        assert app.main.line.value == ""
        assert app.main.focused is app.main.line
        await press(app, pilot, "backspace")
        assert app.main.focused is None

    play(body)


def test_ctrl_d_on_an_empty_line_leaves_the_program() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "colon", "a", "ctrl+a", "ctrl+d")
        assert app.main.line.value == ""
        assert app.return_code is None
        await press(app, pilot, "ctrl+d")
        assert app.return_code == 0

    play(body)


def test_pasted_lines_become_one_that_waits_for_enter() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        app.post_message(Paste("next\n  p ld\n\nstep\n"))
        await pilot.pause()
        await pilot.pause()
        assert app.main.line.value == "next ;; p ld ;; step"
        assert app.session is not None
        assert app.session.history == []

    play(body)


def test_ctrl_r_looks_for_older_lines_and_ctrl_e_takes_the_ghost() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        app.main.line.history.lines[:] = ["rank heads", "p ld", "rank mlps by direct"]
        await press(app, pilot, "colon", "x", "ctrl+r", *"rank")
        assert app.main.line.value == "rank mlps by direct"
        assert rows(app)[-1].startswith("search: rank")
        await press(app, pilot, "ctrl+r")
        assert app.main.line.value == "rank heads"
        await press(app, pilot, "ctrl+r", *"zz")
        assert "no line has that" in rows(app)[-1]
        await press(app, pilot, "escape")
        assert app.main.line.value == "x" and app.main.focused is app.main.line
        await press(app, pilot, "ctrl+r", *"ld", "left")
        assert app.main.line.value == "p ld", "any other key takes the line"
        await press(app, pilot, "ctrl+c", *"ra")
        await pilot.pause()
        await press(app, pilot, "ctrl+e")
        assert app.main.line.value == "rank mlps by direct"

    play(body)


def test_positions_are_offered_with_their_tokens() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "colon", *"logits ", "tab", "tab")
        offered = rows(app)[-1]
        assert offered.startswith("Tab: ") and "Mary=2 ' Mary'" in offered

    play(body)


def test_words_of_earlier_sessions_are_in_the_history() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        app.main.line.history.add("rank heads")
        await press(app, pilot, "colon", "r", "up")
        assert app.main.line.value == "rank heads"

    play(body, make_app())
