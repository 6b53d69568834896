"""Measured effects, kept by run and question: an undone edit, redone, finds what was measured before."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from model.edits.interventions import Change
from model.nodes import Floats, Ints

MOST = 200_000
"Values kept of all runs together: some 60 MB."

Key = int | tuple[Change, ...]
"What a value is kept by: the code of a node, or the edits made together."


@dataclass(eq=False)
class Measured:
    """What a target became with one node edited, or with several edited together."""

    nodes: dict[int, float] = field(default_factory=dict[int, float])
    "Code of a node, as `NodeTable.codes` gives it -> the target then."
    together: dict[tuple[Change, ...], float] = field(default_factory=dict[tuple[Change, ...], float])
    _sorted: tuple[Ints, Floats] = field(default=(np.zeros(0, dtype=np.int64), np.zeros(0)))
    "The nodes again, for looking many up at once."

    def __len__(self) -> int:
        return len(self.nodes) + len(self.together)

    def get(self, key: Key) -> float | None:
        return self.nodes.get(key) if isinstance(key, int) else self.together.get(key)

    def keep(self, key: Key, value: float) -> None:
        if isinstance(key, int):
            self.nodes[key] = value
        else:
            self.together[key] = value

    def of_nodes(self, codes: Ints) -> Floats:
        """The target with each node edited, NaN where that has not been measured: [row]."""
        if not self.nodes:
            return np.full(len(codes), np.nan)
        if len(self._sorted[0]) != len(self.nodes):
            known = np.fromiter(self.nodes, dtype=np.int64, count=len(self.nodes))
            values = np.fromiter(self.nodes.values(), dtype=np.float64, count=len(self.nodes))
            order = np.argsort(known)
            self._sorted = known[order], values[order]
        known, values = self._sorted
        at = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        return np.where(known[at] == codes, values[at], np.nan)


class Measurements:
    """What has been measured of recent runs; beyond `most` values the run asked about longest ago is forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Measured] = OrderedDict()

    def of(self, question: Hashable) -> Measured:
        """What is known of a question, to be read and added to."""
        found = self._kept.setdefault(question, Measured())
        self._kept.move_to_end(question)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        self._kept.clear()
