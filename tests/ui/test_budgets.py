"""How many bytes an action sends to the terminal: the whole app on a driver that counts instead of writing."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot
from textual.widget import Widget

from tdb_tui.app import TdbApp
from tests.ui.screens import PROMPT, SHAPE, Gate, make_app, press, rows, screen, session, settled

SIZE = (120, 40)


class CountingDriver(HeadlessDriver):
    """Keeps what is written; not headless, so that frames are rendered in full."""

    written: ClassVar[list[str]] = []
    "Cleared by whoever counts."

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.written.append(data)


def count(
    before: tuple[str, ...],
    action: Callable[[TdbApp, Pilot[int]], Awaitable[None]],
    size: tuple[int, int] = SIZE,
    make: Callable[[], TdbApp] = make_app,
) -> tuple[int, int]:
    """Bytes and writes that an action causes after the keys `before` have been dealt with."""
    counted: list[tuple[int, int]] = []

    async def run() -> None:
        app = make()
        app.driver_class = CountingDriver
        async with app.run_test(headless=False, size=size) as pilot:
            await settled(app, pilot)
            await press(app, pilot, *before)
            await asyncio.sleep(0.1)
            CountingDriver.written.clear()
            await action(app, pilot)
            await asyncio.sleep(0.1)
            written = CountingDriver.written
            counted.append((sum(len(data.encode()) for data in written), len(written)))

    asyncio.run(run())
    return counted[0]


@pytest.fixture(autouse=True)
def colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a terminal gets over SSH: 256 colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize(
    ("what", "before", "keys", "budget"),
    [
        ("cursor in the listing", (), ("j",), 250),
        ("letter in the command line", ("colon", "a"), ("b",), 300),
        ("taking the command line", (), ("colon",), 3_000),
        ("leaving the command line", ("colon",), ("ctrl+g",), 3_000),
        ("step", (), ("n",), 8_000),
        ("step into a line", ("n",), ("s",), 8_000),
        ("cursor to another head", ("2", "j", "j"), ("j",), 8_000),
        ("token cursor", (), ("h",), 12_000),
        ("another pane", (), ("tab",), 3_000),
        ("view switch", (), ("v",), 20_000),
        ("menu", (), ("question_mark",), 20_000),
        ("undo", ("x",), ("z",), 20_000),
        ("mark", ("2",), ("space",), 2_000),
        ("another weighing", ("3",), ("V",), 8_000),
        ("larger pane", ("2",), ("plus",), 20_000),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_action_stays_within_its_budget(
    what: str, before: tuple[str, ...], keys: tuple[str, ...], budget: int
) -> None:
    sent, writes = count(before, lambda app, pilot: press(app, pilot, *keys))
    print(f"{what}: {sent} bytes in {writes} writes")
    assert 0 < sent <= budget


@pytest.mark.parametrize(
    ("what", "before", "keys", "budget"),
    [
        ("cursor", (), ("j",), 250),
        ("letter", ("colon", "a"), ("b",), 300),
        ("step", (), ("n",), 8_000),
        ("step again", ("n",), ("n",), 8_000),
        ("token cursor", ("3",), ("k",), 8_000),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_smallest_layout_costs_no_more(
    what: str, before: tuple[str, ...], keys: tuple[str, ...], budget: int
) -> None:
    sent, _ = count(before, lambda app, pilot: press(app, pilot, *keys), size=(80, 24))
    print(f"{what} at 80x24: {sent} bytes")
    assert 0 < sent <= budget


def test_how_far_a_command_has_come_costs_little_and_is_said_at_most_four_times_a_second() -> None:
    held = session()

    async def wait(app: TdbApp, pilot: Pilot[int]) -> None:
        gate = Gate(held)
        await pilot.press("x")
        assert await asyncio.to_thread(gate.reached.wait, 10)
        await asyncio.sleep(0.7)
        await pilot.pause()
        assert "ablate E" in rows(app)[0]
        assert "^C cancels" in rows(app)[0]
        CountingDriver.written.clear()
        await asyncio.sleep(1.0)
        sent = [len(data.encode()) for data in CountingDriver.written]
        assert 1 <= len(sent) <= 5
        assert max(sent) <= 250
        await pilot.press("ctrl+c")
        await settled(app, pilot)
        assert rows(app)[0].endswith("idle")

    count((), wait, size=(80, 24), make=lambda: make_app(lambda: held))


def test_a_long_prompt_is_drawn_moved_over_and_stepped_through_within_the_budgets() -> None:
    long = replace(SHAPE, n_ctx=1024, n_layer=2)
    words = " ".join([PROMPT] * 72)
    held = session(long, words)

    async def move(app: TdbApp, pilot: Pilot[int]) -> None:
        assert held.state.end > 1000
        tokens = app.main.tokens
        for key in ("h", "n", "left", "n"):
            CountingDriver.written.clear()
            await press(app, pilot, key)
            await asyncio.sleep(0.1)
            assert sum(map(len, CountingDriver.written)) <= 12_000, key
        assert tokens.size.height <= 8
        await press(app, pilot, "3", "g")
        assert held.state.pos == 0
        assert "[⊢]" in screen(app)
        await press(app, pilot, "pagedown", "G")
        assert held.state.pos == held.state.end
        assert "[to]" in screen(app)

    count((), move, make=lambda: make_app(lambda: held, words))


@pytest.mark.slow
def test_thousands_of_keys_leave_no_objects_behind() -> None:
    """Every pane, view, weighing, menu and edit again and again: what is counted after is what was before."""
    keys = [
        *(
            "n",
            "n",
            "s",
            "n",
            "r",
            "2",
            "j",
            "j",
            "space",
            "x",
            "z",
            "f",
            "z",
            "escape",
            "o",
            "v",
            "v",
            "3",
            "V",
            "D",
        ),
        *(
            "L",
            "A",
            "h",
            "h",
            "l",
            "l",
            "plus",
            "plus",
            "underscore",
            "underscore",
            "tab",
            "I",
            "v",
            "colon",
            "a",
            "b",
        ),
        *(
            "ctrl+u",
            "ctrl+g",
            "question_mark",
            "escape",
            "4",
            "k",
            "1",
            "g",
            "G",
            "N",
            "N",
            "b",
            "b",
            "w",
            "p",
            "C",
        ),
    ]
    counted: list[tuple[int, int, float]] = []

    async def many(app: TdbApp, pilot: Pilot[int]) -> None:
        for turn in range(40):
            await press(app, pilot, *keys)
            CountingDriver.written.clear()
            if turn in (9, 39):
                gc.collect()
                objects = gc.get_objects()
                widgets = sum(issubclass(type(each), Widget) for each in objects)
                counted.append((widgets, len(objects), resident()))

    count((), many, size=(80, 24))
    (widgets, objects, size), (widgets_after, objects_after, size_after) = counted
    print(
        f"objects {objects} -> {objects_after}, {size:.0f} -> {size_after:.0f} MB after {40 * len(keys)} keys"
    )
    assert widgets == widgets_after
    assert objects_after < objects * 1.1
    assert size_after < size + 60


def resident() -> float:
    """Megabytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_nothing_is_sent_while_nothing_happens() -> None:
    async def wait(app: TdbApp, pilot: Pilot[int]) -> None:
        await asyncio.sleep(1.0)

    assert count((), wait) == (0, 0)
    assert count(("colon", "n"), wait) == (0, 0)


