"""The ranked components: which rows of the node table are shown, in which order, and their books."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.components import DICTIONARY_SITES, Node
from model.dictionaries import LETTER_OF
from model.effects.groups import Groups, grouped
from model.effects.latents import stands_for
from model.nodes import SITES, NodeTable, joined
from model.sites import Where
from tdb_tui.asked import MAX_ROWS, PARTITION, Asked, Balance
from tdb_tui.effects import Effect, Progress
from tdb_tui.state import RankView
from tdb_tui.tables.chosen import chosen, column, first_of_each, kept, ordered
from tdb_tui.tables.long_ranking import groups_of_long, page_of_long

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

OF_DICTIONARIES = frozenset({"latent", "error"})
MOST_WITH_LATENTS = 4_000_000
"The same where latents are among the rows, of which an eighth at most is taken to be active."

SIDES = {
    "mlps": (("m", "p"), frozenset({"mlp", "neuron"})),
    "heads": (("a", "z"), frozenset({"head", "pair", "attn"})),
    "stream": (("r", "i", "o"), frozenset({"embed", "wte", "wpe", "head", "pair", "attn", "mlp", "neuron"})),
}
"What latents can stand for: the letters of their dictionaries, and the kinds of rows that give way to them."

PER = {
    "component": ("norm", "act", "attn", "key"),
    "head": ("norm", "act", "attn", "key"),
    "layer": ("norm", "act", "attn", "key", "index"),
    "token": ("norm", "act", "attn", "key", "index", "layer"),
}
"What `per` takes, and the columns that such groups do not have."


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A node table, or one of groups of nodes, and the order in which to read it.

    Of a long ranking it is one page: places in the order are those of the whole, and others than the page's are
    not there.
    """

    table: NodeTable
    order: NDArray[np.int64]
    "Row numbers of the table, the one in place `start` first."
    values: NDArray[np.float64]
    "What the order is by, of the table's rows; NaN where it has not been measured, and such rows come last."
    by: str
    only: int | None
    "The one token whose nodes these are, or None for every token's."
    groups: Groups | None = None
    "What the rows are sums of, where they are groups."
    places: tuple[Where, ...] = ()
    "Dictionaries that are on the books in place of what they take apart."
    start: int = 0
    "The place of the first row of a page."
    of: int | None = None
    "How many rows there are where this is a page of them."
    before: float = 0.0
    "What the direct effects before the page add up to, biases apart."

    def __len__(self) -> int:
        return len(self.order) if self.of is None else self.of

    @property
    def here(self) -> range:
        """The places of the rows that are at hand."""
        return range(self.start, self.start + len(self.order))

    def rows(self, places: range) -> NDArray[np.int64]:
        """Row numbers of what is in these places of the order."""
        return self.order[places.start - self.start : places.stop - self.start]

    def nodes(self, places: range) -> list[Node]:
        """The nodes in these places of the order.  Raises ValueError where they are groups."""
        return [self.table.node(int(row)) for row in self.rows(places)]

    def balance(self, asked: Asked, shown: int | None = None) -> Balance:
        """The books of the first `shown` rows, or of all that are at hand."""
        rows = self.order[: None if shown is None else shown - self.start]
        if self.groups is None:
            found = asked.balance(self.table.take(rows), self.places)
            return replace(found, rows=found.rows + self.before, rest=found.rest - self.before)
        direct, inside = self.table.direct[rows].sum(), self.groups.bias[rows].sum()
        return asked.balance_of_groups(float(direct), float(inside), self.places)

    def measured(self, asked: Asked, places: range, effect: Effect = Effect.ABLATED) -> NDArray[np.float64]:
        """Measured effects in these places of the order, NaN where not measured."""
        rows = self.rows(places)
        if self.groups is None:
            return asked.measured(self.table.take(rows), effect)
        return asked.effects(effect).of_groups(self.groups)[rows]

    def measure(self, asked: Asked, places: range, effect: Effect = Effect.ABLATED) -> Iterator[Progress]:
        """Measure what is in these places of the order; what is known is not measured again."""
        if self.groups is None:
            return asked.measure(self.nodes(places), effect)
        return asked.effects(effect).measure_groups(self.groups, self.rows(places).tolist())

    def edits(self, places: range) -> int:
        """How many edits measuring these places takes."""
        if self.groups is None:
            return len(places)
        return int(self.groups.components[self.rows(places)].sum())


def ranked(asked: Asked, view: RankView, count: int = 1) -> Ranked:
    """Rank the nodes of what is asked, or groups of them, as `view` says.

    Without a sign the largest absolute value comes first, ties in the order of the model.  By a measured effect,
    what has not been measured yet comes after what has, the largest estimate first.  Of more than MAX_ROWS nodes
    only a page of `count` rows, or more, from `view.first` on is at hand.
    """
    by, places = "component" if view.per == "head" else view.per, places_of(asked, view)
    if is_long(asked, view):
        return replace(_long(asked, view, by, places, count), places=places)
    only = None if view.pos is None else [view.pos]
    table = _rows(asked, view, places, only)
    rows = chosen(asked, table, view)
    of = grouped(table.take(rows), by) if by else table
    return replace(_in_order(asked, view, of, None if by else rows), places=places)


