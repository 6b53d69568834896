"""Rows of a node table put together: by component over every token, by layer, by token.

Direct and estimated total effects add up.  A sum of writes has a norm of its own, and activations have no sum that
means anything: both are NaN.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from model.components import Component
from model.edits.interventions import Span
from model.nodes import KINDS, NONE, Ints, NodeTable

KEYS: Mapping[str, Callable[[NodeTable], Ints]] = {
    "component": lambda table: _packed(table.kind, table.site, table.layer, table.index),
    "layer": lambda table: _packed(np.where(_layerless(table), table.kind, NONE), 0, table.layer),
    "token": lambda table: table.pos,
}
"What the rows of a group share, as one number."


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Sums over the rows of another table: every row of it is in exactly one group."""

    table: NodeTable
    "One row a group, in the order in which they first come; its token is the one that all of its rows have."
    count: Ints
    "How many rows each is the sum of."
    source: NodeTable
    rows: Ints
    "Rows of `source`, group after group."
    ends: Ints
    "Where each group ends among `rows`."

    def members(self, groups: Ints) -> Ints:
        """The rows of `source` that these groups are made of."""
        firsts = self.ends - self.count
        parts = [self.rows[firsts[group] : self.ends[group]] for group in groups]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    @property
    def tokens(self) -> Ints:
        """How many tokens each group has rows at."""
        return self._distinct(self.source.pos)

    @property
    def components(self) -> Ints:
        """How many components each group has rows of."""
        return self._distinct(KEYS["component"](self.source))

    def _distinct(self, values: Ints) -> Ints:
        values = np.unique(values, return_inverse=True)[1]
        group, many = np.repeat(np.arange(len(self.count)), self.count), int(values.max(initial=0)) + 1
        return np.bincount(np.unique(group * many + values[self.rows]) // many, minlength=len(self.count))

    def places(self, group: int, length: int) -> tuple[tuple[Component, Span | None], ...]:
        """The components of a group and the tokens that it has them at, None for all of `length` tokens."""
        table = self.source.take(self.members(np.array([group])))
        code = KEYS["component"](table)
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        found: list[tuple[Component, Span | None]] = []
        for rows in np.split(order, starts[1:]):
            part = table.component(int(rows[0]))
            assert part is not None  # rows of groups are no groups
            found += [(part, span) for span in _spans(np.unique(table.pos[rows]).tolist(), length)]
        return tuple(found)


def grouped(table: NodeTable, by: str) -> Groups:
    """The rows of `table` that share a `component`, a `layer` (parts without one stay apart) or a `token`."""
    _, first, found = np.unique(KEYS[by](table), return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first, kind="stable"), kind="stable")  # by the group's first row
    group = place[found]
    count = np.bincount(group, minlength=len(first))
    rows, ends = np.argsort(group, kind="stable"), np.cumsum(count)
    heads = rows[ends - count]
    none, unknown = np.full(len(count), NONE), np.full(len(count), np.nan)
    site = np.zeros(len(count), dtype=np.int8)
    if by == "component":
        kind, layer, index = table.kind[heads], table.layer[heads], table.index[heads]
        site = table.site[heads]
    elif by == "layer":
        kind, layer, index = (
            np.where(_layerless(table)[heads], table.kind[heads], NONE),
            table.layer[heads],
            none,
        )
    else:
        kind, layer, index = none, none, none
    pos = _shared(table.pos[rows], ends - count)
    sums = (np.bincount(group, each, len(count)).astype(np.float64) for each in (table.direct, table.total))
    summed = NodeTable(kind.astype(np.int8), site, layer, index, pos, none, unknown, unknown, *sums)
    return Groups(summed, count, table, rows, ends)


def _packed(
    kind: NDArray[np.integer], site: NDArray[np.integer] | int, layer: Ints, index: Ints | int = 0
) -> Ints:
    return ((kind.astype(np.int64) + 1) << 43) | (np.int64(site) << 40) | (layer << 30) | (index + 1)


def _layerless(table: NodeTable) -> NDArray[np.bool_]:
    return np.isin(table.kind, [at for at, kind in enumerate(KINDS) if not kind.has_layer])


def _shared(column: Ints, firsts: Ints) -> Ints:
    """What all rows of a group have in a column, -1 where they differ: [group]."""
    if not len(firsts):
        return firsts
    low, high = np.minimum.reduceat(column, firsts), np.maximum.reduceat(column, firsts)
    return np.where(low == high, low, NONE)


def _spans(positions: list[int], length: int) -> Iterator[Span | None]:
    """Positions in order -> as few spans as hold them; None where they are all there is."""
    if len(positions) == length:
        yield None
        return
    for _, run in groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0]):
        each = [pos for _, pos in run]
        yield Span(each[0], each[-1])
