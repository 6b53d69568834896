"""Rows of a node table put together: by component over every token, by layer, by token.

Direct and estimated total effects add up.  A sum of writes has a norm of its own, and activations have no sum that
means anything: both are NaN.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from model.components import Component
from model.edits.interventions import Span
from model.nodes import KINDS, NONE, Floats, Ints, NodeTable, joined

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
    tokens: Ints
    "How many tokens each has rows at."
    components: Ints
    "How many components each has rows of."
    bias: Floats
    "What its biases have of each group's direct effect."
    kinds: NDArray[np.bool_]
    "Which kinds each has rows of: [group, place in `KINDS`]."
    source: Callable[[int], NodeTable]
    "The rows that a group is the sum of."

    def places(self, group: int, length: int) -> tuple[tuple[Component, Span | None], ...]:
        """The components of a group and the tokens that it has them at, None for all of `length` tokens."""
        table = self.source(group)
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
    found = _Shared.of(table, by)
    bias = np.where(table.is_bias(), table.direct, 0.0)
    kinds = np.zeros((len(found.count), len(KINDS)), dtype=bool)
    kinds[found.group, table.kind] = True
    return Groups(
        found.summed(table, by),
        found.count,
        found.distinct(table.pos),
        found.distinct(KEYS["component"](table)),
        np.bincount(found.group, bias, len(found.count)).astype(np.float64),
        kinds,
        lambda group: table.take(found.members(group)),
    )


def merged(parts: Sequence[Groups], by: str, source: Callable[[NodeTable], NodeTable]) -> Groups:
    """Groups of tables that have no token in common, as those of one table.

    `source` gives the rows that share what the one row of a table of groups says.
    """
    whole = joined([part.table for part in parts])
    found = _Shared.of(whole, by)
    size = len(found.count)
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("count", "tokens", "components", "bias")
    }
    sums = {name: np.bincount(found.group, column, size) for name, column in columns.items()}
    components, kinds = np.zeros(size, dtype=np.int64), np.zeros((size, len(KINDS)), dtype=bool)
    np.maximum.at(components, found.group, columns["components"])
    np.logical_or.at(kinds, found.group, np.concatenate([part.kinds for part in parts]))
    table = found.summed(whole, by)
    return Groups(
        table,
        sums["count"].astype(np.int64),
        sums["tokens"].astype(np.int64),
        components,
        sums["bias"].astype(np.float64),
        kinds,
        lambda group: source(table.take(np.array([group]))),
    )


def alike(table: NodeTable, group: NodeTable, by: str) -> NDArray[np.bool_]:
    """Which rows belong to the one group: [row]."""
    return KEYS[by](table) == KEYS[by](group)[0]


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """Which rows of a table belong together."""

    group: Ints
    "[row]"
    count: Ints
    "[group]"
    rows: Ints
    "Rows, group after group."
    ends: Ints
    "Where each group ends among them."

    @classmethod
    def of(cls, table: NodeTable, by: str) -> "_Shared":
        """Groups in the order of their first rows."""
        _, first, found = np.unique(KEYS[by](table), return_index=True, return_inverse=True)
        group = np.argsort(np.argsort(first, kind="stable"), kind="stable")[found]
        count = np.bincount(group, minlength=len(first))
        return cls(group, count, np.argsort(group, kind="stable"), np.cumsum(count))

    def members(self, group: int) -> Ints:
        return self.rows[self.ends[group] - self.count[group] : self.ends[group]]

    def distinct(self, values: Ints) -> Ints:
        """How many different values each group has: [group]."""
        values = np.unique(values, return_inverse=True)[1]
        many = int(values.max(initial=0)) + 1
        return np.bincount(np.unique(self.group * many + values) // many, minlength=len(self.count))

    def summed(self, table: NodeTable, by: str) -> NodeTable:
        firsts = self.ends - self.count
        heads = self.rows[firsts]
        none, unknown = np.full(len(firsts), NONE), np.full(len(firsts), np.nan)
        kind, layer, index = none, none, none
        site = np.zeros(len(firsts), dtype=np.int8)
        if by == "component":
            kind, layer, index = table.kind[heads], table.layer[heads], table.index[heads]
            site = table.site[heads]
        elif by == "layer":
            kind = np.where(_layerless(table)[heads], table.kind[heads], NONE)
            layer = table.layer[heads]
        pos = _shared(table.pos[self.rows], firsts)
        sums = (
            np.bincount(self.group, each, len(firsts)).astype(np.float64)
            for each in (table.direct, table.total)
        )
        return NodeTable(kind.astype(np.int8), site, layer, index, pos, none, unknown, unknown, *sums)


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
