"""Pane 0: what the selected frame was made of, and that of what, as a tree."""

from rich.cells import cell_len

from tdb_tui.glyphs import CURSOR
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.listing import bar
from tdb_tui.panes.paint import Spans, left
from tdb_tui.panes.pane import Pane
from tdb_tui.panes.ranked import number
from tdb_tui.views.branches import TreeRow, TreeView

NUMBER = 7
"Cells of an effect, a space before it."


class Tree(Pane):
    number = 0
    filters = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: TreeView | None = None

    def show(self, view: TreeView | None) -> None:
        """Another root starts at its first row; folds and edits keep the cursor on its branch."""
        if view is not None and self.view is not None:
            same = view.frame == self.view.frame
            selected = self.selected()
            ids = [row.id for row in view.rows]
            here = ids.index(selected.id) if selected and selected.id in ids else self.cursor
            self.cursor = here if same else 0
        self.view = view or self.view
        self.cursor = max(0, min(self.cursor, self.count() - 1))
        self.keep_in_sight()
        self.update()

    def selected(self) -> TreeRow | None:
        return None if self.view is None or not self.view.rows else self.view.rows[self.cursor]

    def count(self) -> int:
        return 0 if self.view is None else len(self.view.rows)

    def shows(self) -> object:
        return self.view

    def title(self) -> str:
        if self.view is None:
            return "upstream"
        of = f" of frame {self.view.frame}" if self.view.frame else ""
        return f"upstream{of} {self.view.value:+.2f}"

    def heads(self) -> tuple[tuple[str, int], ...]:
        return ((self.extent(), self.size.width - 2),) if self.words or self.count() > self.rows_shown else ()

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        row = view.rows[at]
        bars = 9 if self.size.width >= 40 else 0
        before = f"{row.guide}{row.sign}"
        room = self.size.width - 1 - cell_len(before) - NUMBER - 1 - bars
        name = min(cell_len(row.node), room)
        via = f" via {row.via}" if row.via else ""
        return (
            (CURSOR, SELECTED) if selected else self.sign(row.node),
            (before, DIM),
            (left(row.node, name), SELECTED if selected else PLAIN),
            (left(via, room - name), DIM),
            (f" {number(row.effect)} ", PLAIN),
            *(bar(row.effect, view.scale, bars // 2, bars - bars // 2 - 1, view.root) if bars else ()),
        )

    def below(self, at: int) -> Spans:
        empty = self.view is not None and not self.view.rows and at == 0
        return ((" nothing that moves it so much", DIM),) if empty else ()
