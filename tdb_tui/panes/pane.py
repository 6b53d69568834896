"""What all panes share: rows painted by hand, and only those sent again that have changed.

The terminal library sends whatever is marked dirty, changed or not; so each widget keeps what it has painted,
compares, and marks no more than the part of a row that differs.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tdb_tui.glyphs import AXIS, CIRCUIT, JOINT_ABOVE, JOINT_BELOW, MARKED, RULE
from tdb_tui.palette import DIM, MARK, PLAIN, RULE_ACTIVE, RULE_TITLE
from tdb_tui.palette import RULE as RULE_STYLE
from tdb_tui.panes.drawing import Drawing
from tdb_tui.panes.paint import Spans, changed_width, fit, strip

CONTEXT = 2
"Rows kept in sight on either side of the cursor."


class Painted(Widget):
    """A widget that is rows of spans."""

    drawing: ClassVar[Drawing] = Drawing()
    "Set for the whole screen before it is composed."

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._painted: dict[int, Spans] = {}
        self._painted_width = 0
        "Of the rows that have been painted."

    def paint(self, y: int) -> Spans:
        """Row `y`, of any width; it is cut and padded afterwards."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if width != self._painted_width:
            self._painted.clear()
            self._painted_width = width
        self._painted[y] = self._row(y)
        line = strip(self._painted[y], width)
        return line if self.app.native_ansi_color else line.apply_style(self.rich_style)

    def update(self) -> None:
        """Send again what has changed since it was last sent."""
        width, height = self.size
        if width != self._painted_width:
            self.refresh()
            return
        for y in range(height):
            new, old = self._row(y), self._painted.get(y)
            if old is None:
                self.refresh(Region(0, y, width, 1))
            elif new != old:
                self.refresh(Region(0, y, changed_width(old, new), 1))

    def _row(self, y: int) -> Spans:
        return fit(self.paint(y), self.size.width, self.drawing)

    def on_resize(self) -> None:
        self.update()

    def on_show(self) -> None:
        """What the library kept from when this was last in sight may be old."""
        self._painted.clear()
        self.refresh()


