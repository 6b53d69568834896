"""What the terminal is asked beyond drawing: title, bell, mouse, frames; the line that keeps the keys; colours."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import pytest
from textual.drivers._writer_thread import WriterThread
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot

from tdb_tui.app import TdbApp
from tdb_tui.errors import CommandError
from tdb_tui.palette import BLUE, ERROR, ORANGE
from tdb_tui.panes.drawing import SIXTEEN, Drawing
from tdb_tui.panes.pane import Painted
from tdb_tui.panes.terminal import LONG_SECONDS, Manners, Terminal
from tdb_tui.panes.themes import chosen_theme
from tdb_tui.theming import Colours, colours
from tests.ui.screens import PROMPT, log, play, press, rows, screen, session, settled, type_line


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes sent."""
    codes: list[str] = []
    monkeypatch.setattr(Terminal, "write", lambda self, text: codes.append(text))
    return codes


def app(**how: object) -> TdbApp:
    return TdbApp(lambda: (session(), []), PROMPT, "gpt2-random", **how)  # pyright: ignore[reportArgumentType]


def test_the_window_is_named_after_what_is_asked_and_gets_its_title_back(written: list[str]) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.session is not None
        value = app.session.snapshot.now.value
        assert written == [f"\x1b[22;2t\x1b]0;tdb: gpt2-random ld {value:+.2f}\x07"]
        await press(app, pilot, "n")
        assert len(written) == 1, "a step changes nothing that the title says"
        await type_line(app, pilot, "ablate L5H1")
        assert written[1].startswith("\x1b]0;tdb: gpt2-random ld ") and "(Δ " in written[1]

    play(body, app(manners=Manners(titled=True)))
    assert written[-1] == "\x1b[23;2t"


def test_a_terminal_without_a_title_gets_none(written: list[str]) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "ablate L5H1")

    play(body, app(manners=Manners()))
    assert written == []


def test_the_bell_rings_after_long_work_only(written: list[str]) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        app.terminal.finished(LONG_SECONDS - 1)
        assert written == []
        app.terminal.finished(LONG_SECONDS + 1)
        assert written == ["\x07"]
        await press(app, pilot, "n")
        assert written == ["\x07"]

    play(body, app(manners=Manners(bell=True)))


class Driver:
    """Counts what is asked of a terminal's driver."""

    def __init__(self) -> None:
        self._mouse = False
        self.asked: list[str] = []

    def _enable_mouse_support(self) -> None:
        assert self._mouse
        self.asked.append("on")

    def _disable_mouse_support(self) -> None:
        assert self._mouse
        self.asked.append("off")


def test_the_mouse_and_the_frames_follow_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        driver, terminal = Driver(), app.terminal
        usual = app._driver
        app._driver = driver  # pyright: ignore[reportAttributeAccessIssue]
        for value, asked, kept in (
            ("on", ["on"], True),
            ("auto", ["on", "off"], False),
            ("off", ["on", "off"], False),
        ):
            terminal.follow({"mouse": value}, app.main)
            assert (driver.asked, driver._mouse) == (asked, kept)
        app._driver = usual
        await type_line(app, pilot, "set fps 10")
        assert app.main._update_timer._interval == pytest.approx(0.1)
        await type_line(app, pilot, "set fps 1000")
        assert app.main._update_timer._interval == pytest.approx(1 / 60)
        await type_line(app, pilot, "set fps none")
        assert log(app)[-1].startswith("*** 'none' isn't a number of frames")

    play(body, app(manners=Manners()))


def test_in_line_mode_the_command_line_keeps_the_keys() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await type_line(app, pilot, "set mode line")
        assert app.main.focused is app.main.line
        await press(app, pilot, *"next", "enter")
        await press(app, pilot, "enter")
        assert "1 -> A0" not in screen(app) and "2 -> M0" in screen(app), (
            "two lines done, the second by Enter"
        )
        assert app.main.focused is app.main.line
        await press(app, pilot, "ctrl+g", "n")
        assert "3 -> A1" in screen(app), "keys again"
        await type_line(app, pilot, "ablate L1H1")
        await press(app, pilot, *"q", "enter")
        assert app.main.question is not None and app.main.focused is None
        await press(app, pilot, "x")
        assert app.main.focused is app.main.line, "the answer was no"

    play(body)


def test_bars_are_drawn_to_a_fixed_scale_or_by_their_roots() -> None:
    def bars(app: TdbApp) -> list[int]:
        found = [row.split("┬")[0].split("│ 2 ")[0][:35] for row in rows(app)[4:16]]
        return [row.count("█") + row.count("▒") for row in found]

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        usual = bars(app)
        await type_line(app, pilot, "set scale sqrt")
        rooted = bars(app)
        assert all(a >= b for a, b in zip(rooted, usual, strict=True)) and rooted != usual
        assert app.main.listing.view.root
        await type_line(app, pilot, "set scale fixed 1000")
        assert bars(app) == [0] * len(usual)
        assert app.main.ranked.view is not None and app.main.ranked.view.scale == 1000
        await type_line(app, pilot, "set scale fixed")
        assert log(app)[-1] == "*** fixed at which value: set scale fixed 2.0"
        await type_line(app, pilot, "set scale auto")
        assert bars(app) == usual

    play(body)


