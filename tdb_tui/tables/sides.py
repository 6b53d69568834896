"""Two node tables side by side: their tokens matched, their rows joined, every measure left, right and difference.

Prompts of the same length are joined by address.  Others are joined by role: `START` and `END`, names that both
sides give to a position, and texts that stand as often in the one prompt as in the other, occurrence by occurrence.
A node that one side does not have counts there as nothing, so that differences add up to the difference of the sums.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.nodes import NONE, NodeTable, joined
from tdb_tui.asked import MAX_ROWS, Asked
from tdb_tui.errors import CommandError
from tdb_tui.state import Frame, RankView
from tdb_tui.tables.ranking import ranked

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEASURES = {"total": "total", "direct": "direct", "measured": "", "norm": "write_norm", "act": "act"}
"What `by` takes, and the column of the node table; measured effects are kept apart."


@dataclass(frozen=True, slots=True)
class Place:
    """The prompt of one side."""

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    "Of its tokens, without the spaces around them."
    names: Mapping[str, int]
    "What the user calls some of its positions."


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The rows of one run for one question."""

    name: str
    "`now`, `base`, `B`, or that of a file."
    place: Place
    target: float
    "What is asked about: the metric, or a frame."
    table: NodeTable
    measured: Floats | Asked
    "Of the rows, NaN where not measured; or who measures them."

    def column(self, measure: str, rows: Ints) -> Floats:
        """A measure of some rows, 0 for those that are not there (-1), NaN where it has not been measured."""
        there = rows >= 0
        values = np.zeros(len(rows))
        if measure != "measured":
            every: Floats = getattr(self.table, MEASURES[measure])
            values[there] = every[rows[there]]
        elif isinstance(self.measured, Asked):
            values[there] = self.measured.measured(self.table.take(rows[there]))
        else:
            values[there] = self.measured[rows[there]]
        return values


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Rows joined: `of_left` and `of_right` are row numbers of the two tables, -1 where a side lacks the node."""

    left: Side
    right: Side
    of_left: Ints
    of_right: Ints

    def __len__(self) -> int:
        return len(self.of_left)

    @property
    def only_left(self) -> int:
        return int((self.of_right < 0).sum())

    @property
    def only_right(self) -> int:
        return int((self.of_left < 0).sum())

    def values(self, measure: str, rows: Ints) -> tuple[Floats, Floats, Floats]:
        """Left, right, left minus right."""
        left = self.left.column(measure, self.of_left[rows])
        right = self.right.column(measure, self.of_right[rows])
        return left, right, left - right

    def order(self, measure: str, sign: str = "") -> Ints:
        """Row numbers, the largest difference first; rows whose difference is not known are left out."""
        _, _, difference = self.values(measure, np.arange(len(self)))
        keep = ~np.isnan(difference)
        if sign:
            keep &= difference > 0 if sign == "+" else difference < 0
        rows = np.flatnonzero(keep)
        return rows[np.argsort(-np.abs(difference[rows]), kind="stable")]


def live(name: str, place: Place, asked: Asked, kinds: Sequence[str], pos: int | None) -> Side:
    """A side from a run at hand: the rows upstream of what is asked about, at every token or at `pos` only.

    `pos` -1 is a token that this side does not have: it has no rows then.
    """
    return Side(name, place, asked.value, joined([upstream_rows(asked, kind, pos) for kind in kinds]), asked)


def upstream_rows(asked: Asked, kind: str, pos: int | None = None) -> NodeTable:
    """All nodes of a kind that can move what is asked about, in the order of the model.

    One token's rows are taken from those of all tokens where these are few enough: made alone they would be rounded
    otherwise, and a run would differ from itself.
    """
    many = asked.rows_of(kind) > MAX_ROWS
    found = ranked(
        asked, RankView(kinds=(kind,), by="total", pos=max(pos, 0) if many and pos is not None else None)
    )
    table = found.table.take(np.sort(found.order))
    return table if pos is None else table.at([pos])


def compared(left: Side, right: Side, partner: Ints) -> Comparison:
    """Join two sides; `partner` is each left token's right one, -1 where it has none: [left pos]."""
    beyond = len(right.place.texts)  # left tokens without a partner are no right token
    places = np.where(partner >= 0, partner, beyond + np.arange(len(partner)))
    ours = _codes(left.table, places)
    theirs = _codes(right.table, np.arange(beyond))
    found = _matches(ours, theirs)
    alone = np.setdiff1d(np.arange(len(theirs)), found)
    return Comparison(
        left,
        right,
        np.concatenate([np.arange(len(ours)), np.full(len(alone), NONE)]),
        np.concatenate([found, alone]),
    )


def _codes(table: NodeTable, places: Ints) -> Ints:
    """One number a row, its token and key called by `places`."""
    key = np.where(table.key < 0, NONE, places[table.key])
    return replace(table, pos=places[table.pos], key=key).codes()


def _matches(codes: Ints, others: Ints) -> Ints:
    """The row of `others` with the same code, the second of two alike for the second; -1 where there is none."""
    own, order = np.argsort(codes, kind="stable"), np.argsort(others, kind="stable")
    ours, theirs = codes[own], others[order]
    nth = np.arange(len(ours)) - np.searchsorted(ours, ours)
    at = np.searchsorted(theirs, ours) + nth
    hit = at < len(theirs)
    hit[hit] = theirs[at[hit]] == ours[hit]
    found = np.full(len(codes), NONE)
    found[own[hit]] = order[at[hit]]
    return found


def partners(left: Place, right: Place, given: Sequence[tuple[int, int]] = ()) -> Ints:
    """Each left token's partner on the right, -1 where it has none; `given` pairs come before all others."""
    if not given and len(left.texts) == len(right.texts):
        return np.arange(len(left.texts))
    ends = [(0, 0), (len(left.texts) - 1, len(right.texts) - 1)]
    named = [(at, right.names[name]) for name, at in left.names.items() if name in right.names]
    found = np.full(len(left.texts), NONE)
    taken: set[int] = set()
    for ours, theirs in (*given, *named, *ends, *_same_texts(left.texts, right.texts)):
        inside = ours < len(left.texts) and theirs < len(
            right.texts
        )  # names outlive the prompt they were for
        if inside and found[ours] < 0 and theirs not in taken:
            found[ours] = theirs
            taken.add(theirs)
    return found


def _same_texts(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Tokens whose text stands as often in both prompts, the first with the first."""
    where = [_positions(texts) for texts in (left, right)]
    return [
        pair
        for text, ours in where[0].items()
        if len(ours) == len(where[1].get(text, ()))
        for pair in zip(ours, where[1][text], strict=True)
    ]


def _positions(texts: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for at, text in enumerate(texts):
        found[text].append(at)
    return found


def carried(frames: Sequence[Frame], partner: Ints, name: str) -> tuple[Frame, ...]:
    """The frames as they are on the right side.  Raises CommandError where a token of them has no partner there."""
    return tuple(_carried(frame, partner, name) for frame in frames)


def _carried(frame: Frame, partner: Ints, name: str) -> Frame:
    node = frame.node
    for at in (node.pos, node.key):
        if at is not None and partner[at] < 0:
            message = (
                f"{frame.text} has no counterpart in {name}: name the partner of token {at} (with {at}=POS)"
            )
            raise CommandError(message, code="no-partner")
    pos, key = int(partner[node.pos]), None if node.key is None else int(partner[node.key])
    if key is not None and key > pos:
        message = f"{frame.text} has no counterpart in {name}: its key {key} is after its query {pos} there"
        raise CommandError(message, code="no-partner")
    return replace(frame, node=replace(node, pos=pos, key=key))
