"""A sweep's result as a table of cells and as an SVG: made of the JSON that the command answers with."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

CELL, TEXT, CHAR = 26, 12, 7.2
"Pixels: of a cell, of a letter's height, of a letter's width."
NEGATIVE, ZERO, POSITIVE = (179, 88, 6), (247, 247, 247), (33, 102, 172)
"Orange, white, blue: apart for every kind of colour blindness, and equally strong."
UNKNOWN = "#d9d9d9"


def cell_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a cell: its labels, its address, the metric after the edit, and what else is known of it."""
    rows, columns = (axis["labels"] for axis in result["axes"])
    names = [axis["name"] for axis in result["axes"]]
    grids = {key: result[key] for key in GRIDS if result.get(key) is not None}
    return [
        {
            names[0]: row,
            names[1]: column,
            **{COLUMN.get(key, key): grid[at][by] for key, grid in grids.items()},
        }
        for at, row in enumerate(rows)
        for by, column in enumerate(columns)
        if result["nodes"][at][by]
    ]


GRIDS = ("nodes", "values", "effects", "normalised", "low", "high", "n", "commands")
COLUMN = {"nodes": "node", "values": "value", "effects": "effect", "commands": "command"}


def svg(result: Mapping[str, Any]) -> str:
    """A heat map: title, both axes with their labels, a cell's number in its tooltip, and the scale."""
    rows, columns = (axis["labels"] for axis in result["axes"])
    shown = result["normalised"] if result["shown"] == "normalised" else result["effects"]
    scale = max((abs(x) for row in shown for x in row if x is not None and x == x), default=0.0)
    left = 30 + CHAR * max(map(len, (*rows, result["axes"][0]["name"])))
    top = 64 + CHAR * max((len(label) for label in columns), default=0)
    width = max(left + CELL * len(columns) + 20, CHAR * len(result["title"]) + 20)
    height = top + CELL * len(rows) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="{TEXT}">',
        f'<rect width="100%" height="100%" fill="white"/>{_text(10, 20, result["title"])}',
        _text(10, 38, result["scale"]),
        *_axis_labels(rows, columns, left, top),
        _text(left, top - 8 - CHAR * max(map(len, columns), default=0), f"{result['axes'][1]['name']} →"),
        _text(6, top - 6, result["axes"][0]["name"] + " ↓"),
    ]
    for at, row in enumerate(shown):
        for by, value in enumerate(row):
            if result["nodes"][at][by]:
                x, y = left + CELL * by, top + CELL * at
                title = _tooltip(result, at, by)
                parts.append(
                    f'<rect x="{x:.0f}" y="{y:.0f}" width="{CELL}" height="{CELL}" fill="{colour(value, scale)}" '
                    f'stroke="white"><title>{_clean(title)}</title></rect>'
                )
    return "\n".join([*parts, *_scale_bar(scale, left, height - 40), "</svg>"])


def colour(value: float | None, scale: float) -> str:
    """Blue for positive, orange for negative, white for nothing, grey for what is not known."""
    if value is None or value != value:
        return UNKNOWN
    weight = min(abs(value) / scale, 1.0) if scale > 0 else 0.0
    end = POSITIVE if value > 0 else NEGATIVE
    mixed = (round(a + weight * (b - a)) for a, b in zip(ZERO, end, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _tooltip(result: Mapping[str, Any], at: int, by: int) -> str:
    parts = [result["nodes"][at][by]]
    for key in ("values", "normalised", "low", "high"):
        grid = result.get(key)
        if grid is not None and grid[at][by] is not None:
            parts.append(f"{COLUMN.get(key, key)} {grid[at][by]:+.4f}")
    return "  ".join(parts)


def _axis_labels(rows: Sequence[str], columns: Sequence[str], left: float, top: float) -> list[str]:
    found = [
        _text(left - 6, top + CELL * at + CELL / 2 + TEXT / 3, label, ' text-anchor="end"')
        for at, label in enumerate(rows)
    ]
    for by, label in enumerate(columns):
        x, y = left + CELL * by + CELL / 2 + TEXT / 3, top - 6
        found.append(_text(x, y, label, f' transform="rotate(-90 {x:.1f} {y:.1f})"'))
    return found


def _scale_bar(scale: float, left: float, y: float) -> list[str]:
    """Eleven steps from the most negative to the most positive."""
    steps = [(n - 5) / 5 * scale for n in range(11)]
    bar = [
        f'<rect x="{left + 16 * n:.0f}" y="{y:.0f}" width="16" height="12" fill="{colour(step, scale)}"/>'
        for n, step in enumerate(steps)
    ]
    labels = [(0, f"{-scale:.2f}"), (76, "0"), (150, f"{scale:+.2f}")]
    return [*bar, *(_text(left + x, y + 26, label) for x, label in labels)]


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{_clean(text)}</text>'


def _clean(text: str) -> str:
    """Escaped, and without what XML cannot hold."""
    return escape("".join(sign if sign.isprintable() else "�" for sign in text))
