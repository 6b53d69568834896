"""What the screen does when it is used."""

import asyncio
import threading

import pytest
from textual.pilot import Pilot

from model.components import Component, Kind
from tdb_tui.app import TdbApp
from tdb_tui.errors import CommandError
from tdb_tui.session import Session
from tdb_tui.state import Place
from tests.ui.screens import (
    PROMPT,
    Gate,
    log,
    make_app,
    play,
    press,
    rows,
    screen,
    session,
    settled,
    type_line,
)


def test_the_prompt_is_on_the_screen_while_the_model_loads() -> None:
    loaded = threading.Event()

    def slow() -> Session:
        loaded.wait(300)
        return session()

    async def run() -> None:
        app = make_app(slow)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            shown = rows(app)
            assert shown[0].startswith("loading gpt2-random")
            assert shown[1].startswith(PROMPT)
            await pilot.press("n", "colon", "x")
            await pilot.pause()
            assert rows(app)[22] == "(tdb) x"
            loaded.set()
            await settled(app, pilot)
            assert "ld" in rows(app)[0]
            assert app.session is not None
            assert app.session.state.place == Place(1), (
                "a key pressed while loading is carried out afterwards"
            )

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_ends_the_program_with_its_sentence() -> None:
    def fails() -> Session:
        raise CommandError("no model 'nope' on this machine")

    async def run() -> None:
        app = make_app(fails)
        async with app.run_test() as pilot:
            for _ in range(50):
                await pilot.pause(0.02)
                if app.return_code is not None:
                    break
        assert app.return_code == 1

    asyncio.run(run())


def test_a_key_echoes_its_command() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "N", "s", "c", "C", "h", "o")
        echoed = [line.removeprefix("(tdb) ") for line in log(app) if line.startswith("(tdb)")]
        assert echoed == ["next", "rn", "step", "continue", "rc", "token @13", "rank by direct"]

    play(body)


def test_every_command_of_a_key_is_one_that_exists() -> None:
    from tdb_tui.commands import registry
    from tdb_tui.keys import KEYS

    words = [(key.command or key.opens or "").split(" ")[0] for key in KEYS]
    assert {word for word in words if word and not word.startswith(("{", "!"))} <= {
        *registry.names(),
        *(alias for command in registry for alias in command.aliases),
    }


def test_every_key_that_is_no_command_has_its_action() -> None:
    from tdb_tui.keys import KEYS
    from tdb_tui.panes.screen import MainScreen

    names = {f"action_{key.does.partition('(')[0]}" for key in KEYS if key.does}
    assert {name for name in names if not hasattr(MainScreen, name) and not hasattr(TdbApp, name)} == set()


def test_no_key_stands_twice_in_the_table() -> None:
    from tdb_tui.keymap import Keymap
    from tdb_tui.keys import KEYS

    assert len(Keymap().by_key) == sum(len(key.keys) for key in KEYS)
    assert len(Keymap().by_id) == len(KEYS)


def test_selecting_a_head_shows_its_attention_at_once() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "j", "j", "j")
        view = app.main.ranked.view
        assert view is not None
        head = view.head(3)
        assert head is not None
        assert rows(app)[3].count(f"3 attention {head}") == 1
        assert f"attn {head}@END" in rows(app)[2]
        assert app.session is not None
        assert app.session.state.head != head, "looking changes nothing in the session"

    play(body, size=(120, 40))


def test_moving_the_token_cursor_reads_every_pane_there() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, *["h"] * 4)
        assert app.session is not None
        snapshot = app.session.snapshot
        pos = snapshot.state.end - 4
        assert snapshot.state.pos == pos
        listing, trajectory = app.main.listing.view, app.main.trajectory.view
        lens = snapshot.now.lens_values(pos)
        assert [row.value for row in listing.rows] == pytest.approx(list(lens))
        assert trajectory.values == pytest.approx(list(lens))
        assert app.main.attention.view is not None
        assert app.main.attention.view.query == pos
        assert "[John]" in rows(app)[1]
        assert f"@{pos}" in app.main.next_tokens.view.title

    play(body, size=(120, 40))


def test_a_pane_that_was_out_of_sight_comes_back_with_what_is_so_now() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "v", "x")
        await type_line(app, pilot, "rank mlps by direct")
        view = app.main.ranked.view
        assert view is not None
        assert rows(app)[3].count("2 ranked · mlps direct") == 1
        assert view.node(0) in rows(app)[4]

    play(body)