# Colours of one's own.


@pytest.fixture
def drawn() -> Iterator[None]:
    yield
    Painted.drawing = Drawing()


def test_colours_of_ones_own_are_drawn_in_the_place_of_the_usual(drawn: None) -> None:
    chosen = colours({"positive": ["#000001", "#000002", "#000003", "#000004"], "error": "#aa0000"})
    drawing = Drawing(others=chosen.drawn)
    assert [str(drawing.style(style).color) for style in BLUE] == [
        str(style.color) for style in map(drawing.style, BLUE)
    ]
    assert [drawing.style(style).color.name for style in BLUE] == [f"#00000{n}" for n in range(1, 5)]  # pyright: ignore[reportOptionalMemberAccess]
    assert [drawing.style(style) for style in ORANGE] == list(ORANGE)
    assert drawing.style(ERROR).bold and drawing.style(ERROR).color.name == "#aa0000"  # pyright: ignore[reportOptionalMemberAccess]
    assert Drawing(colors=SIXTEEN, others=chosen.drawn).style(ERROR) == Drawing(colors=SIXTEEN).style(ERROR)


@pytest.mark.parametrize(
    ("theme", "message"),
    [
        ({"positve": "#0087d7"}, r"\[theme\] has no 'positve': did you mean 'positive'\?"),
        ({"positive": ["#0087d7"]}, r"\[theme\] positive has 1 colours: write one, or 4 from weak to strong"),
        ({"arrow": "blue"}, r"\[theme\] arrow is 'blue': write a colour, as in \"#0087d7\""),
        ({"arrow": 5}, r"\[theme\] arrow is 5: write a colour"),
    ],
)
def test_a_colour_that_is_none_is_one_sentence(theme: dict[str, object], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        colours(theme)


def test_the_screen_itself_takes_colours_on_top_of_a_theme(
    monkeypatch: pytest.MonkeyPatch, drawn: None
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert chosen_theme(None, {}).name == "ansi-dark"
    own = chosen_theme("nord", {"background": "#101010"})
    assert (own.background, own.primary) == ("#101010", chosen_theme("nord", {}).primary)
    assert (
        chosen_theme(None, {"background": "#101010"}).foreground
        == chosen_theme("textual-dark", {}).foreground
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert chosen_theme("nord", {"background": "#101010"}).name == "ansi-dark"
    monkeypatch.delenv("NO_COLOR")

    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        assert app.main.styles.background.hex == "#101010"

    play(body, app(colours=Colours({}, {"background": "#101010"})))


class Slow(HeadlessDriver):
    """A terminal that takes nothing as long as its gate is closed, behind the library's own writing thread."""

    gate = threading.Event()
    written: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._writer_thread = WriterThread(self)  # pyright: ignore[reportArgumentType]  # it only writes and flushes
        self._writer_thread.start()

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        """Called by whoever draws, and by the thread."""
        if threading.current_thread() is not self._writer_thread:
            self._writer_thread.write(data)
        elif self.gate.wait(30):
            self.written.append(data)

    def close(self) -> None:
        self.gate.set()
        self._writer_thread.stop()


def test_a_terminal_that_is_behind_gets_the_last_frame_and_not_those_before_it() -> None:
    async def body(app: TdbApp, pilot: Pilot[int]) -> None:
        await wait_until(lambda: not app.terminal.behind)
        Slow.written.clear()
        Slow.gate.clear()
        for _ in range(40):  # more than the library would queue
            app.simulate_key("j")
            await asyncio.sleep(0.02)  # longer than a frame
        app.simulate_key("n")
        await wait_until(lambda: not app.worker.busy)
        writer = app._driver._writer_thread  # pyright: ignore
        assert writer._queue.qsize() <= 2, "a frame on its way and one that waits"
        assert app.session is not None and app.session.state.place.line == 1, "keys are answered all the same"
        assert app.main.listing.cursor == 1
        Slow.gate.set()
        await wait_until(lambda: not app.terminal.behind and not app.main._dirty_widgets)
        sent = "".join(Slow.written)
        assert len(Slow.written) <= 6 and "> A0 attn @END" in sent, "what is there in the end is drawn"

    app_ = app()
    app_.driver_class = Slow
    Slow.gate.set()
    play_for_real(body, app_)


async def wait_until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not so():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # a frame more, if there is one


def play_for_real(body: Callable[[TdbApp, Pilot[int]], Awaitable[None]], app: TdbApp) -> None:
    """`play`, with frames that are rendered in full."""

    async def run() -> None:
        async with app.run_test(headless=False, size=(80, 24)) as pilot:
            await settled(app, pilot)
            await body(app, pilot)

    asyncio.run(run())