class Pane(Painted):
    """A rule that carries number and title, and rows below it with a cursor among them."""

    number: int | str = ""
    "The key that goes to it."
    filters = False
    "Whether it can show those of its rows alone that have certain words."

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.joints: tuple[int, ...] = ()
        "Columns at which the line between two panes above ends."
        self.active = False
        "Whether keys move about in this pane."
        self.marked: frozenset[str] = frozenset()
        "Nodes picked out by hand, as a command calls them."
        self.cursor = 0
        self.top = 0
        "The first row in sight, counted among those that are shown."
        self.words = ""
        "Only rows that have these are shown."
        self._kept: tuple[object, Sequence[int]] | None = None
        "Rows with the words, and what they are of."

    # What each pane says for itself.

    def title(self) -> str:
        """What stands in the rule, after the number."""
        return ""

    def heads(self) -> tuple[tuple[str, int], ...]:
        """What else stands there, each with the column that it ends before."""
        return ()

    def header(self) -> Spans:
        """The row below the rule that names the columns, where `header_rows` says that there is one."""
        return ()

    @property
    def header_rows(self) -> int:
        return 0

    def count(self) -> int:
        """How many rows there are."""
        return 0

    def row(self, at: int, selected: bool) -> Spans:
        return ()

    def sign(self, node: str, circuit: bool = False) -> tuple[str, Style]:
        """One cell before a node: whether it is marked, else whether the circuit in use has it."""
        if node in self.marked:
            return MARKED, MARK
        return (CIRCUIT, MARK) if circuit else (" ", PLAIN)

    def text(self, at: int) -> str:
        """A row as words, for finding and copying."""
        return "".join(text for text, _ in self.row(at, False))

    def cells(self, at: int) -> tuple[str, ...]:
        """A row as the columns of a table, for copying."""
        return tuple(re.split(r" {2,}", self.text(at).strip()))

    # What they share.

    @property
    def rows_shown(self) -> int:
        return max(self.size.height - 1 - self.header_rows, 0)

    def paint(self, y: int) -> Spans:
        if y == 0:
            return self._rule()
        if y <= self.header_rows:
            return self.header()
        rows, at = self.kept(), self.top + y - 1 - self.header_rows
        if at < len(rows):
            return self.row(rows[at], rows[at] == self.cursor)
        if self.words and not rows:
            return ((f" no row has {self.words!r}: Esc shows all", DIM),) if at == 0 else ()
        return self.below(at - len(rows) + self.count())

    def below(self, at: int) -> Spans:
        """Rows past the last."""
        return ()

    def kept(self) -> Sequence[int]:
        """The rows that are shown: all, or those that have the words."""
        if not self.words:
            return range(self.count())
        of = (self.words, self.shows())
        if self._kept is None or self._kept[0] != of:
            found = [at for at in range(self.count()) if has_words(self.text(at), self.words)]
            self._kept = of, found
        return self._kept[1]

    def shows(self) -> object:
        """What the rows are of: another value where they are other rows."""
        return None

    def keep(self, words: str) -> int:
        """Show rows with these words alone, all for none; how many there are."""
        self.words, self.top = words, 0
        self.keep_in_sight()
        self.update()
        return len(self.kept())

    def extent(self, start: int = 0, of: int | None = None) -> str:
        """`1-12/182`: which rows are in sight, `start` being on pages before, `of` there in all or with the words."""
        count = len(self.kept())
        last, every = min(self.top + self.rows_shown, count), of if of and not self.words else count
        return f"{start + self.top + 1 if count else 0}-{start + last}/{every:,}"

    def _rule(self) -> Spans:
        number = f"{self.number} " if self.number != "" else ""
        name = f"{number}{self.title()}{f' &{self.words}' if self.words else ''}"
        spans: list[tuple[str, Style]] = [
            (RULE, RULE_STYLE),
            (name, RULE_ACTIVE if self.active else RULE_TITLE),
        ]
        used = 1 + cell_len(name)
        for text, end in self.heads():
            gap = end - cell_len(text) - used
            if text and gap >= 1:
                spans += [(self._line(used, gap - 1), RULE_STYLE), (f" {text}", PLAIN)]
                used = end
                if end < self.size.width:
                    spans.append((" ", PLAIN))
                    used += 1
        return (*spans, (self._line(used, self.size.width - used), RULE_STYLE))

    def _line(self, start: int, width: int) -> str:
        return "".join(JOINT_ABOVE if at in self.joints else RULE for at in range(start, start + width))

    def move(self, by: int) -> None:
        """Put the cursor on another of the rows that are shown."""
        rows = self.kept()
        if rows:
            self.move_to(rows[max(0, min(self._place() + by, len(rows) - 1))])

    def _place(self) -> int:
        """Of the cursor among the rows that are shown; of the nearest one where its own is not."""
        rows = self.kept()
        return max(0, min(bisect_left(rows, self.cursor), len(rows) - 1))

    def move_to(self, at: int) -> None:
        """Put the cursor on a row and keep it in sight."""
        self.cursor = max(0, min(at, self.count() - 1))
        self.keep_in_sight()
        self.update()

    def keep_in_sight(self) -> None:
        rows, place, shown = self.kept(), self._place(), self.rows_shown
        if self.words and rows:
            self.cursor = rows[place]
        if not shown:
            return
        margin = min(CONTEXT, (shown - 1) // 2)
        self.top = max(min(self.top, place - margin), place + margin - shown + 1)
        self.top = max(0, min(self.top, len(rows) - shown))

    def on_resize(self) -> None:
        self.keep_in_sight()
        super().on_resize()

    def find(self, words: str, start: int, step: int) -> int | None:
        """The next row shown from `start` on, going round, that has `words` in it."""
        rows = self.kept()
        first = bisect_left(rows, start) if step > 0 else bisect_right(rows, start) - 1
        for n in range(len(rows)):
            at = rows[(first + step * n) % len(rows)]
            if has_words(self.text(at), words):
                return at
        return None


def has_words(text: str, words: str) -> bool:
    """Whether the words are in a text; capitals count only where some are typed."""
    return words in (text.lower() if words.islower() else text)


class Divider(Painted):
    """The line between two columns."""

    def paint(self, y: int) -> Spans:
        return ((JOINT_BELOW if y == 0 else AXIS, RULE_STYLE),)