def test_x_ablates_the_selected_row_and_takes_it_back() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "j", "j", "x")
        assert app.session is not None
        assert [str(change) for change in app.session.state.inputs.changes] == ["ablate M0@* zero"]
        await press(app, pilot, "x")
        assert app.session.state.inputs.edits == ()

    play(body)


def test_b_sets_a_stop_at_the_selected_line_and_clears_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "j", "j", "b")
        assert app.session is not None
        assert [stop.line for stop in app.session.state.stops] == [2]
        await press(app, pilot, "c")
        assert app.session.state.place == Place(2)
        await press(app, pilot, "b")
        assert app.session.state.stops == ()

    play(body)


def test_a_failed_line_stays_with_the_cursor_on_the_bad_word() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "ablate L1H3 maen")
        assert log(app)[-1].startswith("*** ")
        assert app.main.line.value == "ablate L1H3 maen"
        assert app.main.line.cursor_position == len("ablate L1H3 ")
        assert app.main.focused is app.main.line

    play(body)


def test_a_letter_without_a_meaning_begins_a_command() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await pilot.press("W", "h", "y")
        assert app.main.line.value == "Why"
        await press(app, pilot, "enter")
        assert "(tdb) Why" in log(app)

    play(body)


def test_keys_typed_without_waiting_are_carried_out_in_their_order() -> None:
    typed = ["colon", *"next", "enter", "colon", *"step", "enter", "n", "n", "colon", *"return", "enter"]

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for key in typed:
            app.simulate_key(key)
        await settled(app, pilot)
        echoed = [line.removeprefix("(tdb) ") for line in log(app) if line.startswith("(tdb)")]
        assert echoed == ["next", "step", "next", "next", "return"]

    play(body)


def test_an_answer_is_drawn_although_other_keys_followed_at_once() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for key in ("c", "2", "j", "j", "j"):
            app.simulate_key(key)
        await settled(app, pilot)
        assert any(row.startswith("The pass finished") for row in rows(app))

    play(body)


def test_a_held_key_loses_no_press() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for _ in range(10):
            app.simulate_key("n")
        await settled(app, pilot)
        assert app.session is not None
        assert app.session.state.place == Place(10)
        assert app.main.listing.view.arrow == 10

    play(body)


@pytest.mark.parametrize("key", ["escape", "ctrl+c"])
def test_a_running_command_can_be_cancelled_and_changes_nothing(key: str) -> None:
    held = session()

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        before = held.snapshot
        gate = Gate(held)
        await pilot.press("j", "x", "z", "z")
        assert await asyncio.to_thread(gate.reached.wait, 10)
        await asyncio.sleep(0.7)
        await pilot.pause()
        assert "ablate" in rows(app)[0], "how long it has taken is on the screen"
        await pilot.press(key)
        await settled(app, pilot)
        gate.open.set()
        assert held.snapshot is before
        assert "*** interrupted: nothing was changed" in log(app)
        assert not any("undo" in line for line in log(app)), "what was waiting is forgotten"
        assert rows(app)[0].endswith("idle")
        await press(app, pilot, "n")
        assert held.state.place == Place(1)

    play(body, make_app(lambda: held))


def test_quitting_stops_what_runs() -> None:
    held = session()

    async def run() -> None:
        app = make_app(lambda: held)
        async with app.run_test() as pilot:
            await settled(app, pilot)
            gate = Gate(held)
            await pilot.press("x")
            assert await asyncio.to_thread(gate.reached.wait, 10)
            app.exit(0)
        assert held.engine.interrupt.is_set()

    asyncio.run(run())


def test_resizing_keeps_the_cursors() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "n", "j", "j", "2", "j", "j", "j")
        for width, height in ((200, 50), (50, 10), (60, 16), (120, 40)):
            await pilot.resize_terminal(width, height)
            await pilot.pause(0.1)
            assert (app.main.listing.cursor, app.main.ranked.cursor) == (4, 3)
        assert any(row.startswith(">") and " M1" in row for row in rows(app))
        assert any("> 4 " in row for row in rows(app))

    play(body)


def test_a_terminal_too_small_still_takes_commands_and_quits() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert "too small" in screen(app)
        await type_line(app, pilot, "next")
        assert app.session is not None
        assert app.session.state.place == Place(1)
        await press(app, pilot, "q")
        assert app.return_code == 0

    play(body, size=(40, 10))


