"""What a collation is asked to keep, and the seeded choices in it, which depend on the row alone."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Plan:
    length: int = 64
    "Tokens in a row, without the `<|endoftext|>` before them."
    batch: int = 32
    "Rows that are run together."
    top: int = 20
    active: int = 20
    "A random sample of the rows in which a component is above zero: its quantile examples."
    random: int = 10
    "A random sample of all rows, the same for every component."
    every: int = 4
    "One row in so many is counted in the histograms."
    seed: int = 0


class Choice(Enum):
    """Choices that must not hang together."""

    ACTIVE = 1
    RANDOM = 2
    HISTOGRAM = 3


def hashes(seed: int, choice: Choice, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number from 0 to 2^31 - 1 for each row, as good as random: the finalizer of SplitMix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        start = np.uint64((seed * 0x9E3779B97F4A7C15 + choice.value * 0xD1B54A32D192ED03) % 2**64)
        x = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)
