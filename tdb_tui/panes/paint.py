"""Text in styles -> terminal rows of an exact width.  Every segment has a style: without one, NO_COLOR crashes."""

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tdb_tui.palette import PLAIN
from tdb_tui.panes.drawing import WHOLE, Drawing

Spans = tuple[tuple[str, Style], ...]
"One row: pieces of text and how each looks."


def fit(spans: Iterable[tuple[str, Style]], width: int, drawing: Drawing = WHOLE) -> Spans:
    """Exactly `width` cells: cropped or padded, equal neighbours merged, each piece of a row written once."""
    fitted: list[tuple[str, Style]] = []
    left = width
    for text, style in (*spans, (" " * width, PLAIN)):
        text, style = drawing.text(text), PLAIN if _unseen(text, style) else drawing.style(style)
        cells = cell_len(text)
        if cells > left:
            text, cells = set_cell_size(text, left), left
        if not cells:
            continue
        left -= cells
        if fitted and fitted[-1][1] == style:
            fitted[-1] = (fitted[-1][0] + text, style)
        else:
            fitted.append((text, style))
    return tuple(fitted)


def _unseen(text: str, style: Style) -> bool:
    """Whether a style changes nothing that is seen: of spaces only their background is."""
    return text.isspace() and style.bgcolor is None and not style.reverse and not style.underline


def merged(spans: Iterable[tuple[str, Style]]) -> Spans:
    """Equal neighbours as one: each piece costs a terminal two escape sequences."""
    found: list[tuple[str, Style]] = []
    for text, style in spans:
        if found and found[-1][1] == style:
            found[-1] = (found[-1][0] + text, style)
        else:
            found.append((text, style))
    return tuple(found)


def strip(spans: Spans, width: int) -> Strip:
    return Strip([Segment(text, style) for text, style in spans], width)


def changed_width(old: Spans, new: Spans) -> int:
    """How far to the right two rows of one width differ: what must be sent again, from the left."""
    same = 0
    for (old_text, old_style), (text, style) in zip(reversed(old), reversed(new), strict=False):
        if old_style != style:
            break
        if old_text != text:
            shared = next(
                (
                    n
                    for n, (a, b) in enumerate(zip(reversed(old_text), reversed(text), strict=False))
                    if a != b
                ),
                min(len(old_text), len(text)),
            )
            same += cell_len(text[len(text) - shared :]) if shared else 0
            break
        same += cell_len(text)
    return sum(cell_len(text) for text, _ in new) - same


def left(text: str, width: int) -> str:
    """`text` in `width` cells, flushed left, cropped where it is too long."""
    return set_cell_size(text, max(width, 0))


def right(text: str, width: int) -> str:
    """`text` in `width` cells, flushed right, cropped on the left where it is too long."""
    short = width - cell_len(text)
    return (
        " " * short + text if short >= 0 else set_cell_size(text[-width:] if width > 0 else "", max(width, 0))
    )
