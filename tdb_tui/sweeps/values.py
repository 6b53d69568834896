"""What sweeps have found: kept while there is room, and drawn together into one picture of a grid."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.measured.sweeps import Axis
from model.nodes import Floats
from model.sets.statistics import interval

MOST = 4_000_000
"Values kept of all sweeps together: 32 MB."
LEAST = 0.002
"Of the largest value: what is less is not listed."
TINY = 1e-9
"Ends of a scale that differ by less are one."


@dataclass(eq=False)
class Values:
    """Of one sweep, on one run or on each example of a set; NaN where not measured, or where there is no cell."""

    values: Floats
    "The metric after the edit: [example, row, column]."
    baseline: Floats
    "Without it: [example]."
    other: Floats
    "Of the other prompt's run: [example]."

    @classmethod
    def nothing(cls, shape: tuple[int, int, int]) -> "Values":
        return cls(np.full(shape, np.nan), *(np.full(shape[0], np.nan) for _ in range(2)))

    def copy(self) -> "Values":
        """As they are now, which what is measured later does not change."""
        return Values(self.values.copy(), self.baseline.copy(), self.other.copy())


class KeptSweeps:
    """Values of recent sweeps; beyond `most` of them the sweep asked about longest ago is forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Values] = OrderedDict()

    def of(self, key: Hashable, shape: tuple[int, int, int]) -> Values:
        """What is known of a sweep, to be added to."""
        found = self._kept.get(key)
        if found is None or found.values.shape != shape:
            found = self._kept[key] = Values.nothing(shape)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(each.values.size for each in self._kept.values()) > self._most:
            self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        self._kept.clear()


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Of means over a set's examples, each [row, column]: a bootstrap interval, and how many examples there are."""

    low: Floats
    high: Floats
    n: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Picture:
    """A sweep as far as it has been measured."""

    words: str
    "The command, without `sweep`."
    rows: Axis
    columns: Axis
    nodes: tuple[tuple[str, ...], ...]
    "What is edited at each cell, empty where there is none: [row][column]."
    commands: tuple[tuple[str, ...], ...]
    "The line that makes it so, empty where none does: [row][column]."
    found: Values
    ends: tuple[str, str]
    "What stands at 0 and at 1 of the normalised values: `A` and `B`; the second empty where there is no other run."
    target: str
    "What is asked about."
    of: Hashable
    "The inputs that it was measured on."
    positions: tuple[int, ...] = ()
    "The columns' tokens by number, where each is one."
    legend: tuple[str, ...] = ()
    "The same as text: `' Mary'`."
    left_out: tuple[str, ...] = ()
    "Tokens without a counterpart in the other prompt."
    normalised: bool = True
    "Whether fractions are looked at, where there are any, rather than the metric."
    seed: int = 0
    resamples: int = 1000

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def many(self) -> bool:
        """Whether it is over a set."""
        return len(self.found.values) > 1

    @cached_property
    def values(self) -> Floats:
        """The metric after the edit, the mean over those examples that have the cell: [row, column]."""
        return _mean(self.found.values)

    @cached_property
    def effects(self) -> Floats:
        """What the edit adds to the metric: [row, column]."""
        return _mean(self._effects)

    @property
    def _effects(self) -> Floats:
        return self.found.values - self.found.baseline[:, None, None]

    @property
    def baseline(self) -> float:
        return float(_mean(self.found.baseline))

    @property
    def other(self) -> float | None:
        found = float(_mean(self.found.other))
        return None if found != found else found

    @property
    def scalable(self) -> bool:
        """Whether there is another run, and its metric is another."""
        return bool(self.ends[1]) and self.other is not None and abs(self.other - self.baseline) > TINY

    @cached_property
    def fractions(self) -> Floats | None:
        """How far of the way from 0 to 1 the edit goes, a ratio of means: [row, column]; None without a scale."""
        if not self.scalable:
            return None
        return self.effects / _mean(self._ways)

    @property
    def _ways(self) -> Floats:
        """The whole way, for those examples that have the cell: [example, row, column]."""
        way = (self.found.other - self.found.baseline)[:, None, None]
        return np.where(np.isnan(self.found.values), np.nan, way)

    @property
    def shown(self) -> Floats:
        """What is looked at, with its sign: fractions, or what is added to the metric: [row, column]."""
        fractions = self.fractions if self.normalised else None
        return self.effects if fractions is None else fractions

    @property
    def is_normalised(self) -> bool:
        return self.normalised and self.scalable

    @property
    def done(self) -> int:
        """How many cells have a value, over all examples."""
        return int((~np.isnan(self.found.values)).sum())

    @cached_property
    def scale(self) -> float:
        """The largest absolute value that is looked at; 0 where nothing has been measured."""
        known = self.shown[~np.isnan(self.shown)]
        return float(np.abs(known).max()) if len(known) else 0.0

    def top(self, count: int) -> list[tuple[int, int]]:
        """The cells with the largest absolute values, those that change next to nothing left out."""
        flat = np.abs(self.shown).ravel()
        order = np.argsort(-np.nan_to_num(flat, nan=-1.0), kind="stable")
        width = len(self.columns)
        return [divmod(int(at), width) for at in order[:count] if flat[at] > self.scale * LEAST]

    @cached_property
    def spread(self) -> Spread:
        """Of what is looked at."""
        return _spread(self._effects, self._ways if self.is_normalised else None, self.resamples, self.seed)


def _mean(values: Floats) -> Floats:
    """Over the examples that have a value, NaN where none has one: [example, ...] -> [...]."""
    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(0) / np.where(count, count, np.nan)


def _spread(effects: Floats, ways: Floats | None, resamples: int, seed: int) -> Spread:
    """Intervals of mean effects, or of mean effects over mean ways: [example, row, column] each."""
    shape = effects.shape[1:]
    flat = effects.reshape(len(effects), -1)
    below = None if ways is None else ways.reshape(len(effects), -1)
    low, high = np.full((2, flat.shape[1]), np.nan)
    known = ~np.isnan(flat)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for at, present in enumerate(patterns.T):
        same = which.ravel() == at
        if not present.any():
            continue  # nobody has it
        chosen = np.ix_(present, same)
        over = None if below is None else below[chosen]
        low[same], high[same] = interval(flat[chosen], over, resamples=resamples, seed=seed)
    return Spread(low.reshape(shape), high.reshape(shape), known.sum(0).reshape(shape))
