"""An order of many millions of rows, read a page at a time: one whole number a row, and nothing is sorted as a whole.

Rows are in blocks.  Larger keys come first, equal ones in the order of the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint32]
LEFT_OUT = np.uint32(0)
"The key of a row that is not in the order."

HALF = 16
"Bits: keys are counted by their upper half, and those of one upper half by their lower one."

_SECOND = np.uint32(1 << 31)


def keys_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> Keys:
    """Keys that put the largest absolute value first; rows where it is NaN come after all others, by the `second`.

    Values count as float32, whose bits are in the order of their absolute values.
    """
    known = ~np.isnan(first)
    bits = np.abs(np.where(known, first, second)).astype(np.float32).view(np.uint32)
    return np.where(known, (bits + np.uint32(1)) | _SECOND, bits + np.uint32(1))


@dataclass(frozen=True, eq=False)
class Order:
    """Which rows of each block come in which place."""

    blocks: Sequence[Keys]

    def __len__(self) -> int:
        return sum(map(int, map(np.count_nonzero, self.blocks)))

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self.blocks)

    def page(self, start: int, stop: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        """Of each block, the rows in places `start` to before `stop`, as they lie, and which rows come before them."""
        (top, larger), (bottom, above) = self._at(start), self._at(stop - 1)
        seen_top = seen_bottom = 0
        for keys in self.blocks:
            tops, bottoms = keys == top, keys == bottom
            nth_top = larger + seen_top + np.cumsum(tops) - 1
            nth_bottom = above + seen_bottom + np.cumsum(bottoms) - 1
            inside = (keys < top) & (keys > bottom)
            inside |= tops & (nth_top >= start) & (nth_top < stop)
            inside |= bottoms & (nth_bottom >= start) & (nth_bottom < stop)
            seen_top, seen_bottom = seen_top + int(tops.sum()), seen_bottom + int(bottoms.sum())
            yield np.flatnonzero(inside), (keys > top) | (tops & (nth_top < start))

    def _at(self, place: int) -> tuple[np.uint32, int]:
        """The key in a place, and how many keys are larger."""
        high, larger = _nth(self._upper, place)
        lower = np.zeros(1 << HALF, dtype=np.int64)
        for keys in self.blocks:
            same = keys[keys >> HALF == high] & np.uint32((1 << HALF) - 1)
            lower += np.bincount(same, minlength=1 << HALF)
        low, more = _nth(lower, place - larger)
        return np.uint32(high << HALF | low), larger + more

    @cached_property
    def _upper(self) -> NDArray[np.int64]:
        """How many keys have each upper half, rows that are left out apart."""
        counts = np.zeros(1 << HALF, dtype=np.int64)
        for keys in self.blocks:
            counts += np.bincount(keys[keys != LEFT_OUT] >> HALF, minlength=1 << HALF)
        return counts


def _nth(counts: NDArray[np.int64], place: int) -> tuple[int, int]:
    """The value in a place, the largest first, where `counts` says how often each occurs; how many are larger."""
    ends = np.cumsum(counts[::-1])
    at = int(np.searchsorted(ends, place, side="right"))
    value = len(counts) - 1 - at
    return value, int(ends[at] - counts[value])
