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

CLOSE, APART = 1, 3
"Cells between tokens, and between those that have numbers."


@dataclass(frozen=True, slots=True)
class Cell:
    """One token's place: a separator and its text."""

    pos: int
    text: str
    joined: bool
    "Whether it goes on the word before it, with no space between."
    width: int
    "Of the text, and what is left free after it."

    @property
    def slack(self) -> int:
        return max(self.width - cell_len(self.text), 0)


def cells(
    texts: tuple[str, ...], width: int, beside: tuple[str, ...] = (), numbers: bool = False
) -> list[Cell]:
    """Tokens, none wider than a row of `width`; as wide as those `beside` them where there are as many."""
    found: list[Cell] = []
    for pos, text in enumerate(texts):
        shown = [_shown(each, pos, numbers) for each in (text, *beside[pos : pos + 1])]
        joined = numbers or (pos > 0 and not text.startswith(" "))
        found.append(Cell(pos, shown[0], joined, min(max(map(cell_len, shown)), width - 2)))
    return found


def _shown(text: str, pos: int, numbers: bool) -> str:
    text = text.removeprefix(" ") or LONE_SPACE
    return f"{pos} {text}" if numbers else text


def room_of(row: list[Cell], apart: int) -> int:
    """Cells of a row with what stands between its tokens, and the closing bracket."""
    return sum(cell.width + apart for cell in row) - apart + 2


def wrapped(row: list[Cell], width: int) -> list[list[Cell]]:
    """Tokens in rows of `width` cells, one left free at the end of each for the closing bracket."""
    rows: list[list[Cell]] = [[]]
    used = 0
    for cell in row:
        need = CLOSE + cell.width
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
        left_over -= CLOSE + tokens[pos].width
        if left_over < 0 and pos != cursor:
            break
        first, last = min(first, pos), max(last, pos)
    return tokens[first : last + 1]


class Tokens(Painted):
    """Text and shades, a row each; below them prompt B, where there is one and room for it."""

    def __init__(self, name: str, opening: str) -> None:
        super().__init__(name)
        self.view = TokensView((), 0)
        self.opening = opening
        "The prompt, until it has been split into tokens."
        self.shaded = True
        self._rows: list[list[Cell]] = [[]]
        self._apart = CLOSE

    def show(self, view: TokensView) -> None:
        changed = (view.texts, view.others) != (self.view.texts, self.view.others)
        self.view = view
        if changed:
            self._lay_out(self.size.width or 80)
        self.update()

    def on_resize(self) -> None:
        self._lay_out(self.size.width)
        super().on_resize()

    def _lay_out(self, width: int) -> None:
        """With numbers, and each token as wide as that of prompt B, where a row has room for it."""
        texts, beside = self.view.texts, self._beside
        for row, apart in (
            (cells(texts, width, beside, numbers=True), APART),
            (cells(texts, width, beside), CLOSE),
        ):
            if room_of(row, apart) <= width:
                self._rows, self._apart = [row], apart
                return
        self._rows, self._apart = wrapped(cells(texts, width), width), CLOSE

    @property
    def _beside(self) -> tuple[str, ...]:
        """Prompt B's tokens where each stands below one of A's."""
        return self.view.others if len(self.view.others) == len(self.view.texts) else ()

    def wanted(self, width: int) -> tuple[int, bool]:
        """How many rows of text the prompt needs at this width, within the limit; whether there is a prompt B."""
        rows = wrapped(cells(self.view.texts, width), width)
        return min(len(rows), MOST_ROWS), bool(self.view.others)

    def paint(self, y: int) -> Spans:
        if not self.view.texts:
            return ((self.opening, PLAIN),) if y == 0 else ()
        per_row = 2 if self.shaded else 1
        rows = self._in_sight(max(self.size.height // per_row, 1))
        if y // per_row >= len(rows):
            return self._other() if self.view.others and len(self._rows) == 1 else ()
        row = rows[y // per_row]
        if y % per_row == 0:
            return self._text(row)
        return self._shades(row, last=y // per_row == len(rows) - 1)

    def _in_sight(self, shown: int) -> list[list[Cell]]:
        """Rows of text, the token cursor's always among them."""
        if shown == 1 and len(self._rows) > 1:
            return [around(cells(self.view.texts, self.size.width), self.view.cursor, self.size.width)]
        cursor = next((n for n, row in enumerate(self._rows) if row and row[-1].pos >= self.view.cursor), 0)
        first = max(0, min(cursor - shown // 2, len(self._rows) - shown))
        return self._rows[first : first + shown]

    def _text(self, row: list[Cell]) -> Spans:
        """Tokens, the cursor's in brackets: the closing one stands in what is free after it."""
        spans: list[tuple[str, Style]] = []
        closing = False
        for cell in row:
            here = cell.pos == self.view.cursor
            before = list(self._gap(cell, first=cell is row[0]))
            before[0] = "]" if closing else before[0]
            before[-1] = "[" if here else before[-1]
            spans += [(sign, BOLD if sign in "[]" else DIM) for sign in before]
            closing = here and not cell.slack
            slack = f"]{' ' * (cell.slack - 1)}" if here and cell.slack else " " * cell.slack
            spans += [(left(cell.text, cell.width - cell.slack), BOLD if here else PLAIN), (slack, BOLD)]
        return (*spans, ("]" if closing else "", BOLD))

    def _gap(self, cell: Cell, first: bool) -> str:
        """What stands before a token."""
        sign = AXIS if cell.joined else " "
        if first:
            return " " if self._apart == APART or not cell.joined else AXIS
        return f" {sign} " if self._apart == APART else sign

    def _shades(self, row: list[Cell], last: bool) -> Spans:
        spans: list[tuple[str, Style]] = []
        used = 0
        for cell in row:
            width = cell.width - cell.slack
            weight = self.view.shades[cell.pos] if cell.pos < len(self.view.shades) else 0.0
            sign = shade(weight)
            block = (sign if sign == SHADES[0] else sign * width).center(width) if width else ""
            gap = 1 if cell is row[0] else self._apart
            spans.append((f"{' ' * gap}{block}{' ' * cell.slack}", PLAIN))
            used += gap + cell.width
        return (*spans, *self._caption(self.view.caption if last else "", used))

    def _other(self) -> Spans:
        """Prompt B, what it does not share with A in bold."""
        texts, others, width = self.view.texts, self.view.others, self.size.width
        numbers = self._apart == APART
        row = cells(others, width, texts if self._beside else (), numbers)
        spans: list[tuple[str, Style]] = []
        used = 0
        for cell in row:
            first = cell is row[0]
            gap = "B" if first else self._gap(cell, first)
            differs = bool(self._beside) and others[cell.pos] != texts[cell.pos]
            spans += [(gap, DIM), (left(cell.text, cell.width), BOLD if differs else PLAIN)]
            used += len(gap) + cell.width
        return (*spans, *self._caption(self.view.other, used))

    def _caption(self, text: str, used: int) -> Spans:
        """At the right end of a row, where there is room."""
        if not text or used + cell_len(text) + 2 > self.size.width:
            return ()
        return ((" " * (self.size.width - used - cell_len(text) - 1) + text, DIM),)
