"""Pane T: effects summed token by token, for embeddings, MLPs, attention by query and by key."""

from rich.style import Style

from tdb_tui import palette
from tdb_tui.glyphs import CURSOR, SHADES
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.listing import bar
from tdb_tui.panes.paint import Spans, right
from tdb_tui.panes.pane import Pane
from tdb_tui.panes.ranked import number
from tdb_tui.views.data import Strip, StripsView

LABEL = 8
"Cells of a row's label, its cursor included."
NUMBER, SHORT = 6, 5
"Cells of a number, and of one with a decimal less, where five strips have little room."


class Strips(Pane):
    """Its cursor is the token cursor; the rule has each strip's total, the row below it their names."""

    number = "T"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: StripsView | None = None

    def show(self, view: StripsView | None) -> None:
        self.view = view or self.view
        self.cursor = 0 if self.view is None else self.view.cursor
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return 0 if self.view is None else len(self.view.texts)

    @property
    def header_rows(self) -> int:
        return 1

    def title(self) -> str:
        return "sums"

    def heads(self) -> tuple[tuple[str, int], ...]:
        return tuple((self._number(strip.total).strip(), end) for strip, end in self._ends())

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        label = right(view.texts[at].strip() or view.texts[at], LABEL - 2)
        spans: list[tuple[str, Style]] = [
            (CURSOR if selected else " ", SELECTED),
            (f"{label} ", SELECTED if selected else DIM),
        ]
        for strip in view.strips:
            spans += self._cell(strip, at)
        return tuple(spans)

    def text(self, at: int) -> str:
        return "" if self.view is None else self.view.texts[at]

    def _cell(self, strip: Strip, at: int) -> Spans:
        """A number and how large it is of its strip: a bar where there is room, else a shade."""
        value, extra = strip.values[at], self._cells() - self._digits()
        gap = int(extra > 1)
        extra -= gap
        scale = max((abs(each) for each in strip.values), default=0.0)
        said = ((self._number(value), PLAIN),)
        if extra >= 6:
            return (
                *said,
                *bar(value, scale, (extra - 1) // 2, extra - 1 - (extra - 1) // 2),
                (" " * gap, PLAIN),
            )
        sign = SHADES[abs(strip.levels[at])] if strip.levels[at] else " "
        return (*said, (sign * extra, palette.signed(value, scale)), (" " * gap, PLAIN))

    def header(self) -> Spans:
        if self.view is None:
            return ()
        spans: list[tuple[str, Style]] = [(right(self.view.title, LABEL - 1) + " ", DIM)]
        for strip in self.view.strips:
            digits = self._digits()
            spans.append((f"{strip.name[: self._cells() - 1]:>{digits}}".ljust(self._cells()), DIM))
        return tuple(spans)

    def _cells(self) -> int:
        """Of a strip: its number, its shade or bar, a space."""
        return max((self.size.width - LABEL) // len(self.view.strips if self.view else "four"), SHORT + 1)

    def _digits(self) -> int:
        return min(NUMBER, self._cells() - 1)

    def _number(self, value: float) -> str:
        if self._digits() == NUMBER or value != value:
            return number(value)[-self._digits() :]
        return f"{value:+{SHORT}.1f}" if abs(value) < 100 else f"{value:+{SHORT}.0f}"

    def _ends(self) -> list[tuple[Strip, int]]:
        strips = () if self.view is None else self.view.strips
        return [(strip, LABEL + self._digits() + at * self._cells()) for at, strip in enumerate(strips)]
