"""The page of a component: what is said of it, and texts with their tokens shaded; or what a search has found."""

import re
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style

from tdb_tui.glyphs import CURSOR
from tdb_tui.palette import BLUE, BOLD, DIM, ORANGE, PLAIN, SELECTED
from tdb_tui.palette import CURSOR as CURSOR_STYLE
from tdb_tui.panes.paint import Spans, left, right
from tdb_tui.panes.pane import Pane
from tdb_tui.views.data import PageRow, PageView, ShadedRow, TextRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Acts = NDArray[np.float32]

LABEL = 9
UNBROKEN = "\N{NO-BREAK SPACE}"
STEPS = len(BLUE)
MOST_READ = 3
"Tokens named for the token cursor."


class Page(Pane):
    """Blue is activation, stronger the larger; of a head blue is where it reads, orange what it reads there.

    With the token cursor on a head's token, orange is what that token reads, and blue where it is read.
    """

    number = "E"
    filters = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.view = PageView("page", ())
        self.token: int | None = None
        "The token cursor, in the selected row of tokens; None and it is on none."
        self._lines: tuple[tuple[PageRow, str, bool], ...] = ()
        "What stands in each line: the row, its part of the text, whether the row begins there."
        self._width = 0

    def show(self, view: PageView | None) -> None:
        if view is not None and view.title != self.view.title:
            self.cursor = self.top = 0
            self.token = None
        self.view = view or self.view
        self._lay_out()
        self.move_to(self.cursor)

    def _lay_out(self) -> None:
        self._width = self.size.width
        room = max(self._width - 2 - LABEL - 1, 20)
        self._lines = tuple(
            (row, text, not number)
            for row in self.view.rows
            for number, text in enumerate(_wrapped(row, room))
        )

    def on_resize(self) -> None:
        self._lay_out()
        super().on_resize()

    def count(self) -> int:
        if self._width != self.size.width:
            self._lay_out()
        return len(self._lines)

    def shows(self) -> object:
        return self.view

    def title(self) -> str:
        pointed = self.token is not None  # what is said of the token cursor needs the room
        return self.view.title if pointed or not self.view.what else f"{self.view.title} · {self.view.what}"

    def heads(self) -> tuple[tuple[str, int], ...]:
        return ((self._pointed(), self.size.width - 2),)

    def row(self, at: int, selected: bool) -> Spans:
        row, text, first = self._lines[at]
        pointed = CURSOR if selected and self.active else " "
        if isinstance(row, ShadedRow):
            token = self.token if selected else None
            return (
                (pointed, SELECTED),
                (right(row.label, LABEL), PLAIN),
                (" ", PLAIN),
                *_shaded(row, token, self.size.width - LABEL - 2),
            )
        label = row.label if first else ""
        named = BOLD if row.node and label == row.node else DIM
        style = DIM if row.dim else BOLD if row.label == "says" else PLAIN
        return (pointed, SELECTED), (left(label, LABEL), named), (" ", PLAIN), (text, style)

    def below(self, at: int) -> Spans:
        return ((" info NODE shows a component here", DIM),) if at == 0 and not self.view.rows else ()

    def node(self) -> str | None:
        """The component that the selected row is about, else the page's."""
        row = self._chosen()
        return (row.node if isinstance(row, TextRow) and row.node else self.view.node) or None

    def other(self) -> str:
        """The component that the selected row leads to; empty where it leads to none."""
        row = self._chosen()
        return row.node if isinstance(row, TextRow) else ""

    def _chosen(self) -> PageRow | None:
        return self._lines[self.cursor][0] if self.cursor < self.count() else None

    def move_to(self, at: int) -> None:
        if at != self.cursor:
            self.token = None
        super().move_to(at)

    def move_token(self, by: int) -> None:
        """Move the token cursor of the selected row; it begins at the peak."""
        row = self._chosen()
        if isinstance(row, ShadedRow):
            at = row.peak if self.token is None else self.token + by
            self.token = max(0, min(at, len(row.texts) - 1))
            self.update()

    def _pointed(self) -> str:
        """What the component does at the token cursor."""
        row = self._chosen()
        if not isinstance(row, ShadedRow) or self.token is None:
            return ""
        own = f"'{row.texts[self.token]}'"
        if row.acts.ndim == 1:
            return f"{own} {row.acts[self.token]:.4g}"
        reads, read_by = row.acts[self.token, : self.token + 1], row.acts[self.token :, self.token]
        return f"{own} reads {_most(row, reads, 0)} · read by {_most(row, read_by, self.token)}"


