"""What the terminal is asked beyond what is drawn: its title, its bell, the mouse, how often it is drawn on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.printable import printable

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen

KEEP_TITLE, TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"
"The terminal puts its title on a stack, and takes it from there."

LONG_SECONDS = 5.0
"Who has waited for longer than this may be looking elsewhere."

MOST = 60
"Letters of a title."


@dataclass(frozen=True, slots=True)
class Manners:
    titled: bool = False
    "Whether the terminal has a title that can be set."
    bell: bool = False
    mouse: bool = False
    "Whether the mouse is used where nobody says."


class Terminal:
    """Of an application; where it has no terminal, nothing is done."""

    def __init__(self, app: "App[int]", manners: Manners) -> None:
        self._app, self._manners = app, manners
        self._mouse = manners.mouse
        self._title = ""
        self._frames = 0

    def write(self, codes: str) -> None:
        """Send codes that draw nothing."""
        if self._app._driver is not None:  # pyright: ignore[reportPrivateUsage]
            self._app._driver.write(codes)  # pyright: ignore[reportPrivateUsage]

    def name(self, text: str) -> None:
        """Give the window a title, where that is another one."""
        text = printable(text)[:MOST]
        if self._manners.titled and text != self._title:
            self.write((KEEP_TITLE if not self._title else "") + f"\x1b]0;{text}\x07")
            self._title = text

    def leave(self) -> None:
        """Give the window the title back that it had."""
        if self._title:
            self.write(TITLE_BACK)

    @property
    def behind(self) -> bool:
        """Whether it has not taken yet what was drawn last."""
        writer = getattr(self._app._driver, "_writer_thread", None)  # pyright: ignore[reportPrivateUsage]
        return writer is not None and writer._queue.qsize() > 0

    def hung_up(self) -> None:
        """The terminal may have gone: wait for it no longer.

        The library's writer ends at the first thing that it cannot write, and whoever fills its queue then waits
        forever.
        """
        self._title = ""
        writer = getattr(self._app._driver, "_writer_thread", None)  # pyright: ignore[reportPrivateUsage]
        if writer is not None:
            writer._queue.maxsize = 0

    def finished(self, seconds: float) -> None:
        """Ring after long work."""
        if self._manners.bell and seconds > LONG_SECONDS:
            self.write("\x07")

    def follow(self, settings: Mapping[str, str], screen: "Screen[None]") -> None:
        """Do what `set mouse` and `set fps` say."""
        wanted = settings.get("mouse", "auto")
        mouse = self._manners.mouse if wanted == "auto" else wanted == "on"
        if mouse != self._mouse:
            self._mouse = mouse
            self._switch_mouse(mouse)
        frames = int(settings.get("fps", "0"))
        if frames and frames != self._frames:
            # the library reads it once, from the environment, before there is a screen
            screen._update_timer._interval = 1 / frames  # pyright: ignore[reportPrivateUsage]
            self._frames = frames

    def _switch_mouse(self, on: bool) -> None:
        driver = self._app._driver  # pyright: ignore[reportPrivateUsage]
        switch = getattr(driver, f"_{'enable' if on else 'disable'}_mouse_support", None)
        if driver is None or switch is None:
            return
        driver._mouse = True  # pyright: ignore[reportPrivateUsage]  # without it neither does anything
        switch()
        driver._mouse = on  # pyright: ignore[reportPrivateUsage]  # what coming back from a suspension does