def test_leaving_asks_only_where_something_would_be_lost() -> None:
    async def lost(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "x", "q")
        assert "leave without saving?" in rows(app)[-1]
        await press(app, pilot, "n")
        assert app.return_code is None
        await press(app, pilot, "q", "y")
        assert app.return_code == 0

    async def nothing(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "q")
        assert app.return_code == 0

    play(lost)
    play(nothing)


def test_an_empty_line_repeats_pages_or_says_that_it_cannot() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "next")
        await type_line(app, pilot, "")
        assert app.session is not None
        assert app.session.state.place == Place(2)
        await type_line(app, pilot, "rank heads -n 5")
        await type_line(app, pilot, "")
        assert [line for line in log(app) if line.startswith("(tdb)")][-1].endswith("--from 5")
        await press(app, pilot, "x", "semicolon")
        assert log(app)[-1] == "*** nothing to repeat after 'ablate'"

    play(body)


def test_a_long_answer_is_laid_open_and_closed_by_escape() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "help rank")
        await pilot.pause()
        shown = rows(app)
        assert shown[3].startswith("─4 log")
        assert shown[4] == "(tdb) help rank"
        await press(app, pilot, "escape")
        assert rows(app)[3].startswith("─1 code")

    play(body)


def test_finding_goes_to_the_next_row_with_the_words_and_back() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "slash", *"m3", "enter")
        assert app.main.listing.view.rows[app.main.listing.cursor].name == "M3"
        await press(app, pilot, "2", "slash", *"L2H", "enter")
        first = app.main.ranked.cursor
        await press(app, pilot, "full_stop")
        second = app.main.ranked.cursor
        assert second > first
        await press(app, pilot, "comma")
        assert app.main.ranked.cursor == first
        view = app.main.ranked.view
        assert view is not None
        assert all(view.node(at).startswith("L2H") for at in (first, second))

    play(body)


def test_brackets_go_through_the_heads_and_braces_through_the_layers() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "right_square_bracket", "right_square_bracket", "right_curly_bracket")
        assert app.session is not None
        assert app.session.state.head == Component(Kind.HEAD, 1, 2)
        await press(app, pilot, "left_curly_bracket", "left_curly_bracket", "left_square_bracket")
        assert app.session.state.head == Component(Kind.HEAD, 5, 1)

    play(body)


def test_a_key_that_means_nothing_here_says_why() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "r")
        assert log(app)[-1].startswith("*** not inside a line")
        await press(app, pilot, "l")
        assert log(app)[-1] == "*** the last token"
        await press(app, pilot, "8")
        assert log(app)[-1] == "*** nothing to select in pane 8"

    play(body)


def test_the_menu_filters_and_runs_what_is_selected() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        await pilot.press(*"into the line", "enter")
        await pilot.pause()
        await settled(app, pilot)
        assert "(tdb) step" in log(app)
        await pilot.press("question_mark")
        await pilot.pause()
        await pilot.press(*"tbreak", "enter")
        await pilot.pause()
        assert app.main.line.value == "tbreak "

    play(body)


def test_a_click_selects_and_the_wheel_scrolls() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await pilot.mouse_down(offset=(45, 6))
        await settled(app, pilot)
        assert (app.main.active, app.main.ranked.cursor) == ("rank", 2)
        await pilot.mouse_down(offset=(5, 5))
        await settled(app, pilot)
        assert (app.main.active, app.main.listing.cursor) == ("code", 1)
        await pilot.mouse_down(offset=(20, 22))
        await settled(app, pilot)
        assert app.main.focused is app.main.line

    play(body)


def test_no_color_draws_everything_without_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "s", "2", "j", "x", "question_mark", "escape", "v", "v", "colon", "a")
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip]
        assert None not in styles

    play(body, make_app())


def test_what_is_told_of_is_what_the_pane_last_gone_to_points_at() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "I")
        view = app.main.ranked.view
        assert view is not None and f"I inspect {view.node(0)}" in screen(app)
        await press(app, pilot, "1", "I")
        assert "I inspect E@END" in screen(app)

    play(body)


def test_the_head_that_is_pointed_at_is_shown_until_a_command_shows_another() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        app._head = Component(Kind.HEAD, 1, 2)  # the cursor has moved there since the last look
        for line, shown in (("n", "L1H2"), ("ablate L1H2", "L1H2"), ("attn L2H3", "L2H3"), ("n", "L2H3")):
            await type_line(app, pilot, line)
            assert app.main.look is not None and app.main.look.attention.head == shown, line

    play(body)
