"""Below the map of attention: every head of the layer as one small row, read from the token cursor."""

from rich.style import Style

from tdb_tui import palette
from tdb_tui.glyphs import CURSOR, shade
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.paint import Spans, merged
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import HeadsView

LABEL = 5
"Cells of a head's name, `>` before the one whose map is shown."


class Heads(Pane):
    """Two heads a row.  No key goes here: brackets choose a head."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: HeadsView | None = None

    def show(self, view: HeadsView) -> None:
        self.view = view
        self.update()

    def title(self) -> str:
        view = self.view
        return (
            "heads"
            if view is None
            else f"heads of layer {view.layer}, from @{view.where}: [ ] go through them"
        )

    def count(self) -> int:
        return 0 if self.view is None else -(-len(self.view.values) // 2)

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        half = self.size.width // 2
        spans: list[tuple[str, Style]] = []
        for index in range(2 * at, min(2 * at + 2, len(view.values))):
            spans += self._head(view, index, half - 1)
            spans.append((" ", PLAIN))
        return merged(spans)

    def _head(self, view: HeadsView, index: int, width: int) -> Spans:
        here = index == view.index
        last = view.query + 1
        keys = view.values[index, max(0, last - max(width - LABEL, 0)) : last].tolist()
        name = f"{CURSOR if here else ' '}H{index}".ljust(LABEL)
        found = [(shade(weight), self._style(weight)) for weight in keys]
        gap = width - LABEL - len(found)
        return ((name, SELECTED if here else DIM), *found, (" " * gap, PLAIN))

    def _style(self, weight: float) -> Style:
        return palette.dithered(palette.level(weight), self.drawing.dark) if self.drawing.greys else PLAIN
