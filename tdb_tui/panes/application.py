"""The application as such: what it is made of, what may be asked of it, and how it is left."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import App
from textual.binding import BindingType

from model.components import Component
from model.printable import printable
from tdb_tui.keymap import Keymap
from tdb_tui.palette import ERROR
from tdb_tui.panes.diary import Diary
from tdb_tui.panes.drawing import FULL, NONE, SIXTEEN, Drawing
from tdb_tui.panes.pane import Painted
from tdb_tui.panes.screen import MainScreen
from tdb_tui.panes.terminal import Manners, Terminal
from tdb_tui.panes.themes import OWN_THEME, chosen_theme
from tdb_tui.theming import Colours
from tdb_tui.worker import Job, Worker

if TYPE_CHECKING:
    from tdb_tui.commands import Done
    from tdb_tui.panes.desk import Owner
    from tdb_tui.session import Session

OF_A_PAGE = (["info"], ["find"], ["explain"], ["mark"], ["note"])
"Commands that a page stays laid open for."


class Application(App[int], inherit_bindings=False):
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False

    def __init__(
        self,
        start: "Callable[[], tuple[Session, list[str]]]",
        prompt: str,
        name: str,
        commands: Sequence[str] = (),
        history: Sequence[str] = (),
        ascii_only: bool = False,
        typed: Callable[[str], object] = lambda line: None,
        keymap: Keymap | None = None,
        theme: str | None = None,
        columns: int = 3,
        colours: Colours | None = None,
        manners: Manners | None = None,
    ) -> None:
        """`start` loads the model and runs the prompt; it is called on the engine thread, after the first frame.

        `name` says what is being loaded; `commands` are carried out first; `history` are lines typed earlier, and
        `typed` is called with each that is typed.
        """
        colours = colours or Colours()
        look = chosen_theme(theme, colours.behind)
        # Before the library's own __init__, which makes its colour filters from it.
        super().__init__(ansi_color=look.name.startswith("ansi-"))
        if look.name == OWN_THEME:
            self.register_theme(look)
        self.theme = look.name
        self.animation_level = "none"
        Painted.drawing = Drawing(ascii_only, self._colors(), self.current_theme.dark, colours.drawn)
        self.terminal = Terminal(self, manners or Manners())
        self._commands, self._typed = tuple(commands), typed
        opening, shown = f"loading {printable(name)} …", printable(prompt)
        self.main = MainScreen(opening, shown, list(history), cast("Owner", self), keymap or Keymap())
        self.main.wishes = replace(self.main.wishes, columns=columns)
        self.worker = Worker(start)
        self.diary = Diary(self.main)
        self._head: Component | None = None
        "The head under the cursor of the ranked components, where that was moved last."
        self._last: Done | None = None
        self._last_line = ""
        self.failure: BaseException | None = None
        "The defect that has ended the program."

    def _colors(self) -> str:
        if os.environ.get("NO_COLOR"):
            return NONE
        return SIXTEEN if self.console.color_system in (None, "standard", "windows") else FULL

    @property
    def session(self) -> "Session | None":
        """None until it is open."""
        return self.worker.session

    def get_default_screen(self) -> MainScreen:
        return self.main

    def submit(self, line: str, typed: bool = False) -> None:
        """Carry out a line after those already waiting."""
        if not (self.main.wishes.zoom == "page" and line.split(maxsplit=1)[:1] in OF_A_PAGE):
            self.main.close()
        self.worker.jobs.put_nowait(Job(line, typed))

    def complain(self, sentence: str) -> None:
        self.main.log_pane.write([f"*** {sentence}"], ERROR)
        self.main.log_pane.update()

    def wanted(self) -> None:
        self.worker.jobs.put_nowait(Job(None))

    def looked(self, head: Component | None) -> None:
        if head is not None and head != self._head:
            self._head = head
            self.worker.jobs.put_nowait(Job(None))

    # How it is left.

    def action_quit_asking(self, code: int = 0) -> None:
        """Leave; where that would lose something, only after a yes."""
        if self.session is not None and self.worker.busy:
            self.main.ask("leave while commands are running?", lambda: self.exit(code, code))
        elif self.session is not None and not self.session.saved:
            self.main.ask(
                "leave without saving? (save FILE keeps the session)", lambda: self.exit(code, code)
            )
        else:
            self.exit(code, code)

    def _ended(self, code: int) -> None:
        """The terminal has gone, or somebody ends the program: the journal has it all, so nothing is asked."""
        if code == 128 + signal.SIGHUP:
            self.terminal.hung_up()
        self.exit(code, code)

    def _handle_exception(self, error: Exception) -> None:
        """A defect of ours: leave, and let whoever started the screen say so."""
        self.failure = self.failure or getattr(error, "error", error)  # of a task, what it failed with
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """The library would print every local variable, the user's texts among them."""
        self._close_messages_no_wait()

    async def on_unmount(self) -> None:
        self.terminal.leave()
        self.worker.close()
