"""The composed screen as text.  Rewrite with UPDATE_GOLDEN=1, and read the difference."""

import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from model.sites import Site
from sae.files import save_autoencoder
from tdb_tui.app import TdbApp
from tdb_tui.panes.arrangement import VIEWS
from tdb_tui.session import Session
from tests.dictionaries import random_dictionary
from tests.sessions import do
from tests.ui.screens import SHAPE, make_app, play, press, rows, screen, session, type_line
from tests.ui.test_budgets import CountingDriver, count

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ui"


def compare(name: str, app: TdbApp) -> None:
    """How long something took is not compared."""
    shown = re.sub(r" *\d+ ms", " # ms", screen(app))
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


def test_a_line_opened_into_latents_is_as_recorded(tmp_path: Path) -> None:
    place = Site.MLP_OUT, 0
    save_autoencoder(random_dictionary(place, SHAPE), tmp_path / "it.safetensors")

    def with_latents() -> Session:
        found = session()
        do(found, f"set sae {tmp_path / 'it.safetensors'}", "rank components @END")
        return found

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "m", "n", "n", "s", "n", "n")
        compare("inside-latents-80x24", app)

    play(body, make_app(with_latents))


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


MODES = {"truecolor": "truecolor", "256": "256", "16": "standard", "none": "auto"}
"What a terminal shows, and what the library calls it."


@pytest.mark.parametrize("mode", MODES)
def test_what_a_terminal_is_sent_is_as_recorded_for_each_kind_of_colour(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of the screen drawn anew, `␛` for escape, a row a line."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if mode == "none":
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("textual.app.constants.COLOR_SYSTEM", MODES[mode])

    async def drawn(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "2", "j", "space", "v", "D")
        CountingDriver.written.clear()
        app.main.refresh()
        await pilot.pause()
        await pilot.pause()

    count((), drawn, size=(80, 24))
    sent = "".join(CountingDriver.written).replace("\x1b", "␛")
    rows = re.sub(r"(␛\[\d+;1H)", r"\n\1", sent)
    path = GOLDEN / f"colors-{mode}-80x24.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rows, encoding="utf-8")
    assert rows == path.read_text(encoding="utf-8")
    kinds = {
        "truecolor": "38;5;" in rows,
        "256": "38;5;" in rows,
        "16": re.search(r"[\[;](3[0-7]|9[0-7])[;m]", rows),
    }
    assert bool(kinds.get(mode)) is (mode != "none")
    assert "48;2;" not in rows


SIZES = [(200, 50), (120, 40), (80, 24), (60, 16)]
CODES = {
    "truecolor": r"0|1|2|7|39|49|38;5;\d+|48;5;\d+",
    "256": r"0|1|2|7|39|49|38;5;\d+|48;5;\d+",
    "16": r"0|1|2|7|3[0-79]|9[0-7]|49",
    "none": r"0|1|2|7|39|49",
}
"What each kind of terminal may be told of a character: the palette's colours are exact entries of the table of 256."


def looks(sent: str) -> str:
    """How the cells of a screen that has been drawn anew look, a row a line: `7 28+10 38;5;24`, column and width."""
    found: dict[int, list[str]] = {}
    row, column, look = 0, 0, ""
    for moved, codes, text in re.findall(
        r"\x1b\[(\d+;\d+)H|\x1b\[([\d;]*)m|\x1b\[[^A-Za-z]*[A-Za-z]|([^\x1b]+)", sent
    ):
        if moved:
            row, column = map(int, moved.split(";"))
        elif codes:
            look = ";".join(re.findall(r"[34]8;5;\d+|\d+", re.sub(r"\b(0|39|49)\b", "", codes)))
        elif text:
            if look:
                found.setdefault(row, []).append(f"{column}+{cell_len(text)} {look}")
            column += cell_len(text)
    return "\n".join(f"{row:2} {'  '.join(runs)}" for row, runs in sorted(found.items()))


def test_every_size_shows_the_same_signs_in_each_kind_of_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks as recorded, truecolour as 256."""
    shown: dict[tuple[int, int], set[str]] = {size: set() for size in SIZES}
    looked: dict[tuple[int, int], dict[str, str]] = {size: {} for size in SIZES}

    async def drawn(app: TdbApp, pilot: Pilot[int]) -> None:
        await a_short_session(app, pilot)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await press(app, pilot)
            CountingDriver.written.clear()
            app.main.refresh()
            await pilot.pause()
            await pilot.pause()
            shown[size].add(re.sub(r" *\d+ ms", " # ms", screen(app)))
            sent = "".join(CountingDriver.written)
            looked[size][mode] = looks(sent)
            told = ";".join(re.findall(r"\x1b\[([0-9;]*)m", sent))
            codes = set(re.findall(r"[34]8;5;\d+|[34]8;2;\d+;\d+;\d+|\d+", told))
            assert all(re.fullmatch(CODES[mode], code) for code in codes), (mode, size, codes)
            assert bool(codes - {"0", "1", "2", "7", "39", "49"}) is (mode != "none")

    for mode in MODES:
        monkeypatch.delenv("NO_COLOR", raising=False)
        if mode == "none":
            monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr("textual.app.constants.COLOR_SYSTEM", MODES[mode])
        count((), drawn, size=SIZES[0])
    assert [len(texts) for texts in shown.values()] == [1] * len(SIZES), "what is said does not need colours"
    for (width, height), modes in looked.items():
        assert modes.pop("truecolor") == modes["256"]
        text = "".join(f"{mode}\n{rows}\n\n" for mode, rows in modes.items())
        path = GOLDEN / f"looks-{width}x{height}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")


FOCUS = {
    "code": ("1",),
    "rank": ("2",),
    "attn": ("3",),
    "tree": ("0",),
    "strips": ("T",),
    "heat": ("H",),
    "edits": ("5",),
    "next": ("9",),
    "inspect": ("I", "I"),
    "log": ("4",),
    "line": ("colon", "a"),
    "menu": ("question_mark",),
}
"What has the keys, and the keys that give them to it."


def test_what_has_the_keys_is_marked_and_nothing_else_is() -> None:
    """One title in reverse, the hint bar its own; the command line has the cursor and no pane a mark."""
    shown: list[str] = []

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        for name, keys in FOCUS.items():
            await press(app, pilot, *keys)
            await pilot.pause()
            strips = app.screen._compositor.render_strips()
            marked = [
                segment.text.strip()
                for strip in strips
                for segment in strip
                if segment.style and segment.style.reverse
            ]
            shown.append(f"{name}: {marked} {rows(app)[-1]}")
            await press(app, pilot, "escape")

    play(body)
    path, text = GOLDEN / "focus-80x24.txt", "\n".join(shown) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
