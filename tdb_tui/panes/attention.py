"""Pane 3: a head's attention as a map, queries downwards and keys across, in five shades."""

from rich.cells import cell_len

from tdb_tui.glyphs import CURSOR, SHADES
from tdb_tui.palette import DIM, PLAIN, SELECTED
from tdb_tui.panes.paint import Spans, left, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import AttentionView

LABEL = 7
"Cells of a row's label, its cursor included."


class Attention(Pane):
    """Its first row names the keys; its cursor is the token cursor."""

    number = 3

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: AttentionView | None = None

    def show(self, view: AttentionView) -> None:
        self.view = view
        self.cursor = view.query
        self.keep_in_sight()
        self.update()

    def count(self) -> int:
        return 0 if self.view is None else len(self.view.labels)

    @property
    def header_rows(self) -> int:
        return 1

    def title(self) -> str:
        return "attention" if self.view is None else f"attention {self.view.head}"

    def heads(self) -> tuple[tuple[str, int], ...]:
        """The keys read most, as many as there is room for."""
        if self.view is None:
            return ()
        room = self.size.width - len(self.title()) - 6
        parts = self.view.summary.split(" · ")
        while parts and cell_len(" · ".join(parts)) > room:
            parts.pop()
        return ((" · ".join(parts), self.size.width - 2),)

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        first, cells = self._window()
        label = right(_label(view.labels[at]), LABEL - 2)
        signs = "".join(
            SHADES[level] * cells if level >= 0 else " " * cells for level in view.levels[at, first:].tolist()
        )
        style = SELECTED if selected else PLAIN
        return (
            (CURSOR if selected else " ", SELECTED),
            (f"{label} ", style if selected else DIM),
            (signs, style),
        )

    def text(self, at: int) -> str:
        return "" if self.view is None else self.view.labels[at]

    def header(self) -> Spans:
        view = self.view
        if view is None:
            return ()
        first, cells = self._window()
        names = "".join(left(_label(label), cells) for label in view.labels[first:])
        return ((" " * LABEL, PLAIN), (names, DIM))

    def _window(self) -> tuple[int, int]:
        """The first key in sight and the cells of each; a long prompt scrolls to the key that is read most."""
        view = self.view
        assert view is not None  # only called with one
        room, keys = max(self.size.width - LABEL, 1), len(view.labels)
        if 3 * keys <= room:
            return 0, 3
        if 2 * keys <= room:
            return 0, 2
        if keys <= room:
            return 0, 1
        return max(0, min(view.peak - room // 2, keys - room)), 1


def _label(text: str) -> str:
    return text.strip() or (text if cell_len(text) else " ")
