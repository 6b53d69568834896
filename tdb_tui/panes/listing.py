"""Pane 1: the pass as source code, with `->` at the next line and a bar for what each line adds."""

import math

from rich.style import Style

from tdb_tui import palette
from tdb_tui.glyphs import ARROW, AXIS, BREAK, CURSOR, DISABLED, EDITED, LARGEST, NEGATIVE, POSITIVE
from tdb_tui.palette import DIM, PLAIN
from tdb_tui.panes.paint import Spans, left, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import ListingRow, ListingView

NARROW, TOP = 35, 43
"Widths from which there is room for the lens column, and for the most likely token."


class Listing(Pane):
    number = 1
    filters = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view = ListingView((), 0, 0.0)

    def show(self, view: ListingView) -> None:
        """The cursor follows the arrow when that has moved."""
        moved = view.arrow != self.view.arrow or len(view.rows) != len(self.view.rows)
        self.view = view
        if moved:
            self.cursor = min(view.arrow, len(view.rows) - 1)
        self.cursor = max(0, min(self.cursor, len(view.rows) - 1))
        self.keep_in_sight()
        self.update()

    def selected(self) -> ListingRow | None:
        return self.view.rows[self.cursor] if self.cursor < len(self.view.rows) else None

    def count(self) -> int:
        return len(self.view.rows)

    def shows(self) -> object:
        return self.view, self.size.width

    def title(self) -> str:
        return f"code · {self.view.inside}" if self.view.inside else "code"

    def heads(self) -> tuple[tuple[str, int], ...]:
        if not self.view.rows:
            return ()
        name, bars = self._widths()
        end = 8 + name + sum(bars) + 1 + 7
        lens = (f"{self.view.unit}", end + 7) if self.size.width >= NARROW else ("", 0)
        top = ("top", end + 12) if self.size.width >= TOP else ("", 0)
        return (f"Δ{self.view.unit}", end), lens, top

    def row(self, at: int, selected: bool) -> Spans:
        row = self.view.rows[at]
        name, (minus, plus) = self._widths()
        style = PLAIN if row.executed or row.arrow else DIM
        mark, number = _numbered(row)
        arrow = ARROW if row.arrow else LARGEST if row.largest else "  "
        return (
            (CURSOR if selected else " ", palette.SELECTED if self.active else PLAIN),
            (mark, palette.MARK),
            (number, style),
            self.sign(row.node, row.circuit),
            (arrow, palette.ARROW if row.arrow else style),
            (EDITED if row.edited else " ", palette.EDITED),
            (left(row.name, name), palette.SELECTED if selected else style),
            *bar(row.delta, self.view.scale, minus, plus, self.view.root),
            (f" {row.delta:+6.2f}", style),
            (f" {row.value:+6.2f}" if self.size.width >= NARROW else "", style),
            (f"  {row.top}" if self.size.width >= TOP else "", DIM),
        )

    def cells(self, at: int) -> tuple[str, ...]:
        row = self.view.rows[at]
        return row.number, row.name, f"{row.delta:.9g}", f"{row.value:.9g}", row.top

    def below(self, at: int) -> Spans:
        return (("      [EOF]", DIM),) if at == len(self.view.rows) and self.view.rows else ()

    def _widths(self) -> tuple[int, tuple[int, int]]:
        """Cells for the name, and for the bars on either side of the axis."""
        numbers = (
            7
            + (7 if self.size.width >= NARROW else 0)
            + (10 if self.size.width >= TOP + 4 else 8 if self.size.width >= TOP else 0)
        )
        left_over = self.size.width - 8 - numbers - 1
        longest = max((len(row.name) for row in self.view.rows), default=4)
        name = max(4, min(longest, left_over - 4))
        bars = max(left_over - name, 0)
        return name, (bars // 2, bars - bars // 2)


def _numbered(row: ListingRow) -> tuple[str, str]:
    """A line's mark and its number; a row of an opened line has no mark and starts further to the left."""
    if row.number.startswith("."):
        return "", left(row.number, 3)
    mark = " " if not row.stop else BREAK if row.stop_enabled else DISABLED
    return mark, right(row.number, 2)


def bar(
    value: float, scale: float, minus: int, plus: int, root: bool = False
) -> tuple[tuple[str, Style], ...]:
    """A bar to the left or the right of an axis, as long as the value, or the `root` of it, is of `scale`."""
    if root:
        value = math.copysign(math.sqrt(abs(value) * scale), value)
    room = plus if value > 0 else minus
    cells = 0 if scale <= 0 else min(round(abs(value) / scale * room), room)
    style = palette.signed(value, scale)
    if value > 0:
        return (" " * minus, PLAIN), (AXIS, DIM), (POSITIVE * cells, style), (" " * (plus - cells), PLAIN)
    return (" " * (minus - cells), PLAIN), (NEGATIVE * cells, style), (AXIS, DIM), (" " * plus, PLAIN)
