"""Two prompts side by side, token by token: which stand opposite each other, and where they differ."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

NONE = -1


@dataclass(frozen=True, slots=True)
class Pair:
    """A column of the strip: a token of A, one of B, or one of each; -1 where there is none."""

    a: int
    b: int
    same: bool
    "Whether both are there and are the same token."


def aligned(a: Sequence[int], b: Sequence[int], partner: NDArray[np.int64]) -> list[Pair]:
    """Every token of both prompts once and in order, counterparts opposite each other where that keeps the order.

    `partner` is each of A's tokens' counterpart, -1 where it has none: [pos of A].
    """
    pairs: list[Pair] = []
    at, to = 0, 0
    for left, right in (*_in_order(partner), (len(a), len(b))):
        between = max(left - at, right - to)
        for n in range(between):
            pairs.append(_pair(a, b, at + n if at + n < left else NONE, to + n if to + n < right else NONE))
        if left < len(a):
            pairs.append(_pair(a, b, left, right))
        at, to = left + 1, right + 1
    return pairs


def _pair(a: Sequence[int], b: Sequence[int], left: int, right: int) -> Pair:
    return Pair(left, right, left >= 0 and right >= 0 and a[left] == b[right])


def _in_order(partner: NDArray[np.int64]) -> list[tuple[int, int]]:
    """As many pairs of counterparts as keep both prompts' order: the longest increasing subsequence."""
    ends: list[int] = []
    rows: list[int] = []
    before: dict[int, int] = {}
    for left, right in enumerate(partner.tolist()):
        if right < 0:
            continue
        place = bisect_left(ends, right)
        before[left] = rows[place - 1] if place else NONE
        ends[place:], rows[place:] = [right, *ends[place + 1 :]], [left, *rows[place + 1 :]]
    found: list[tuple[int, int]] = []
    at = rows[-1] if rows else NONE
    while at != NONE:
        found.append((at, int(partner[at])))
        at = before[at]
    return found[::-1]


def strip(columns: Sequence[Sequence[str]], heads: Sequence[str], width: int) -> Iterator[str]:
    """Columns of cells as lines of at most `width`, begun again with the heads where they do not fit."""
    margin = max(map(cell_len, heads)) + 2
    begin = 0
    while begin < len(columns):
        end, used = begin, margin
        while end < len(columns) and (end == begin or used + 1 + max(map(cell_len, columns[end])) <= width):
            used += 1 + max(map(cell_len, columns[end]))
            end += 1
        if begin:
            yield ""
        for row, head in enumerate(heads):
            parts = [padded(column[row], max(map(cell_len, column))) for column in columns[begin:end]]
            yield (padded(head, margin) + " ".join(parts)).rstrip()
        begin = end


def padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))
