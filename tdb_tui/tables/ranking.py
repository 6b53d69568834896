"""The ranked components: which rows of the node table are shown, in which order, and their books."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.components import Component, Kind, Node
from model.effects.groups import Groups, grouped
from model.nodes import KINDS as NODE_KINDS
from model.nodes import NONE, NodeTable, joined
from tdb_tui.asked import MAX_ROWS, PARTITION, Asked, Balance
from tdb_tui.effects import Effect, Progress, measurable
from tdb_tui.language.filters import Array, matching, names_in
from tdb_tui.state import RankView

KINDS: dict[str, tuple[str, ...]] = {
    "components": ("head", "mlp", "embed"),
    "all": PARTITION,
    "parts": ("wte", "wpe", "head", "mlp", "bias"),
    "heads": ("head",),
    "pairs": ("pair",),
    "attns": ("attn",),
    "mlps": ("mlp",),
    "neurons": ("neuron",),
    "embeds": ("embed",),
    "wte": ("wte",),
    "wpe": ("wpe",),
    "biases": ("bias",),
}
"What `rank` takes, and the kinds of nodes that it means.  `all` and `parts` add up to the metric."

MEASURES = {
    "total": "total",
    "direct": "direct",
    "measured": "",
    "patched": "",
    "norm": "write_norm",
    "act": "act",
}
"What `by` takes, and the column of the node table that it means; measured effects are kept apart."

PER = {
    "component": ("norm", "act", "key"),
    "head": ("norm", "act", "key"),
    "layer": ("norm", "act", "key", "index"),
    "token": ("norm", "act", "key", "index", "layer"),
}
"What `per` takes, and the columns that such groups do not have."


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A node table, or one of groups of nodes, and the order in which to read it."""

    table: NodeTable
    order: NDArray[np.int64]
    "Row numbers of the table, first shown first."
    values: NDArray[np.float64]
    "What the order is by, of the table's rows; NaN where it has not been measured, and such rows come last."
    by: str
    only: int | None
    "The one token whose nodes these are, or None for every token's."
    groups: Groups | None = None
    "What the rows are sums of, where they are groups."

    def __len__(self) -> int:
        return len(self.order)

    def nodes(self, rows: range) -> list[Node]:
        """The nodes in these places of the order.  Raises ValueError where they are groups."""
        return [self.table.node(int(self.order[row])) for row in rows]

    def balance(self, asked: Asked, shown: int | None = None) -> Balance:
        """The books of the first `shown` rows, or of all."""
        rows = self.order[:shown]
        if self.groups is None:
            return asked.balance(self.table.take(rows))
        return asked.balance_of_groups(self.groups.source.take(self.groups.members(rows)))

    def measured(self, asked: Asked, rows: range, effect: Effect = Effect.ABLATED) -> NDArray[np.float64]:
        """Measured effects in these places of the order, NaN where not measured."""
        chosen = self.order[rows.start : rows.stop]
        if self.groups is None:
            return asked.measured(self.table.take(chosen), effect)
        return asked.effects(effect).of_groups(self.groups)[chosen]

    def measure(self, asked: Asked, rows: range, effect: Effect = Effect.ABLATED) -> Iterator[Progress]:
        """Measure what is in these places of the order; what is known is not measured again."""
        if self.groups is None:
            return asked.measure(self.nodes(rows), effect)
        which = self.order[rows.start : rows.stop].tolist()
        return asked.effects(effect).measure_groups(self.groups, which)

    def edits(self, rows: range) -> int:
        """How many edits measuring these places takes."""
        if self.groups is None:
            return len(rows)
        return int(self.groups.components[self.order[rows.start : rows.stop]].sum())


def ranked(asked: Asked, view: RankView) -> Ranked:
    """Rank the nodes of what is asked, or groups of them, as `view` says.

    Without a sign the largest absolute value comes first, ties in the order of the model.  By a measured effect,
    what has not been measured yet comes after what has, the largest estimate first.
    """
    table, rows, only = _selected(asked, view)
    groups = None
    if view.per:
        groups = grouped(table.take(rows), "component" if view.per == "head" else view.per)
        table, rows = groups.table, np.arange(len(groups.table))
    every = _column(asked, table, groups, view.by)
    if view.where is not None:
        columns = {name: _column(asked, table, groups, name) for name in names_in(view.where)}
        rows = rows[matching(view.where, columns or {"total": table.total})[rows]]
    order = _ordered((table, groups), rows, every, view)
    if view.each is not None:
        order = order[_first_of_each(table.group_numbers()[order], view.each)]
    return Ranked(table, order, every, view.by, only, groups)


