"""The token strip: the prompt as text, the token cursor in brackets, a row of shades below each row of text."""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style

from tdb_tui.glyphs import AXIS, LONE_SPACE, SHADES, shade
from tdb_tui.palette import BOLD, DIM, PLAIN
from tdb_tui.panes.paint import Spans, left
from tdb_tui.panes.pane import Painted
from tdb_tui.views.data import TokensView

MOST_ROWS = 4
"Rows of text; a longer prompt scrolls with the token cursor."


@dataclass(frozen=True, slots=True)
class Cell:
    """One token's place: a separator and its text."""

    pos: int
    text: str
    joined: bool
    "Whether it goes on the word before it, with no space between."


def cells(texts: tuple[str, ...]) -> list[Cell]:
    return [
        Cell(pos, text.removeprefix(" ") or LONE_SPACE, pos > 0 and not text.startswith(" "))
        for pos, text in enumerate(texts)
    ]


def wrapped(texts: tuple[str, ...], width: int) -> list[list[Cell]]:
    """Tokens in rows of `width` cells, one left free at the end of each for the closing bracket."""
    rows: list[list[Cell]] = [[]]
    used = 0
    for cell in cells(texts):
        need = 1 + min(cell_len(cell.text), width - 2)
        if used + need > width - 1 and rows[-1]:
            rows.append([])
            used = 0
        rows[-1].append(cell)
        used += need
    return rows


def around(tokens: list[Cell], cursor: int, width: int) -> list[Cell]:
    """As many tokens about the cursor as one row takes, two of them after it where there are."""
    left_over = width - 1
    first, last = cursor, cursor - 1
    for pos in [
        *range(cursor, min(cursor + 3, len(tokens))),
        *range(cursor - 1, -1, -1),
        *range(cursor + 3, len(tokens)),
    ]:
        left_over -= 1 + min(cell_len(tokens[pos].text), width - 2)
        if left_over < 0 and pos != cursor:
            break
        first, last = min(first, pos), max(last, pos)
    return tokens[first : last + 1]


class Tokens(Painted):
    def __init__(self, name: str, opening: str) -> None:
        super().__init__(name)
        self.view = TokensView((), 0)
        self.opening = opening
        "The prompt, until it has been split into tokens."
        self.shaded = True
        self._rows: list[list[Cell]] = [[]]

    def show(self, view: TokensView) -> None:
        if view.texts != self.view.texts:
            self._rows = wrapped(view.texts, self.size.width or 80)
        self.view = view
        self.update()

    def on_resize(self) -> None:
        self._rows = wrapped(self.view.texts, self.size.width)
        super().on_resize()

    def wanted_rows(self, width: int) -> int:
        """How many rows of text the prompt needs at this width, within the limit."""
        return min(len(wrapped(self.view.texts, width)), MOST_ROWS)

    def paint(self, y: int) -> Spans:
        if not self.view.texts:
            return ((self.opening, PLAIN),) if y == 0 else ()
        per_row = 2 if self.shaded else 1
        rows = self._in_sight(max(self.size.height // per_row, 1))
        if y // per_row >= len(rows):
            return ()
        row = rows[y // per_row]
        if y % per_row == 0:
            return self._text(row)
        return self._shades(row, last=y + per_row >= self.size.height)

    def _in_sight(self, shown: int) -> list[list[Cell]]:
        """Rows of text, the token cursor's always among them."""
        if shown == 1 and len(self._rows) > 1:
            return [around(cells(self.view.texts), self.view.cursor, self.size.width)]
        cursor = next((n for n, row in enumerate(self._rows) if row and row[-1].pos >= self.view.cursor), 0)
        first = max(0, min(cursor - shown // 2, len(self._rows) - shown))
        return self._rows[first : first + shown]

    def _text(self, row: list[Cell]) -> Spans:
        spans: list[tuple[str, Style]] = []
        cursor = self.view.cursor
        for cell in row:
            before = "]" if cell.pos == cursor + 1 and cell is not row[0] else AXIS if cell.joined else " "
            here = cell.pos == cursor
            spans.append(("[" if here else before, BOLD if here or before == "]" else DIM))
            spans.append(
                (left(cell.text, min(cell_len(cell.text), self.size.width - 2)), BOLD if here else PLAIN)
            )
        if row[-1].pos == cursor:
            spans.append(("]", BOLD))
        return tuple(spans)

    def _shades(self, row: list[Cell], last: bool) -> Spans:
        spans: list[tuple[str, Style]] = []
        used = 0
        for cell in row:
            width = min(cell_len(cell.text), self.size.width - 2)
            weight = self.view.shades[cell.pos] if cell.pos < len(self.view.shades) else 0.0
            sign = shade(weight)
            block = (sign if sign == SHADES[0] else sign * width).center(width) if width else ""
            spans.append((f" {block}", PLAIN))
            used += 1 + width
        caption = self.view.caption if last else ""
        if caption and used + len(caption) + 2 <= self.size.width:
            spans.append((" " * (self.size.width - used - len(caption) - 1) + caption, DIM))
        return tuple(spans)
