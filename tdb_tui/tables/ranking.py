"""The ranked components: which rows of the node table are shown, in which order, and their books."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.components import DICTIONARY_SITES, Component, Kind, Node
from model.dictionaries import LETTER_OF
from model.effects.groups import Groups, grouped
from model.effects.latents import stands_for
from model.lines import written_on
from model.nodes import KINDS as NODE_KINDS
from model.nodes import NONE, NodeTable, joined
from model.nodes import SITES as NODE_SITES
from model.sites import Where
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
    "latents": ("latent",),
    "errors": ("error",),
}
"What `rank` takes, and the kinds of nodes that it means.  `all` and `parts` add up to the metric."

SIDES = {
    "mlps": (("m", "p"), frozenset({"mlp", "neuron"})),
    "heads": (("a", "z"), frozenset({"head", "pair", "attn"})),
    "stream": (("r", "i", "o"), frozenset({"embed", "wte", "wpe", "head", "pair", "attn", "mlp", "neuron"})),
}
"What latents can stand for: the letters of their dictionaries, and the kinds of rows that give way to them."

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
    places: tuple[Where, ...] = ()
    "Dictionaries that are on the books in place of what they take apart."

    def __len__(self) -> int:
        return len(self.order)

    def nodes(self, rows: range) -> list[Node]:
        """The nodes in these places of the order.  Raises ValueError where they are groups."""
        return [self.table.node(int(self.order[row])) for row in rows]

    def balance(self, asked: Asked, shown: int | None = None) -> Balance:
        """The books of the first `shown` rows, or of all."""
        rows = self.order[:shown]
        if self.groups is None:
            return asked.balance(self.table.take(rows), self.places)
        return asked.balance_of_groups(self.groups.source.take(self.groups.members(rows)), self.places)

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
    places = places_of(asked, view)
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
    return Ranked(table, order, every, view.by, only, groups, places)


def places_of(asked: Asked, view: RankView) -> tuple[Where, ...]:
    """The dictionaries that are on a view's books: those in the places of its rows, all where latents are ranked."""
    if {"latent", "error"} & set(view.kinds):
        return asked.in_use(tuple(DICTIONARY_SITES))
    return asked.in_use([letter for side in sorted(view.latents) for letter in SIDES[side][0]])


def _rows(asked: Asked, view: RankView, positions: list[int] | None) -> NodeTable:
    """The rows of a view's kinds; latents, errors and biases of dictionaries in the places of what they take apart."""
    table = joined([asked.table(kind, positions) for kind in view.kinds])
    places = places_of(asked, view)
    if not places or {"latent", "error"} & set(view.kinds):
        return table
    table = table.take(~stands_for(table, places))
    kinds = set(view.kinds)
    letters = {letter for side in view.latents if SIDES[side][1] & kinds for letter in SIDES[side][0]}
    shown = tuple(at for at in places if LETTER_OF[at[0]] in letters)
    groups = ["latent", "error"] if shown else []
    found = [table, *(asked.of_dictionaries(group, shown, positions) for group in groups)]
    if "bias" in kinds:
        found.append(asked.of_dictionaries("beside", places, positions))
    return joined(found)


def _selected(asked: Asked, view: RankView) -> tuple[NodeTable, NDArray[np.int64], int | None]:
    """The nodes of some kinds, at one token or all, inside of some parts: a table, its rows, the one token."""
    only = view.pos
    kinds = (*view.kinds, *(("latent",) if view.latents else ()))
    if only is None and sum(asked.rows_of(kind) for kind in kinds) > MAX_ROWS:
        only = max(asked.positions)
    table = _rows(asked, view, None if only is None else [only])
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
    of_dictionary = table.site != 0
    own[of_dictionary] = 2 * table.layer[of_dictionary] + _OFFSETS[table.site[of_dictionary]]
    return own < line


_OFFSETS = np.array([0, *(written_on(Component(Kind.ERROR, 0, None, letter)) for letter in DICTIONARY_SITES)])
"By the place of a dictionary in `SITES`: the line of layer 0 on which its parts write."


def _within(table: NodeTable, parts: tuple[Component, ...]) -> NDArray[np.bool_]:
    """Rows that are one of `parts`, or belong to it: a layer's attention has heads, its MLP neurons."""
    keep = np.zeros(len(table), dtype=bool)
    for part in parts:
        same = table.kind == NODE_KINDS.index(part.kind)
        if part.kind.has_layer:
            same &= table.layer == part.layer
        if part.index is not None:
            same &= table.index == part.index
        if part.site:
            same &= table.site == NODE_SITES.index(part.site)
        keep |= same
        inner = {Kind.ATTN: Kind.HEAD, Kind.MLP: Kind.NEURON}.get(part.kind)
        if inner is not None:
            keep |= (table.kind == NODE_KINDS.index(inner)) & (table.layer == part.layer)
        sites = {Kind.ATTN: "az", Kind.MLP: "mp"}.get(part.kind, "")
        inside = np.isin(table.site, [NODE_SITES.index(site) for site in sites])
        keep |= inside & (table.layer == part.layer)
    return keep
