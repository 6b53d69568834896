"""Panes 5, 6, 7, 9 and I: short tables whose rows are text already."""

from tdb_tui.glyphs import CURSOR
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.paint import Spans
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import RowsView


class Rows(Pane):
    filters = True

    def __init__(self, name: str, number: int | str, title: str) -> None:
        super().__init__(name)
        self.number = number
        self.view = RowsView(title, ())

    def show(self, view: RowsView) -> None:
        selected, self.view = self.node(), view
        if selected in view.nodes:  # it may stand elsewhere by now
            self.cursor = view.nodes.index(selected)
        self.cursor = max(0, min(self.cursor, len(view.rows) - 1))
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return len(self.view.rows)

    def shows(self) -> object:
        return self.view

    def title(self) -> str:
        return self.view.title

    def heads(self) -> tuple[tuple[str, int], ...]:
        """Which rows are in sight, where not all are."""
        return ((self.extent(), self.size.width - 2),) if self.words or self.count() > self.rows_shown else ()

    def row(self, at: int, selected: bool) -> Spans:
        pointed = selected and self.active
        return ((CURSOR if pointed else " ", SELECTED), (self.view.rows[at], SELECTED if pointed else PLAIN))

    def below(self, at: int) -> Spans:
        return ((f" {self.view.empty}", DIM),) if at == 0 and not self.view.rows else ()

    def node(self) -> str | None:
        return self.view.nodes[self.cursor] if self.cursor < len(self.view.nodes) else None