def _selected(asked: Asked, view: RankView) -> tuple[NodeTable, NDArray[np.int64], int | None]:
    """The nodes of some kinds, at one token or all, inside of some parts: a table, its rows, the one token."""
    only = view.pos
    if only is None and sum(asked.rows_of(kind) for kind in view.kinds) > MAX_ROWS:
        only = max(asked.positions)
    table = joined([asked.table(kind, None if only is None else [only]) for kind in view.kinds])
    rows = np.flatnonzero(_upstream(table, asked.target.line))
    if view.within:
        rows = rows[_within(table.take(rows), view.within)]
    return table, rows, only


def _ordered(
    shown: tuple[NodeTable, Groups | None], rows: NDArray[np.int64], values: Array, view: RankView
) -> NDArray[np.int64]:
    known = rows[~np.isnan(values[rows])]
    if view.sign:
        return _largest(known[values[known] > 0 if view.sign == "+" else values[known] < 0], values)
    if view.by not in (each.value for each in Effect):
        return _largest(known, values)
    unknown = rows[np.isnan(values[rows]) & measurable(*shown)[rows]]
    return np.concatenate([_largest(known, values), _largest(unknown, shown[0].total)])


def _largest(rows: NDArray[np.int64], values: Array) -> NDArray[np.int64]:
    return rows[np.argsort(-np.abs(values[rows]), kind="stable")]


def _first_of_each(kinds: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The places of the first `count` of every kind, in order."""
    many = np.bincount(kinds)
    by_kind = np.argsort(kinds, kind="stable")
    nth = np.arange(len(kinds)) - np.repeat(np.cumsum(many) - many, many)
    return np.sort(by_kind[nth < count])


def _column(asked: Asked, table: NodeTable, groups: Groups | None, name: str) -> Array:
    """A column as `by` and `where` call it; NaN where there is none: [row]."""
    match name:
        case "measured" | "patched":
            effects = asked.effects(Effect(name))
            return effects.of(table) if groups is None else effects.of_groups(groups)
        case "kind":
            return table.groups()
        case "count":
            return np.ones(len(table)) if groups is None else groups.count.astype(np.float64)
        case "layer":
            return np.where(_whole_model(table), np.nan, _numbered(table.layer))
        case "index" | "pos" | "key":
            return _numbered(getattr(table, name))
        case _:
            return getattr(table, MEASURES[name])


def _numbered(column: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(column == NONE, np.nan, column)


def _whole_model(table: NodeTable) -> NDArray[np.bool_]:
    return np.isin(table.kind, _places(kind for kind in Kind if not kind.has_layer))


def _places(kinds: Iterator[Kind] | Sequence[Kind]) -> list[int]:
    return [NODE_KINDS.index(kind) for kind in kinds]


def _upstream(table: NodeTable, line: int) -> NDArray[np.bool_]:
    """Rows of what has been computed when the target reads; the biases that it meets are among them."""
    attention = _places((Kind.HEAD, Kind.ATTN, Kind.ATTN_BIAS))
    mlp = _places((Kind.MLP, Kind.NEURON, Kind.MLP_BIAS))
    own = np.zeros(len(table), dtype=np.int64)
    for group, first in ((attention, 1), (mlp, 2)):
        rows = np.isin(table.kind, group)
        own[rows] = first + 2 * table.layer[rows]
    return own < line


def _within(table: NodeTable, parts: tuple[Component, ...]) -> NDArray[np.bool_]:
    """Rows that are one of `parts`, or belong to it: a layer's attention has heads, its MLP neurons."""
    keep = np.zeros(len(table), dtype=bool)
    for part in parts:
        same = table.kind == NODE_KINDS.index(part.kind)
        if part.kind.has_layer:
            same &= table.layer == part.layer
        if part.index is not None:
            same &= table.index == part.index
        keep |= same
        inner = {Kind.ATTN: Kind.HEAD, Kind.MLP: Kind.NEURON}.get(part.kind)
        if inner is not None:
            keep |= (table.kind == NODE_KINDS.index(inner)) & (table.layer == part.layer)
    return keep
