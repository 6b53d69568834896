"""The composed screen as text.  Rewrite with UPDATE_GOLDEN=1, and read the difference."""

import os
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.panes.arrangement import VIEWS
from tests.ui.screens import make_app, play, press, screen, type_line

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ui"


def compare(name: str, app: TdbApp) -> None:
    """How long something took is not compared."""
    shown = re.sub(r"\d+ ms", "# ms", screen(app))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


async def a_short_session(app: TdbApp, pilot: Pilot[int]) -> None:
    await press(app, pilot, "n", "n")
    await press(app, pilot, "b")
    await type_line(app, pilot, "display ld")
    await type_line(app, pilot, "watch ld by 0.5")
    await press(app, pilot, "2", "j", "j", "j", "x")
    await type_line(app, pilot, "albate L0H1")
    await press(app, pilot, "ctrl+c", "ctrl+g", "1")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 50)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_the_screen_of_a_short_session_is_as_recorded(size: tuple[int, int]) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await a_short_session(app, pilot)
        compare(f"session-{size[0]}x{size[1]}", app)

    play(body, size=size)


@pytest.mark.parametrize("presses", range(1, len(VIEWS)))
def test_each_view_at_the_right_is_as_recorded(presses: int) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await a_short_session(app, pilot)
        await press(app, pilot, *["v"] * presses)
        compare(f"view-{app.main.wishes.view}-80x24", app)

    play(body)


def test_an_opened_line_is_as_recorded() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "s", "n", "n")
        compare("inside-attention-80x24", app)
        await press(app, pilot, "r", "s")
        compare("inside-mlp-80x24", app)

    play(body)


def test_ascii_draws_the_same_screen_without_any_other_sign() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await a_short_session(app, pilot)
        assert screen(app).isascii()
        compare("ascii-120x40", app)

    play(body, make_app(ascii_only=True), size=(120, 40))


def test_a_terminal_too_small_says_so() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        compare("too-small-50x12", app)

    play(body, size=(50, 12))


def test_the_key_menu_is_as_recorded() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        await pilot.press(*"ablate")
        await pilot.pause()
        compare("menu-80x24", app)

    play(body)
