"""Pane H: the last sweep as a map, its value under the cursor in the rule."""

from rich.cells import cell_len
from rich.style import Style

from tdb_tui import palette
from tdb_tui.glyphs import CURSOR, shade
from tdb_tui.palette import CURSOR as CURSOR_STYLE
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.paint import Spans, left, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.heat import HeatView

LABEL = 14
"Cells of a row's label at most, its cursor included."
LEAST, MOST = 2, 6
"Cells of a column: a sign and a shade, and the space before them."
NOTHING = 0.05
"Of the scale: below this there is no sign."


class HeatMap(Pane):
    """Its first row names the columns; up and down go over rows, left and right over columns."""

    number = "H"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: HeatView | None = None
        self.column = 0

    def show(self, view: HeatView | None) -> None:
        """The cursor stays on its cell while the grid is the same, and goes to the largest of another."""
        before, self.view = self.view, view
        same = view is not None and before is not None and before.nodes == view.nodes
        if view is not None and not (same and before is not None and before.title == view.title):
            self.cursor, self.column = _largest(view)
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return 0 if self.view is None else len(self.view.rows)

    def move_column(self, by: int) -> None:
        """To the left or to the right, as far as there are columns."""
        if self.view is not None:
            self.column = max(0, min(self.column + by, len(self.view.columns) - 1))
            self.update()

    @property
    def header_rows(self) -> int:
        return 1

    @property
    def node(self) -> str:
        """What the cell under the cursor edits; empty where there is none."""
        return "" if self.view is None else self.view.nodes[self.cursor][self.column]

    @property
    def command(self) -> str:
        return "" if self.view is None else self.view.commands[self.cursor][self.column]

    def title(self) -> str:
        return "sweep" if self.view is None else f"sweep {self.view.title}"

    def heads(self) -> tuple[tuple[str, int], ...]:
        """The cell under the cursor, in as few words as there is room for."""
        view = self.view
        if view is None:
            return ()
        value, metric = (grid[self.cursor][self.column] for grid in (view.shown, view.metric))
        if value != value:
            said = (f"{self.node} not measured", self.node)
        else:
            said = (
                f"{self.node} {value:+.3f}, metric {metric:+.2f}",
                f"{self.node} {value:+.3f}",
                f"{value:+.3f}",
            )
        room = self.size.width - cell_len(self.title()) - 7
        return ((next((text for text in said if cell_len(text) <= room), said[-1]), self.size.width - 2),)

    def header(self) -> Spans:
        view = self.view
        if view is None:
            return ()
        first, last, cells = self._window()
        spans: list[tuple[str, Style]] = [(" " * self._label, PLAIN)]
        for at in range(first, last):
            # without a gap between columns every second one is named
            skipped = cells == LEAST and (at - self.column) % 2
            room = cells if cells == LEAST else cells - 1
            head = left(view.heads[at], min(room, cell_len(view.heads[at])))
            spans.append((right("" if skipped else head, cells), SELECTED if at == self.column else DIM))
        return tuple(spans)

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        first, last, cells = self._window()
        label = right(view.rows[at], self._label - 2)
        spans: list[tuple[str, Style]] = [
            (CURSOR if selected else " ", SELECTED),
            (f"{label} ", SELECTED if selected else DIM),
        ]
        for column in range(first, last):
            value = view.shown[at][column]
            style = palette.signed(value, view.scale) if value == value else PLAIN
            here = selected and column == self.column
            gap = cells - LEAST
            spans += [(" " * gap, PLAIN), (_signs(value, view.scale), CURSOR_STYLE if here else style)]
        return tuple(spans)

    def text(self, at: int) -> str:
        return "" if self.view is None else self.view.rows[at]

    def cells(self, at: int) -> tuple[str, ...]:
        view = self.view
        assert view is not None  # count is 0 without one
        return (view.rows[at], *("" if value != value else f"{value:.9g}" for value in view.shown[at]))

    def below(self, at: int) -> Spans:
        """What the values are, and that they are old."""
        view, nth = self.view, at - self.count()
        if view is None:
            said = (" sweep patch resid_pre draws a map here",)
        else:
            metric = view.metric[self.cursor][self.column]
            cell = f" {self.node or 'no cell'}" + (f": metric {metric:+.2f}" if metric == metric else "")
            kind = f" {'fractions' if view.normalised else 'raw'}: {view.ends}"
            said = (
                cell,
                kind,
                f" █ is {view.scale:.2f}; · is next to nothing",
                *((" of an earlier run: sweep again",) if view.old else ()),
            )
        return ((said[nth], DIM),) if nth < len(said) else ()

    @property
    def _label(self) -> int:
        longest = max((cell_len(row) for row in self.view.rows), default=0) if self.view else 0
        return min(longest + 2, LABEL)

    def _window(self) -> tuple[int, int, int]:
        """The first column in sight, the one after the last, and the cells of each; the cursor's is among them."""
        view = self.view
        assert view is not None  # only called with one
        room, count = max(self.size.width - self._label - 1, LEAST), len(view.columns)
        wanted = max((cell_len(head) for head in view.heads), default=0) + 1
        fitting = LEAST if LEAST * count <= room else LEAST + 1
        cells = max(fitting, min(wanted, MOST, room // max(count, 1)))
        shown = min(count, max(room // cells, 1))
        first = max(0, min(self.column - shown // 2, count - shown))
        return first, first + shown, cells


def _signs(value: float, scale: float) -> str:
    """`+▓`: says without colour what the colour says."""
    if value != value:
        return "  "
    weight = abs(value) / scale if scale > 0 else 0.0
    return f" {shade(0.0)}" if weight < NOTHING else f"{'+' if value > 0 else '-'}{shade(weight)}"


def _largest(view: HeatView) -> tuple[int, int]:
    """Row and column of the largest absolute value."""
    known = [
        (abs(value), -at, -by)
        for at, row in enumerate(view.shown)
        for by, value in enumerate(row)
        if value == value
    ]
    if not known:
        return 0, 0
    _, row, column = max(known)
    return -row, -column
