"""Rows of a pane that have certain words, the others left out."""

import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.panes.diary import posture, take_up
from tdb_tui.panes.pane import has_words
from tests.ui.screens import log, play, press, rows, screen


def test_only_rows_with_the_words_are_shown_and_keys_act_on_those() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "ampersand", *"L2H", "enter")
        pane, view = app.main.ranked, app.main.ranked.view
        assert view is not None
        wanted = [at for at in range(len(view)) if view.node(at).startswith("L2H")]
        assert list(pane.kept()) == wanted and pane.cursor == wanted[0]
        rule = next(row for row in rows(app) if "2 ranked" in row)
        assert f"1-{min(pane.rows_shown, len(wanted))}/{len(wanted)}" in rule
        for step in wanted[1:4]:
            await press(app, pilot, "j")
            assert pane.cursor == step
        await press(app, pilot, "x")
        assert f"(tdb) ablate {view.component(wanted[3])}" in log(app)
        await press(app, pilot, "G")
        assert pane.cursor == list(pane.kept())[-1]
        await press(app, pilot, "g", "k")
        assert pane.cursor == pane.kept()[0]

    play(body)


def test_escape_shows_all_rows_again_before_it_takes_marks_away() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "space", "ampersand", *"m", "enter")
        assert [app.main.listing.view.rows[at].name for at in app.main.listing.kept()] == [
            f"M{n}" for n in range(6)
        ]
        assert "1 code &m" in screen(app)
        await press(app, pilot, "escape")
        assert len(app.main.listing.kept()) == 14 and "&" not in rows(app)[3]
        assert app.session is not None and app.session.state.marks == ("E",)
        await press(app, pilot, "escape")
        assert app.session.state.marks == ()

    play(body)


def test_no_row_with_the_words_says_so_and_a_map_has_no_rows_to_leave_out() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "ampersand", *"zebra", "enter")
        assert "no row has 'zebra': Esc shows all" in screen(app)
        await press(app, pilot, "j", "x", "ampersand", "enter")
        assert "zebra" not in rows(app)[3] and len(app.main.listing.kept()) == 14
        await press(app, pilot, "3", "ampersand", *"x", "enter")
        assert log(app)[-1].startswith("*** pane 3 is not a list")

    play(body)


def test_finding_stays_among_the_rows_that_are_shown() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "ampersand", *"A", "enter", "slash", *"A5", "enter")
        assert app.main.listing.view.rows[app.main.listing.cursor].name == "A5"
        await press(app, pilot, "slash", *"M", "enter")
        assert log(app)[-1] == "*** no row of pane 1 has 'M'"

    play(body)


def test_a_session_that_goes_on_shows_the_same_rows() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "ampersand", *"END", "enter", "j", "j")
        before, kept = screen(app), posture(app.main)
        await press(app, pilot, "escape", "g")
        assert screen(app) != before
        take_up(app.main, kept)
        await press(app, pilot)
        assert screen(app) == before

    play(body)


@pytest.mark.parametrize(("words", "there"), [("mary", True), ("Mary", True), ("MARY", False), ("", True)])
def test_capitals_count_only_where_some_are_typed(words: str, there: bool) -> None:
    assert has_words("L9H9 → Mary", words) == there
