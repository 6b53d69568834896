"""Sweeps: one change after the other at every cell of a grid, and what becomes of a target.

A grid is two axes and the changes of each cell.  Cells are measured by replay, many in a batch; one that changes
nothing (another run's value where both runs are alike, a token after what is read) is the baseline, exactly.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Sources, Span, Steer
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import Scorer
from model.sites import Hook, no_hook
from model.trace import Trace

BY_LAYER = {
    "resid_pre": Kind.RESID_PRE,
    "resid_mid": Kind.RESID_MID,
    "resid_post": Kind.RESID_POST,
    "attn_out": Kind.ATTN,
    "mlp_out": Kind.MLP,
}
"What a layer has one of at every token."
BY_HEAD = {"heads": Kind.HEAD, "q": Kind.Q, "k": Kind.K, "v": Kind.V, "pattern": Kind.PATTERN}
"What every head has one of at every token."

Movable = Ablate | Patch | Freeze | Steer
"Changes of one place, which can be made at another."
Cell = tuple[Change, ...]
"Made together; empty where the grid has no cell."


@dataclass(frozen=True, slots=True)
class Axis:
    name: str
    "`layer`, `head`, `position`, `query`, `key`, `amount`, `node`."
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Grid:
    rows: Axis
    columns: Axis
    cells: tuple[tuple[Cell, ...], ...]
    "[row][column]"

    def places(self) -> list[tuple[int, int]]:
        """Where there is a cell, row by row."""
        return [(at, by) for at, row in enumerate(self.cells) for by, cell in enumerate(row) if cell]


@dataclass(frozen=True, slots=True)
class Spot:
    """Tokens that are changed together, in order, and those of the other run that their values are from."""

    label: str
    here: tuple[int, ...]
    there: tuple[int, ...] = ()
    "As many; none where nothing is taken from another run."
    whole: bool = False
    "Whether these are all tokens, those generated later too."

    def pieces(self) -> Iterator[tuple[Span, Span | None]]:
        """As few spans as hold them, each with the one that its values are from."""
        pairs = list(zip(self.here, self.there or self.here, strict=True))
        starts = [
            0,
            *(n for n, (a, b) in enumerate(pairwise(pairs), 1) if (b[0] - a[0], b[1] - a[1]) != (1, 1)),
        ]
        for start, stop in pairwise([*starts, len(pairs)]) if pairs else ():
            (here, there), (last, last_there) = pairs[start], pairs[stop - 1]
            yield Span(here, last), Span(there, last_there) if self.there else None


@dataclass(frozen=True, slots=True)
class Spots:
    """What an axis of positions has; None where a prompt lacks a role."""

    labels: tuple[str, ...]
    spots: tuple[Spot | None, ...]


def made_at(change: Movable, part: Component, spot: Spot, key: Spot | None = None) -> Cell:
    """The same change made at another place; a key is one token.  Raises ValueError where it cannot be made there."""
    if not isinstance(change, Patch):
        spans = [None] if spot.whole else [span for span, _ in spot.pieces()]
        at = None if key is None else key.here[0]
        return tuple(replace(change, component=part, span=span, key=at) for span in spans)
    keys = {} if key is None else {"key": key.here[0], "source_key": key.there[0]}
    pieces = [(span, source) for span, source in spot.pieces() if source is not None]
    return tuple(replace(change, component=part, span=span, source=source, **keys) for span, source in pieces)


def by_token(rows: Axis, parts: Sequence[Component], spots: Spots, change: Movable) -> Grid:
    """Part x position."""
    cells = [[() if spot is None else made_at(change, part, spot) for spot in spots.spots] for part in parts]
    return _grid(rows, Axis("position", spots.labels), cells)


def by_head(
    parts: Sequence[Sequence[Component]], wanted: Collection[Component], spot: Spot | None, change: Movable
) -> Grid:
    """Layer x head: a head's output or inputs at one spot.  None wanted is all of them."""
    chosen = {(part.layer, part.index) for part in wanted}
    cells = [
        [
            made_at(change, part, spot)
            if spot is not None and (not chosen or (part.layer, part.index) in chosen)
            else ()
            for part in row
        ]
        for row in parts
    ]
    rows = Axis("layer", tuple(str(row[0].layer) for row in parts))
    return _grid(rows, Axis("head", tuple(str(part.index) for part in parts[0])), cells)


def by_pair(head: Component, spots: Spots, change: Movable) -> Grid:
    """Query x key of a head: no key after its query, and none cut that is its query's only one."""
    cut = isinstance(change, Ablate) and change.mode is Mode.CUT
    cells = [
        [
            made_at(change, head, query, key)
            if query is not None
            and key is not None
            and _causal(query, key)
            and not (cut and not query.here[0])
            else ()
            for key in spots.spots
        ]
        for query in spots.spots
    ]
    return _grid(Axis("query", spots.labels), Axis("key", spots.labels), cells)


def by_amount(labels: Sequence[str], changes: Sequence[Steer], amounts: Sequence[float]) -> Grid:
    """Place x coefficient; without changes a grid that has no cells."""
    cells = [[(change.with_amount(amount),) for amount in amounts] for change in changes]
    columns = Axis("amount", tuple(f"{amount:g}" for amount in amounts))
    return _grid(Axis("node", tuple(labels)), columns, cells or [[()] * len(columns)] * len(labels))


def _grid(rows: Axis, columns: Axis, cells: Sequence[Sequence[Cell]]) -> Grid:
    return Grid(rows, columns, tuple(map(tuple, cells)))


def _causal(query: Spot, key: Spot) -> bool:
    """Whether it is one pair, which attention can read here and where its value is from."""
    sides = [(query.here, key.here), *([(query.there, key.there)] if query.there else [])]
    return all(len(q) == 1 and len(k) == 1 and k[0] <= q[0] for q, k in sides)


def measure_grid(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    grid: Grid,
    sources: Sources = Sources(),
    wanted: Callable[[int, int], bool] = lambda row, column: True,
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, int, float]]:
    """(row, column, target with that cell's changes made on top of the trace's own), as they are computed.

    `also` is called before every line and may raise to stop.
    """
    places = [place for place in grid.places() if wanted(*place)]
    cells = [grid.cells[row][column] for row, column in places]
    for at, value in measure(model, trace, scorer, cells, sources, also=also):
        yield *places[at], value


def patch_residuals(
    model: GPT2,
    trace: Trace,
    other: Trace,
    scorer: Scorer,
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, int, float]]:
    """(layer, pos, target with `resid_pre` there as it is in `other`), as they are computed.

    The trace's own edits of later lines stay made; those that patch take their values from `other` too.  `also` is
    called before every line and may raise to stop.  Raises ValueError for runs of different lengths.
    """
    length, layers = len(trace.tokens), range(model.config.n_layer)
    if len(other.tokens) != length:
        raise ValueError(f"{length} and {len(other.tokens)} tokens: a sweep needs two runs of one length")
    labels = tuple(map(str, range(length)))
    spots = Spots(labels, tuple(Spot(label, (pos,), (pos,)) for pos, label in enumerate(labels)))
    parts = [Component(Kind.RESID_PRE, layer) for layer in layers]
    grid = by_token(
        Axis("layer", tuple(map(str, layers))), parts, spots, Patch(parts[0], Span(0, 0), Span(0, 0))
    )
    yield from measure_grid(model, trace, scorer, grid, replace(sources, other=other), also=also)
