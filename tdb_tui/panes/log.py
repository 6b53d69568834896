"""Pane 4: every command and what it answered."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.style import Style

from model.printable import printable
from tdb_tui.errors import Unconfirmed
from tdb_tui.palette import DIM, ECHO, ERROR, PLAIN, WARNING
from tdb_tui.panes.paint import Spans
from tdb_tui.panes.pane import Pane

if TYPE_CHECKING:
    from tdb_tui.commands import Done

MOST_LINES = 5000
EVERY, FIRST, LAST = slice(None), slice(1), slice(-1, None)
INDENT = "    "


def folded(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at a space where there is one."""
    parts: list[str] = []
    while cell_len(text) > width:
        head = set_cell_size(text, width).rstrip()
        at = head.rfind(" ", len(INDENT) + 1) if text[len(head) : len(head) + 1] != " " else len(head)
        at = at if at > width // 2 else len(head)
        parts.append(text[:at])
        text = INDENT + text[at:].lstrip()
    return [*parts, text]


class Log(Pane):
    """Its cursor is the last line in sight."""

    number = 4

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._written: deque[tuple[str, Style]] = deque(maxlen=MOST_LINES)
        self._lines: list[tuple[str, Style]] = []
        "What was written, in lines that fit."
        self._saying: list[tuple[str, Style]] = []
        "Of an answer that is still being made, what there is, below all others."
        self.reading = False
        "Whether a long answer is laid open."

    def write(self, lines: Iterable[str], style: Style = PLAIN) -> None:
        """Add lines at the end and go there; nothing that acts on a terminal gets through."""
        safe = [(printable(line), style) for line in lines]
        self._written.extend(safe)
        self._lines = (self._lines + self._folded(safe))[-MOST_LINES:]
        last = len(self._folded(safe[-1:]))
        self.top = max(min(len(self._lines) - self.rows_shown, len(self._lines) - last), 0)
        self.cursor = max(len(self._lines) - 1, 0)

    def say(self, lines: Iterable[str]) -> None:
        """Show what there is of an answer, in place of what there was of it; nothing, once it is written."""
        saying = self._folded((printable(line), DIM) for line in lines)
        if saying or self._saying:
            self._lines = [*self._lines[: len(self._lines) - len(self._saying)], *saying]
            self._saying = saying
            self.top = max(len(self._lines) - self.rows_shown, 0)
            self.cursor = max(len(self._lines) - 1, 0)
            self.update()

    def on_resize(self) -> None:
        self._lines, self._saying = self._folded(self._written), []
        super().on_resize()

    def _folded(self, lines: Iterable[tuple[str, Style]]) -> list[tuple[str, Style]]:
        """Lines too long for the pane go on in the next row, indented."""
        width = max(self.size.width, 20)
        return [(part, style) for text, style in lines for part in folded(text, width)]

    def echo(self, command: str) -> None:
        self.write([f"(tdb) {command}"], ECHO)

    def answer(self, done: "Done", lines: slice = EVERY) -> None:
        """What came of a command; only some lines of it where a pane shows the rest."""
        if done.error is not None and not isinstance(done.error, Unconfirmed):
            self.write([f"*** {done.error}"], ERROR)
        if done.reply is not None:
            self.write([f"note: {warning}" for warning in done.reply.warnings], WARNING)
            self.write(done.reply.lines[lines])

    def show_from(self, line: int) -> None:
        """Put a line at the top, as far as there are lines below it."""
        self.top = max(min(line, len(self._lines) - self.rows_shown), 0)
        self.cursor = min(self.top, max(len(self._lines) - 1, 0))
        self.update()

    def show_end(self) -> None:
        self.keep_in_sight()
        self.update()

    def title(self) -> str:
        return "log"

    def heads(self) -> tuple[tuple[str, int], ...]:
        if not self.reading:
            return ()
        last = min(self.top + self.rows_shown, len(self._lines))
        return ((f"j k scroll, Esc closes · {self.top + 1}-{last}/{len(self._lines)}", self.size.width - 2),)

    def count(self) -> int:
        return len(self._lines)

    def row(self, at: int, selected: bool) -> Spans:
        text, style = self._lines[at]
        return ((text, style),)

    def move(self, by: int) -> None:
        self.show_from(self.top + by)

    def move_to(self, at: int) -> None:
        """Scrolls: here the first line in sight is what moves."""
        self.show_from(at)

    def keep_in_sight(self) -> None:
        """At the end; while an answer is being read, where that is, as far as there are lines below it."""
        end = max(len(self._lines) - self.rows_shown, 0)
        self.top = min(self.top, end) if self.reading else end