def _most(row: ShadedRow, acts: "Acts", start: int) -> str:
    """The tokens with the largest activations, with these; `start` is the first one's place."""
    best = (-acts).argsort(kind="stable")[:MOST_READ]
    named = [f"'{row.texts[start + int(at)]}' {acts[at]:.3g}" for at in best if acts[at] > 0.005 * row.top]
    return " ".join(named) or "nothing"


def _shaded(row: ShadedRow, token: int | None, width: int) -> Spans:
    """As many tokens as fit around the token cursor, else around the peak; `[ ]` and `< >` say what colours do."""
    levels, texts = _levels(row, token), _marked(row)
    at, key = row.peak if token is None else token, row.key if token is None else None
    first, last = _window(texts, at, key, width)
    far: Spans = ()
    if key is not None and not first <= key < last:  # too far back to be in it
        far = ((f"{texts[key]} ", heat(levels[key])),)
        first, last = _window(texts, at, None, width - cell_len(far[0][0]))
    return (
        *far,
        ("…" if first else "", DIM),
        *((texts[n], CURSOR_STYLE if n == token else heat(levels[n])) for n in range(first, last)),
        ("…" if last < len(texts) else "", DIM),
    )


def _marked(row: ShadedRow) -> list[str]:
    """The tokens, `[ ]` around the peak, of a head `< >` around what is read there."""
    texts = list(row.texts)
    if row.key is not None:
        texts[row.key] = f"<{texts[row.key]}>"
    if row.key != row.peak:
        texts[row.peak] = f"[{texts[row.peak]}]"
    return texts


def _window(texts: list[str], at: int, also: int | None, width: int) -> tuple[int, int]:
    """From which token to before which: all where that fits, else those around `at`, and to `also` where it is near."""
    widths = [cell_len(text) for text in texts]
    room = width - 2
    if sum(widths) <= width:
        return 0, len(texts)
    first = last = at
    if also is not None and sum(widths[also : at + 1]) <= room * 2 // 3:
        first = also
    used = sum(widths[first : last + 1])
    while True:
        grown = False
        # text before it says more of why than text after
        for _ in range(2):
            if first and used + widths[first - 1] <= room:
                first -= 1
                used += widths[first]
                grown = True
        if last + 1 < len(texts) and used + widths[last + 1] <= room:
            last += 1
            used += widths[last]
            grown = True
        if not grown:
            return first, last + 1


def _levels(row: ShadedRow, token: int | None) -> list[int]:
    """Strengths from -STEPS to STEPS: below zero is orange, what is read; above, blue."""
    acts, top = row.acts, row.top
    if acts.ndim == 1:
        return [_level(float(value), top) for value in acts]
    if token is None:
        blue, orange = acts.max(1), acts.max(0)
    else:
        blue, orange = acts[:, token], acts[token]
    pairs = ((_level(float(a), top), _level(float(b), top)) for a, b in zip(blue, orange, strict=True))
    return [a if a >= b else -b for a, b in pairs]


def _level(value: float, top: float) -> int:
    return max(0, min(round(value / top * STEPS + 0.25), STEPS)) if top > 0 else 0


def heat(level: int) -> Style:
    return (BLUE if level > 0 else ORANGE)[abs(level) - 1] if level else PLAIN


def _wrapped(row: PageRow, room: int) -> tuple[str, ...]:
    """The lines of a row; a token is not broken at its leading space, nor parted from its number."""
    if isinstance(row, ShadedRow):
        return ("",)
    lines = wrap(re.sub(r"' (?=\S)", f"'{UNBROKEN}", row.text), room, break_on_hyphens=False)
    return tuple(line.replace(UNBROKEN, " ") for line in lines) or ("",)
