"""Pane 2: the components ranked by what they do to the metric."""

from typing import TYPE_CHECKING

from rich.cells import cell_len

from model.components import Component
from tdb_tui.glyphs import CURSOR, DISAGREE, READS, UNKNOWN
from tdb_tui.palette import DIM, PLAIN, SELECTED, WARNING
from tdb_tui.panes.listing import bar
from tdb_tui.panes.paint import Spans, left, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import RankedView

if TYPE_CHECKING:
    from tdb_tui.views.data import Floats

SAYS, BARS = 28, 14
"Cells that an explanation needs, and those that bars have beside one."
WIDE = 54
"Cells from which there is room for what was measured."


class Ranked(Pane):
    number = 2
    filters = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: RankedView | None = None

    def show(self, view: RankedView) -> None:
        """Another question starts at its first row; the same one again keeps the cursor on its node."""
        if self.view is None or view.title != self.view.title:
            self.cursor = self.top = 0
        elif view is not self.view and self.cursor < len(self.view) and (self.active or self.cursor):
            self.cursor = view.place_of(self.view, self.cursor)
        self.view = view
        self.cursor = max(0, min(self.cursor, len(view) - 1))
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return 0 if self.view is None else len(self.view)

    @property
    def _has_latents(self) -> bool:
        """Whether there are latents, whose names are longer."""
        return self.view is not None and bool(self.view.table.site.any())

    def title(self) -> str:
        return "ranked" if self.view is None else f"ranked · {self.view.title}"

    @property
    def _wide(self) -> bool:
        """Whether there is room for what was measured, and then for the columns' names."""
        return self.size.width >= WIDE

    @property
    def header_rows(self) -> int:
        return int(self._wide)

    def header(self) -> Spans:
        if self.view is None:
            return ()
        name, bars, direct, measured, reads, said = self._widths(digits := self._digits())
        first = f" {right('#', digits)} {left('node', name - 1)}{self.view.by:>8} {' ' * (bars + bool(bars))}"
        says = f"{' ' * (reads + 2)}says" if said else ""
        return ((f"{first}{'direct':>{direct}}{self._other()[0]:>{measured}}{says}", DIM),)

    def _other(self) -> "tuple[str, Floats]":
        """The estimate beside what is measured, else what is measured beside the estimate."""
        view = self.view
        assert view is not None  # asked for rows of one
        return ("total", view.table.total) if view.by == "measured" else ("measured", view.measured)

    def heads(self) -> tuple[tuple[str, int], ...]:
        start, of = (0, None) if self.view is None else (self.view.start, self.view.of)
        extent, end = self.extent(start, of or None), self.size.width - 2
        return (scale_word(self.view), end - cell_len(extent) - 2), (extent, end)

    def head(self) -> Component | None:
        """The selected head, None where the row is something else."""
        return None if self.view is None or not len(self.view) else self.view.head(self.cursor)

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        row = int(view.order[at])
        digits = self._digits()
        name, bars, direct, measured, reads, said = self._widths(digits)
        key, value = int(view.reads[row]), float(view.measure[row])
        other = float(self._other()[1][row])
        read = "" if key < 0 else READS + (view.keys[key].strip() or view.keys[key])
        return (
            (CURSOR if selected else " ", SELECTED),
            (right(str(view.start + at + 1), digits), DIM),
            self.sign(view.node(at), bool(view.circuit[row])),
            (left(view.fitted(at, name), name), SELECTED if selected else PLAIN),
            (f" {number(value)}", PLAIN),
            (DISAGREE if view.marked[row] else " ", WARNING if view.marked[row] else PLAIN),
            *self._bar(value if value == value else 0.0, bars),
            (f" {number(view.direct[row])}" if direct else "", PLAIN),
            (right("" if other != other else number(other), measured), PLAIN),
            (f" {left(read, reads)}" if reads else "", DIM),
            (f" {view.said.get(view.component(at), '')}" if said else "", PLAIN),
        )

    def _bar(self, value: float, cells: int) -> Spans:
        view = self.view
        assert view is not None  # it has a row
        return bar(value, view.scale, cells // 2, cells - cells // 2, view.root) if cells else ()

    def shows(self) -> object:
        return self.view

    def text(self, at: int) -> str:
        """The node and the token that it reads, without what is slow to write: there may be many thousand rows."""
        view = self.view
        assert view is not None  # count is 0 without one
        key = int(view.reads[int(view.order[at])])
        return view.node(at) if key < 0 else f"{view.node(at)} {READS}{view.keys[key].strip()}"

    def cells(self, at: int) -> tuple[str, ...]:
        """Rank, node, the measure ranked by, the direct effect, the other measure; empty where one is not known."""
        view = self.view
        assert view is not None  # count is 0 without one
        row = int(view.order[at])
        values = (view.measure[row], view.direct[row], self._other()[1][row])
        place, known = (
            str(view.start + at + 1),
            ("" if value != value else f"{value:.9g}" for value in values),
        )
        return (place, view.node(at), *known)

    def _digits(self) -> int:
        start = 0 if self.view is None else self.view.start
        return max(len(str(start + self.top + self.rows_shown)), 2)

    def _widths(self, digits: int) -> tuple[int, int, int, int, int, int]:
        """Cells for the node, its bar, the direct and the measured effect, the token read, and what is said of it."""
        width = self.size.width - digits - 2 - 8
        if width < 24:
            return max(width - 6, 8), 0, 0, 0, 5, 0
        direct = 7
        measured = 9 if self._wide else 0
        reads = 4 if width < 36 else 6
        name = (12 if width < 38 else 14) + 2 * self._has_latents
        room = width - name - direct - measured - reads - 2
        if self.view is None or not self.view.said or room < SAYS:
            return name, room, direct, measured, reads, 0
        bars = BARS if room >= SAYS + BARS else 0
        return name, bars, direct, measured, reads, room - bars


def scale_word(view: RankedView | None) -> str:
    """What a full bar stands for; that it is the root which is drawn."""
    return "" if view is None else f"{'√' if view.root else '±'}{view.scale:.3g}"


def number(value: float) -> str:
    if value != value:  # not measured yet
        return f"{UNKNOWN:>6}"
    return f"{value:+6.2f}" if abs(value) < 100 else f"{value:+6.0f}"
