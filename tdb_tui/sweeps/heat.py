"""A picture of a sweep as text: a heat table that fits a terminal, and the cells that stand out."""

from rich.cells import cell_len, set_cell_size

from tdb_tui.formats import signed
from tdb_tui.glyphs import shade
from tdb_tui.replies import columns
from tdb_tui.sweeps.values import Picture

WIDTH = 80
LEAST, MOST = 3, 8
"Cells of a column, the space before it included."
LABEL = 20
"Cells of a row's name at most."
FULL = 7
"As wide as a shade and a number."


def heat_table(picture: Picture, width: int = WIDTH) -> tuple[str, ...]:
    """Every cell, the columns in as many blocks as the width needs; columns in which nothing changes are named."""
    shown = [at for at in range(len(picture.columns)) if not _still(picture, at)]
    names = min(max((cell_len(label) for label in picture.rows.labels), default=0), LABEL) + 1
    room = max((width - names) // LEAST, 1)
    lines: list[str] = []
    for first in range(0, len(shown), room):
        lines += _block(picture, shown[first : first + room], names, width)
    still = [picture.columns.labels[at] for at in range(len(picture.columns)) if at not in shown]
    if not shown:
        lines.append("every cell is the baseline, exactly")
    elif still:
        lines += _wrapped(f"nothing changes at {picture.columns.name}", still, width)
    return (*lines, *(_legend(picture, shown, width) if shown else ()))


def sign_and_shade(value: float, scale: float) -> str:
    """`+▓`: two cells that say the same without colour; a dot where it is nothing, a blank where it is unknown."""
    if value != value:
        return "  "
    weight = abs(value) / scale if scale > 0 else 0.0
    return " " + shade(0.0) if weight < 0.05 else ("+" if value > 0 else "-") + shade(weight)


def ends_text(picture: Picture) -> str:
    """`0 = A +3.36, 1 = B -2.91`, or the baseline alone."""
    if picture.scalable and picture.other is not None:
        zero, one = picture.ends
        return f"0 = {zero} {signed(picture.baseline)}, 1 = {one} {signed(picture.other)}"
    return f"baseline {signed(picture.baseline)}"


def top_cells(picture: Picture, count: int) -> tuple[str, ...]:
    """The largest, with what their edit makes of the metric."""
    fractions = picture.fractions
    along = [picture.columns.name] if picture.columns.name == "amount" else []
    head = ["#", "node", *along, *(["normalised"] if fractions is not None else []), "metric", "Δ"]
    spread = picture.spread if picture.many else None
    if spread is not None:
        head += [f"95 % of {'normalised' if picture.is_normalised else 'Δ'}", "n"]
    rows = [head]
    for number, (row, column) in enumerate(picture.top(count), 1):
        cells = [str(number), picture.nodes[row][column], *(picture.columns.labels[column] for _ in along)]
        if fractions is not None:
            cells.append(f"{fractions[row, column]:+.3f}")
        cells += [signed(float(picture.values[row, column])), signed(float(picture.effects[row, column]))]
        if spread is not None:
            low, high = (signed(float(end[row, column])) for end in (spread.low, spread.high))
            cells += [f"{low} to {high}", str(int(spread.n[row, column]))]
        rows.append(cells)
    if len(rows) == 1:
        return ("no cell changes anything",)
    return columns(rows, "r-" + "r" * (len(head) - 2))


def scale_text(picture: Picture) -> str:
    """What the shades mean."""
    unit = "" if picture.is_normalised else " of what the edit adds to the metric"
    return f"shades: parts of {picture.scale:.2f}{unit}; · under 5 %, blank not measured"


def _still(picture: Picture, column: int) -> bool:
    """Whether every cell of a column has been measured and is exactly the baseline."""
    there = [row for row, nodes in enumerate(picture.nodes) if nodes[column]]
    return not picture.effects[there, column].any()  # NaN counts as something


def _block(picture: Picture, shown: list[int], names: int, width: int) -> list[str]:
    each = max(LEAST, min(MOST, (width - names) // max(len(shown), 1)))
    heads = [_head(picture, at, each) for at in shown]
    lines = [" " * names + "".join(heads)]
    for row, label in enumerate(picture.rows.labels):
        cells = "".join(_cell(picture, row, at, each) for at in shown)
        lines.append((set_cell_size(label, names - 1) + " " + cells).rstrip())
    return lines


def _head(picture: Picture, at: int, each: int) -> str:
    label = picture.columns.labels[at]
    if cell_len(label) >= each and picture.positions:
        label = str(picture.positions[at])
    return " " * max(each - cell_len(label), 1) + set_cell_size(label, min(cell_len(label), each - 1))


def _cell(picture: Picture, row: int, at: int, each: int) -> str:
    value = float(picture.shown[row, at])
    signs = sign_and_shade(value, picture.scale)
    if each >= FULL and value == value:
        signs = f"{signs[1]}{value:+.2f}" if abs(value) < 100 else f"{signs[1]}{value:+.0f}"
    return " " * (each - cell_len(signs)) + signs


def _legend(picture: Picture, shown: list[int], width: int) -> list[str]:
    """Which tokens the columns are."""
    if not picture.positions:
        return []
    named = []
    for at in shown:
        label, pos = picture.columns.labels[at], str(picture.positions[at])
        named.append(f"{pos}{'' if label == pos else f' {label}'} {picture.legend[at]}")
    return _wrapped("tokens:", named, width)


def _wrapped(before: str, items: list[str], width: int) -> list[str]:
    """Items in as few lines as hold them, the later ones indented."""
    lines = [before]
    for item in items:
        more = f" {item}," if item is not items[-1] else f" {item}"
        if cell_len(lines[-1] + more) > width:
            lines.append("  ")
        lines[-1] += more
    return lines
