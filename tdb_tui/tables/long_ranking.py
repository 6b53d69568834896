"""Rankings of more rows than one table should hold: made a few tokens at a time, and a page of them kept.

36,864 neurons at 512 tokens are 18,874,368 rows: 75 MB of keys here, and 1.2 GB as one table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.effects.groups import Groups, alike, grouped, merged
from model.nodes import NodeTable, joined
from tdb_tui.asked import Asked
from tdb_tui.effects import Effect
from tdb_tui.language.filters import names_in
from tdb_tui.state import RankView
from tdb_tui.tables.chosen import chosen, column, kept
from tdb_tui.tables.pages import LEFT_OUT, Keys, Order, keys_of

Rows = Callable[[Sequence[int]], NodeTable]
"Every row at some tokens."

WINDOW = 10_000
"Rows of a page at least: what the screen scrolls through, and turning it makes nothing again."


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Some rows of a long ranking, in order."""

    table: NodeTable
    start: int
    "The place of the first."
    of: int
    "How many rows the ranking has."
    before: float
    "What the direct effects of those before them add up to, biases apart."

    @property
    def nbytes(self) -> int:
        return self.table.nbytes


def groups_of_long(asked: Asked, view: RankView, by: str, blocks: Sequence[range], every: Rows) -> Groups:
    """The groups of rows that are never all there: `every` row of some tokens, a block of them at a time."""

    def rows(positions: Sequence[int]) -> NodeTable:
        table = every(positions)
        return table.take(chosen(asked, table, view))

    def source(group: NodeTable) -> NodeTable:
        return joined([table.take(alike(table, group, by)) for table in map(rows, blocks)])

    return merged([grouped(rows(block), by) for block in blocks], by, source)


def page_of_long(
    asked: Asked, view: RankView, start: int, count: int, blocks: Sequence[range], every: Rows
) -> Page:
    """The page that has the rows from `start` on, from the ones kept where it is among them."""
    whole, known = replace(view, first=0), asked.known if _reads_measured(view) else 0
    order = asked.kept(
        ("order", whole, known), lambda: Order([_keys(asked, view, every(at)) for at in blocks])
    )
    start = min(start, max(len(order) - 1, 0))
    # pages lie where WINDOW divides the places, so that the next rows are mostly on the page that there is
    first = start - start % WINDOW
    many = -(-(start + count - first) // WINDOW) * WINDOW
    return asked.kept(("page", whole, known, first, many), lambda: _page(order, first, many, blocks, every))


def _reads_measured(view: RankView) -> bool:
    """Whether what is measured next can change the order."""
    named = {view.by} | (names_in(view.where) if view.where is not None else set[str]())
    return not named.isdisjoint(effect.value for effect in Effect)


def _keys(asked: Asked, view: RankView, table: NodeTable) -> Keys:
    rows = kept(asked, table, None, view, chosen(asked, table, view))
    keys = np.full(len(table), LEFT_OUT)
    keys[rows] = keys_of(column(asked, table, None, view.by)[rows], table.total[rows])
    return keys


def _page(order: Order, start: int, count: int, blocks: Sequence[range], every: Rows) -> Page:
    of = len(order)
    parts, keys = list[NodeTable](), list[Keys]()
    before = 0.0
    pages = order.page(start, min(start + count, of)) if of else ()
    for positions, values, (rows, earlier) in zip(blocks, order.blocks, pages, strict=False):
        if len(rows) or earlier.any():
            table = every(positions)
            before += float(table.direct[earlier & ~table.is_bias()].sum())
            parts.append(table.take(rows))
            keys.append(values[rows])
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Page(every([0]).take(nothing), start, of, before)
    ranks = np.argsort(~np.concatenate(keys), kind="stable")
    return Page(joined(parts).take(ranks), start, of, before)
