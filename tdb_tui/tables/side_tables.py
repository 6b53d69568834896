"""A comparison as text and as JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import isnan
from typing import Any

import numpy as np

from model.nodes import NodeTable
from model.tokenizer import Tokenizer
from tdb_tui.formats import plain, signed, token_label
from tdb_tui.replies import columns
from tdb_tui.tables.sides import MEASURES, Comparison, Ints, Place

ADDITIVE = ("direct", "total")
"Measures whose sums mean something."


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Rows of a comparison, drawn."""

    found: Comparison
    by: str
    "The measure that comes first."
    tokenizer: Tokenizer

    def table(self, rows: Ints, first: int, wide: bool) -> tuple[str, ...]:
        """The chosen measure's two sides and every measure's difference; `wide` both sides of all."""
        left, right = self.found.left.name, self.found.right.name
        measures = [self.by, *(each for each in MEASURES if each != self.by)]
        both = measures if wide else measures[:1]
        head, cells = ["#", "node"], [list[str]() for _ in rows]
        names, where = self._names(rows)
        for at, row in enumerate(cells):
            row += [str(first + at + 1), names[at]]
        for measure in measures:
            sides = self.found.values(measure, rows)
            lacking = (
                self.found.of_left[rows] < 0,
                self.found.of_right[rows] < 0,
                np.zeros(len(rows), dtype=bool),
            )
            titles = (f"{measure} {left}" if wide else left, right, f"Δ {measure}")
            write = signed if measure in (*ADDITIVE, "measured") else plain
            writes = (write, write, signed if write is signed else _change)
            for each in range(3) if measure in both else (2,):
                head.append(titles[each])
                for row, value, gone in zip(cells, sides[each], lacking[each], strict=True):
                    row.append("" if gone or isnan(value) else writes[each](float(value)))
        drawn = [[*head, ""], *([*row, at] for row, at in zip(cells, where, strict=True))]
        return columns(drawn, "r-" + "r" * (len(head) - 2))

    def footer(self, shown: int, of: int) -> tuple[str, ...]:
        found = self.found
        left, right = found.left.name, found.right.name
        both = len(found) - found.only_left - found.only_right
        counts = f"{both:,} on both sides, {found.only_left:,} only {left}, {found.only_right:,} only {right}"
        lines = [f"shown {shown:,} of {of:,}  {counts}"]
        for measure, (a, b, change) in self._sums().items():
            if measure in ("direct", self.by):
                wholes = (found.left.target, found.right.target, found.left.target - found.right.target)
                texts = [
                    signed(x) + (f" of {signed(whole)}" if measure == "direct" else "")
                    for x, whole in zip((a, b, change), wholes, strict=True)
                ]
                lines.append(
                    f"{measure} of all rows: {left} {texts[0]}, {right} {texts[1]}, difference {texts[2]}"
                )
        return tuple(lines)

    def summary(self) -> dict[str, Any]:
        """What is asked of both sides, the sums over all rows, and how many rows there are."""
        found = self.found
        return {
            "sides": {"left": found.left.name, "right": found.right.name},
            "target": _three(found.left.target, found.right.target),
            "sums": {measure: _three(a, b) for measure, (a, b, _) in self._sums().items()},
            "counts": {
                "both": len(found) - found.only_left - found.only_right,
                "only_left": found.only_left,
                "only_right": found.only_right,
            },
        }

    def rows(self, rows: Ints) -> list[dict[str, Any]]:
        """One flat object a row; null for a side that lacks the node, and for what has not been measured."""
        found = self.found
        values = {_key(measure): found.values(measure, rows) for measure in MEASURES}
        lines: list[dict[str, Any]] = []
        for at, (ours, theirs) in enumerate(zip(found.of_left[rows], found.of_right[rows], strict=True)):
            table, row = (found.left.table, ours) if ours >= 0 else (found.right.table, theirs)
            line = _address(table, int(row)) | {
                "left": None if ours < 0 else found.left.table.name(int(ours)),
                "right": None if theirs < 0 else found.right.table.name(int(theirs)),
            }
            for key, sides in values.items():
                a, b, change = (None if isnan(side[at]) else float(side[at]) for side in sides)
                line[f"{key}_left"], line[f"{key}_right"] = None if ours < 0 else a, None if theirs < 0 else b
                line[f"{key}_difference"] = change
            lines.append(line)
        return lines

    def _sums(self) -> dict[str, tuple[float, float, float]]:
        every = np.arange(len(self.found))
        found: dict[str, tuple[float, float, float]] = {}
        for measure in ADDITIVE:
            a, b, _ = (float(side.sum()) for side in self.found.values(measure, every))
            found[measure] = a, b, a - b
        return found

    def _names(self, rows: Ints) -> tuple[list[str], list[str]]:
        """Each row's node, and where it is on the other side if it is elsewhere or not there."""
        found, names, where = self.found, list[str](), list[str]()
        ours, theirs = (labels(side.place, self.tokenizer) for side in (found.left, found.right))
        for left, right in zip(found.of_left[rows], found.of_right[rows], strict=True):
            here = found.left.table.name(int(left), ours) if left >= 0 else ""
            there = found.right.table.name(int(right), theirs) if right >= 0 else ""
            names.append(here or there)
            if here and there:
                where.append("" if here == there else f"@{there.partition('@')[2]}")
            else:
                where.append(f"only {found.left.name if here else found.right.name}")
        return names, where


def labels(place: Place, tokenizer: Tokenizer) -> Callable[[int], str]:
    """How a side's positions are called: `END`, `Mary`, `John#2`."""
    return cache(lambda pos: token_label(pos, place.tokens, tokenizer))


def _address(table: NodeTable, row: int) -> dict[str, Any]:
    node = table.node(row)
    return {
        "node": str(node),
        "kind": table.group(row),
        "layer": node.component.layer if node.component.kind.has_layer else None,
        "index": node.component.index,
        "pos": node.pos,
        "key": node.key,
    }


def _three(left: float, right: float) -> dict[str, float]:
    return {"left": left, "right": right, "difference": left - right}


def _key(measure: str) -> str:
    """What JSON calls a measure, as in the rows of `rank`."""
    return MEASURES[measure] or measure


def _change(x: float) -> str:
    return f"{x:+.3g}"