def _long(asked: Asked, view: RankView, by: str, places: tuple[Where, ...], count: int) -> Ranked:
    """The same where one table would be too large: made of a few tokens' rows at a time."""
    blocks = asked.blocks((*view.kinds, *(["latent"] if places and "latent" not in view.kinds else [])))

    def every(positions: Sequence[int]) -> NodeTable:
        return _block(asked, view, places, positions)

    if by:
        return _in_order(asked, view, groups_of_long(asked, view, by, blocks, every))
    if view.each is None:
        page = page_of_long(asked, view, view.first, count, blocks, every)
        values, rows = column(asked, page.table, None, view.by), np.arange(len(page.table))
        return Ranked(
            page.table, rows, values, view.by, None, start=page.start, of=page.of, before=page.before
        )
    return _in_order(asked, view, joined([_best_of_each(asked, view, every(at)) for at in blocks]))


def is_long(asked: Asked, view: RankView) -> bool:
    """Whether there are too many nodes for one table; of latents only those that are active will have a row."""
    if view.pos is not None:
        return False
    of_model = [kind for kind in view.kinds if kind not in OF_DICTIONARIES]
    plain = sum(map(asked.rows_of, of_model))
    latents = asked.rows_of("latent") if places_of(asked, view) else 0
    return plain > MAX_ROWS or plain + latents > MOST_WITH_LATENTS


def places_of(asked: Asked, view: RankView) -> tuple[Where, ...]:
    """The dictionaries that are on a view's books: those in the places of its rows, all where latents are ranked."""
    if _are_asked_for(view):
        return asked.in_use(tuple(DICTIONARY_SITES))
    return asked.in_use(letters_of(view.latents))


def letters_of(sides: Collection[str]) -> list[str]:
    """The letters of the dictionaries that are swapped in."""
    return [letter for side in sorted(sides) for letter in SIDES[side][0]]


def _rows(asked: Asked, view: RankView, places: tuple[Where, ...], positions: list[int] | None) -> NodeTable:
    """The rows of a view's kinds; latents, errors and biases of dictionaries in the places of what they take apart."""
    table = joined([asked.table(kind, positions) for kind in view.kinds])
    found = [table if _are_asked_for(view) else table.take(~stands_for(table, places))]
    for group, shown in _groups_in_place(view, places):
        found.append(asked.of_dictionaries(group, shown, positions))
    return joined(found)


def _block(asked: Asked, view: RankView, places: tuple[Where, ...], positions: Sequence[int]) -> NodeTable:
    """The same at some tokens, nothing of it kept."""
    kinds = [kind for kind in view.kinds if kind not in OF_DICTIONARIES]
    table = asked.block(kinds, positions) if kinds else NodeTable.empty()
    found = [table if _are_asked_for(view) else table.take(~stands_for(table, places))]
    every = tuple(asked.run.trace.dictionaries) if _are_asked_for(view) else places
    tables = asked.block_of_dictionaries(every, positions) if every else {}
    found += [tables[kind] for kind in view.kinds if kind in OF_DICTIONARIES]
    for group, shown in _groups_in_place(view, places):
        found.append(tables[group].take(_of_places(tables[group], shown)))
    return joined(found)


def _are_asked_for(view: RankView) -> bool:
    """Whether latents or errors themselves are ranked, not in the places of other rows."""
    return bool(OF_DICTIONARIES & set(view.kinds))


def _groups_in_place(view: RankView, places: tuple[Where, ...]) -> Iterator[tuple[str, tuple[Where, ...]]]:
    """Which groups of dictionaries' rows stand among a view's, and of which places."""
    if not places or _are_asked_for(view):
        return
    kinds = set(view.kinds)
    letters = {letter for side in view.latents if SIDES[side][1] & kinds for letter in SIDES[side][0]}
    shown = tuple(at for at in places if LETTER_OF[at[0]] in letters)
    if shown:
        yield from (("latent", shown), ("error", shown))
    if "bias" in kinds:
        yield "beside", places


def _of_places(table: NodeTable, places: tuple[Where, ...]) -> NDArray[np.bool_]:
    own = {(SITES.index(LETTER_OF[site]), layer) for site, layer in places}
    return np.array([(site, layer) in own for site, layer in zip(table.site, table.layer, strict=True)], bool)


def _best_of_each(asked: Asked, view: RankView, table: NodeTable) -> NodeTable:
    """The first rows of every kind at some tokens: those of all tokens are among them."""
    found = _in_order(asked, view, table, chosen(asked, table, view))
    return found.table.take(found.order)


def _in_order(
    asked: Asked, view: RankView, of: NodeTable | Groups, rows: NDArray[np.int64] | None = None
) -> Ranked:
    """Groups, or some rows of a table, as a ranking."""
    table, groups = (of.table, of) if isinstance(of, Groups) else (of, None)
    rows = np.arange(len(table)) if rows is None else rows
    values = column(asked, table, groups, view.by)
    order = ordered(kept(asked, table, groups, view, rows), values, table.total)
    if view.each is not None:
        order = order[first_of_each(table.group_numbers()[order], view.each)]
    return Ranked(table, order, values, view.by, view.pos, groups)
