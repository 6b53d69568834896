"""Which rows of a node table a ranking has, and what it orders them by."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.components import DICTIONARY_SITES, Component, Kind
from model.effects.groups import Groups
from model.lines import written_on
from model.nodes import KINDS as NODE_KINDS
from model.nodes import NONE, NodeTable
from model.nodes import SITES as NODE_SITES
from model.sites import Site
from tdb_tui.asked import Asked
from tdb_tui.effects import Effect, measurable
from tdb_tui.language.filters import Array, matching, names_in
from tdb_tui.state import RankView

MEASURES = {
    "total": "total",
    "direct": "direct",
    "measured": "",
    "patched": "",
    "norm": "write_norm",
    "act": "act",
    "attn": "",
}
"What `by` takes, and the column of the node table that it means; measured effects and attention stand elsewhere."

Rows = NDArray[np.int64]


def chosen(asked: Asked, table: NodeTable, view: RankView) -> Rows:
    """The rows that can move what is asked about, inside of some parts."""
    rows = np.flatnonzero(_upstream(table, asked.target.line))
    return rows[_within(table.take(rows), view.within)] if view.within else rows


def kept(asked: Asked, table: NodeTable, groups: Groups | None, view: RankView, rows: Rows) -> Rows:
    """Those of `rows` of which the filter is true, with the sign that is wanted, and a place in the order."""
    if view.where is not None:
        columns = {name: column(asked, table, groups, name) for name in names_in(view.where)}
        rows = rows[matching(view.where, columns or {"total": table.total})[rows]]
    values = column(asked, table, groups, view.by)[rows]
    keep = ~np.isnan(values)
    if view.sign:
        keep &= values > 0 if view.sign == "+" else values < 0
    elif view.by in (each.value for each in Effect):
        keep |= measurable(table, groups)[rows]
    return rows[keep]


def ordered(rows: Rows, values: Array, total: Array) -> Rows:
    """The largest absolute value first, then those that have none, the largest estimate first; ties as they lie."""
    unknown = np.isnan(values[rows])
    return np.concatenate([_largest(rows[~unknown], values), _largest(rows[unknown], total)])


def _largest(rows: Rows, values: Array) -> Rows:
    return rows[np.argsort(-np.abs(values[rows]), kind="stable")]


def first_of_each(kinds: NDArray[np.int64], count: int) -> Rows:
    """The places of the first `count` of every kind, in order."""
    many = np.bincount(kinds)
    by_kind = np.argsort(kinds, kind="stable")
    nth = np.arange(len(kinds)) - np.repeat(np.cumsum(many) - many, many)
    return np.sort(by_kind[nth < count])


def column(asked: Asked, table: NodeTable, groups: Groups | None, name: str) -> Array:
    """A column as `by` and `where` call it; NaN where there is none: [row]."""
    match name:
        case "measured" | "patched":
            effects = asked.effects(Effect(name))
            return effects.of(table) if groups is None else effects.of_groups(groups)
        case "attn":
            return np.full(len(table), np.nan) if groups is not None else attention(asked, table)
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


def attention(asked: Asked, table: NodeTable) -> NDArray[np.float64]:
    """The weight of each pair, and the largest of each head's row, NaN for other nodes: [row]."""
    heads = (table.kind == NODE_KINDS.index(Kind.HEAD)) & (table.pos != NONE)
    rows = np.flatnonzero(heads & (table.key == NONE))
    found = np.where(heads, table.act, np.nan)
    if len(rows):
        largest = asked.kept(("attention",), lambda: _largest_weights(asked))
        found[rows] = largest[table.layer[rows], table.index[rows], table.pos[rows]]
    return found


def _largest_weights(asked: Asked) -> NDArray[np.float64]:
    """Of each head's row: [layer, head, query]."""
    trace, layers = asked.run.trace, asked.run.model.config.n_layer
    rows = (trace[Site.PATTERN, layer].amax(-1) for layer in range(layers))
    return np.stack([each.double().cpu().numpy() for each in rows])


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