def test_the_first_frames_stay_within_their_budget() -> None:
    sent: list[int] = []

    async def run() -> None:
        CountingDriver.written.clear()
        app = make_app()
        app.driver_class = CountingDriver
        async with app.run_test(headless=False, size=SIZE) as pilot:
            await settled(app, pilot)
            sent.append(sum(len(data.encode()) for data in CountingDriver.written))

    asyncio.run(run())
    assert 0 < sent[0] <= 40_000


def test_colors_are_those_of_the_256_color_table() -> None:
    async def everything(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "n", "s", "x", "v", "ctrl+l")

    count((), everything)
    assert any("38;5;" in data for data in CountingDriver.written)
    assert not any("38;2;" in data or "48;2;" in data for data in CountingDriver.written)


@pytest.mark.slow
def test_widgets_do_not_pile_up() -> None:
    counted: list[int] = []

    async def many(app: TdbApp, pilot: Pilot[int]) -> None:
        await press(app, pilot, "question_mark", "escape")
        for _ in range(2):
            gc.collect()
            counted.append(sum(issubclass(type(each), Widget) for each in gc.get_objects()))
            for _ in range(6):
                await press(
                    app, pilot, "n", "tab", "j", "v", "x", "z", "colon", "ctrl+g", "question_mark", "escape"
                )

    count((), many)
    assert counted[0] == counted[1]
