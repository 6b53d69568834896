"""Pane 3: a head's attention as a map, queries downwards and keys across; or a layer's heads, a row each.

Where there is room a cell has a sign for its weight; a long prompt has half blocks, two queries a row, in greys.
"""

from rich.cells import cell_len
from rich.style import Style

from tdb_tui import palette
from tdb_tui.glyphs import CURSOR, NEGATIVE, POSITIVE, SHADES, shade
from tdb_tui.palette import BOLD, DIM, PLAIN, SELECTED
from tdb_tui.panes.drawing import Drawing
from tdb_tui.panes.paint import Spans, left, merged, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import AttentionView

LABEL = 7
"Cells of a row's label, its cursor included."
FEW = 24
"Tokens up to which each has a row and more than one cell."
UPPER, LOWER, FULL = "▀", "▄", "█"
AHEAD = 3
"Keys kept in sight after the token cursor's."


class Attention(Pane):
    """Its first row names the keys; its cursor is the token cursor, of a layer the head shown."""

    number = 3

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view: AttentionView | None = None
        self._first = 0
        "The first key in sight."

    def show(self, view: AttentionView) -> None:
        self.view = view
        self.keep_in_sight()
        self.update()

    def keep_in_sight(self) -> None:
        if self.view is not None:
            self.cursor = self.view.row // self._per_row
            shown = max(self.size.width - LABEL, 1) // self._cells
            last = self.view.query + AHEAD
            self._first = max(min(self._first, self.view.query - AHEAD), last - shown + 1)
            self._first = max(0, min(self._first, len(self.view.labels) - shown))
        super().keep_in_sight()

    def count(self) -> int:
        return 0 if self.view is None else -(-len(self.view.rows) // self._per_row)

    @property
    def header_rows(self) -> int:
        return 1

    @property
    def _cells(self) -> int:
        """Columns of a key."""
        assert self.view is not None  # asked for rows of one
        keys, room = len(self.view.labels), max(self.size.width - LABEL, 1)
        return 1 if keys > FEW else max(min(room // max(keys, 1), 3), 1)

    @property
    def _per_row(self) -> int:
        """Queries of a row: two in half blocks, where those can be told apart and signs are not needed."""
        view = self.view
        plain = view is None or view.signed or not view.causal or not self.drawing.greys
        return 1 if plain or self._cells > 1 else 2

    def title(self) -> str:
        view = self.view
        if view is None:
            return "attention"
        if not view.causal:
            return f"attention of layer {view.layer}"
        return f"attention {view.head}" + ("" if view.by == "weights" else f" by {view.by}")

    def heads(self) -> tuple[tuple[str, int], ...]:
        """The keys read most, as many as there is room for."""
        if self.view is None:
            return ()
        room = self.size.width - len(self.title()) - 6
        parts = self.view.summary.split(" · ")
        while parts and cell_len(" · ".join(parts)) > room:
            parts.pop()
        return ((" · ".join(parts), self.size.width - 2),)

    def header(self) -> Spans:
        view = self.view
        if view is None:
            return ()
        cells = self._cells
        names = [
            (left(_label(text), cells), BOLD if at == view.query else DIM)
            for at, text in enumerate(view.labels)
        ]
        return merged(((" " * LABEL, PLAIN), *names[self._first :]))

    def row(self, at: int, selected: bool) -> Spans:
        view = self.view
        assert view is not None  # count is 0 without one
        first = at * self._per_row
        named = view.row if selected else first
        label = right(_label(view.rows[named]), LABEL - 2)
        head = ((CURSOR if selected else " ", SELECTED), (f"{label} ", SELECTED if selected else DIM))
        if self._per_row == 1:
            return merged((*head, *self._signs(first)))
        return merged((*head, *self._halves(first)))

    def below(self, at: int) -> Spans:
        """Where there is room below the map, what its signs stand for."""
        return self._legend() if at == self.count() > 0 else ()

    def _legend(self) -> Spans:
        """`0 ·░▒▓█ 1`, or of effects `-0.4 -▓-░ ·+░+▓ +0.4`."""
        view = self.view
        assert view is not None  # it has rows
        if view.signed:
            signs = [_signed(part, 2) for part in (-1.0, -0.3, 0.0, 0.3, 1.0)]
            ends = f"-{view.scale:.2g} ", f" +{view.scale:.2g}"
        elif self._per_row == 1:
            signs = [_weight(part, 2, self.drawing) for part in (0.0, 0.1, 0.3, 0.6, 1.0)]
            ends = "0 ", f" {view.scale:.2g}"
        else:
            levels = range(palette.LEVELS)
            signs = [(FULL, palette.filled(level, None, self.drawing.dark)) for level in levels]
            ends = "0 ", f" {view.scale:.2g}"
        return merged(((" " * LABEL, PLAIN), (ends[0], DIM), *signs, (ends[1], DIM)))

    def text(self, at: int) -> str:
        if self.view is None:
            return ""
        first = at * self._per_row
        return " ".join(self.view.rows[first : first + self._per_row])

    def cells(self, at: int) -> tuple[str, ...]:
        """A query and its weights; where two share a row, the first of them."""
        view = self.view
        assert view is not None  # count is 0 without one
        query = at * self._per_row
        return view.rows[query], *(
            f"{value:.9g}" for value in view.values[query, : self._keys(query)].tolist()
        )

    def _keys(self, row: int) -> int:
        """How many keys a row has."""
        assert self.view is not None  # asked for rows of one
        return (row if self.view.causal else self.view.query) + 1

    def _part(self, row: int) -> list[float]:
        """A row's values that are in sight, as parts of the full one, from -1 to 1."""
        view = self.view
        assert view is not None  # asked for rows of one
        if row >= len(view.rows):
            return []
        last = min(self._keys(row), self._first + max(self.size.width - LABEL, 1) // self._cells)
        return [value / (view.scale or 1.0) for value in view.values[row, self._first : last].tolist()]

    def _signs(self, row: int) -> Spans:
        cells = self._cells
        assert self.view is not None  # asked for rows of one
        if self.view.signed:
            return tuple(_signed(part, cells) for part in self._part(row))
        return tuple(_weight(part, cells, self.drawing) for part in self._part(row))

    def _halves(self, row: int) -> Spans:
        above, below = self._part(row), self._part(row + 1)
        dark, level = self.drawing.dark, palette.level
        found = [
            (UPPER, palette.filled(level(a), level(b), dark)) for a, b in zip(above, below, strict=False)
        ]
        found += [(LOWER, palette.filled(level(b), None, dark)) for b in below[len(above) :]]
        found += [(UPPER, palette.filled(level(a), None, dark)) for a in above[len(below) :]]
        return tuple(found)


def _label(text: str) -> str:
    return text.strip() or (text if cell_len(text) else " ")


def _weight(part: float, cells: int, drawing: Drawing) -> tuple[str, Style]:
    """A weight from 0 to 1 as a shade; greys tell apart what has the same shade."""
    style = palette.dithered(palette.level(part), drawing.dark) if drawing.greys else PLAIN
    return shade(part) * cells, style


def _signed(part: float, cells: int) -> tuple[str, Style]:
    """A value from -1 to 1 whose sign is seen without colour too: `+▓`, in one cell `█` or `▒`."""
    if abs(part) < 0.05:
        return SHADES[0].rjust(cells), PLAIN
    sign = (POSITIVE if part > 0 else NEGATIVE) if cells == 1 else ("+" if part > 0 else "-")
    return (sign + shade(abs(part)) * (cells - 1))[:cells], palette.signed(part, 1.0)
