"""Which difference every reader meets at every token: edits of edges, one after the other, as tables of weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from model.components import RESIDUAL, Component, Kind
from model.edits.changes import Ablate, Change, Mode, Patch, Span, Steer
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.links import INPUTS, WHOLES, Link, reading_line
from model.gpt2 import Config
from model.lines import last_line, written_on

Tail = tuple[Component, int | None]
"A component and, of a head's pair, its key."


@dataclass(frozen=True, slots=True)
class Cut:
    """An edit of the residual stream."""

    line: int
    "The first line that reads it."
    span: Span | None
    left: float
    "How much of earlier writes is still there, as a factor."

    def holds(self, pos: int) -> bool:
        """Whether it is at a token."""
        return self.span is None or self.span.first <= pos <= self.span.last


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """What the readers on one line meet in place of writes."""

    heads: tuple[Component, ...]
    changes: tuple[NODE_CHANGES, ...]
    weights: Tensor
    "How often each change's difference is added: [reader, change, batch or 1, pos]."


@lru_cache(maxsize=16)
def tables(
    edges: tuple[EdgeChange | EdgeKeep, ...], cuts: tuple[tuple[Cut, ...], ...], length: int, config: Config
) -> Mapping[int, Reads]:
    """By reading line.  Where a row's stream has been edited, of earlier writes only what is left counts."""
    found: dict[int, Reads] = {}
    for line in range(1, last_line(config.n_layer) + 1):
        changes = tuple(dict.fromkeys(_changes_before(edges, line, config)))
        heads = tuple(_readers(edges, line, config))
        if changes and heads:
            weights = torch.zeros(len(heads), len(changes), length)
            for edit in edges:
                if isinstance(edit, EdgeKeep):
                    _keep(edit, heads, changes, weights, config)
                else:
                    _set(edit, heads, changes, weights)
            left = torch.stack([in_stream(change.component, line, cuts, length) for change in changes])
            found[line] = Reads(heads, changes, weights[:, :, None] * left)
    return found


def tails_of(edit: EdgeChange | EdgeKeep, config: Config) -> Iterator[NODE_CHANGES]:
    """The changes whose differences an edit is made of: for one that keeps edges, of every node and of kept parts."""
    if isinstance(edit, EdgeChange):
        yield from edit.inner
        return
    yield made(edit.like, Component(Kind.EMBED))
    for layer in range(config.n_layer):
        yield from (made(edit.like, Component(Kind.HEAD, layer, head)) for head in range(config.n_head))
        yield made(edit.like, Component(Kind.MLP, layer))
    yield from (made(edit.like, link.tail, link.key) for link in edit.kept if is_part(link))


def made(like: NODE_CHANGES, part: Component, key: int | None = None) -> NODE_CHANGES:
    """The same change of another component."""
    if isinstance(like, Patch):
        return replace(like, component=part, key=key, source_key=key)
    return replace(like, component=part, key=key)


def is_part(link: Link) -> bool:
    """Whether a kept edge's tail is less than a node: a pair, a neuron, one of the two embeddings."""
    return link.key is not None or link.tail.kind in (Kind.NEURON, Kind.TOKEN_EMBED, Kind.POS_EMBED)


def _changes_before(
    edges: Sequence[EdgeChange | EdgeKeep], line: int, config: Config
) -> Iterator[NODE_CHANGES]:
    for edit in edges:
        if isinstance(edit, EdgeKeep):
            yield from (each for each in tails_of(edit, config) if written_on(each.component) < line)
        else:
            here = (each for each in edit.carried if reading_line(each.head, config.n_layer) == line)
            yield from (each.change for each in here)


def _readers(edges: Sequence[EdgeChange | EdgeKeep], line: int, config: Config) -> Iterator[Component]:
    if any(isinstance(edit, EdgeKeep) for edit in edges):
        yield from all_readers(line, config)
        return
    heads = (each.head for edit in edges if isinstance(edit, EdgeChange) for each in edit.carried)
    yield from dict.fromkeys(head for head in heads if reading_line(head, config.n_layer) == line)


def all_readers(line: int, config: Config) -> Iterator[Component]:
    """Every input that reads on a line."""
    layer = (line - 1) // 2
    if line == last_line(config.n_layer):
        yield Component(Kind.UNEMBED)
    elif line % 2 == 0:
        yield Component(Kind.MLP, layer)
    else:
        for kind in INPUTS:
            yield from (Component(kind, layer, head) for head in range(config.n_head))


def _keep(
    edit: EdgeKeep,
    heads: Sequence[Component],
    changes: Sequence[NODE_CHANGES],
    weights: Tensor,
    config: Config,
) -> None:
    """Every node's write replaced for every reader, but along the edges that are kept."""
    weights.zero_()
    column = {change: at for at, change in enumerate(changes)}
    for change in tails_of(replace(edit, kept=()), config):
        if change in column:
            weights[:, column[change]] = 1
    row = {head: at for at, head in enumerate(heads)}
    for link in sorted(edit.kept, key=is_part):  # a part that is kept within a node that is kept adds nothing
        if link.head not in row:
            continue
        here, at = weights[row[link.head]], _slice(link.span)
        if is_part(link):
            whole = column[made(edit.like, _node_of(link))]
            here[column[made(edit.like, link.tail, link.key)], at] = -here[whole, at]
            continue
        for part in _nodes_of(link.tail, config):
            here[column[made(edit.like, part)], at] = 0


def _node_of(link: Link) -> Component:
    """The node that a part is of."""
    if link.key is not None:
        return link.tail
    return Component(WHOLES[link.tail.kind], link.tail.layer)


def _nodes_of(tail: Component, config: Config) -> list[Component]:
    """The nodes that a kept tail is: all heads of an attention, none for a bias, which is never replaced."""
    match tail.kind:
        case Kind.ATTN:
            return [Component(Kind.HEAD, tail.layer, head) for head in range(config.n_head)]
        case Kind.ATTN_BIAS | Kind.MLP_BIAS:
            return []
        case _:
            return [tail]


def _set(
    edit: EdgeChange, heads: Sequence[Component], changes: Sequence[NODE_CHANGES], weights: Tensor
) -> None:
    """Edges one after the other; a later one takes the place of what it has in common with earlier ones."""
    column, row = ({each: at for at, each in enumerate(all_)} for all_ in (changes, heads))
    for carried in edit.carried:
        if carried.head not in row or carried.change not in column:
            continue
        here, change = weights[row[carried.head]], carried.change
        span = torch.zeros(weights.shape[-1], dtype=torch.bool)
        span[_slice(change.span)] = True
        for other in changes:
            if contains(_tail(other), _tail(change)) and _tail(other) != _tail(change):
                span &= here[column[other]] == 0  # the whole is replaced already
        for other in changes:
            if contains(_tail(change), _tail(other)):
                here[column[other], span] = 0
        here[column[change], span] = 1


def _tail(change: NODE_CHANGES) -> Tail:
    return change.component, change.key


def contains(whole: Tail, part: Tail) -> bool:
    """Whether all that the one writes is written by the other."""
    if whole == part:
        return True
    (outer, key), (inner, _) = whole, part
    if key is not None or outer.layer != inner.layer:
        return False
    return outer == inner or WHOLES.get(inner.kind) is outer.kind


def of_whole(change: Change, tail: NODE_CHANGES) -> bool:
    """Whether a change is of something that a tail is a part of."""
    whole, part = change.component, tail.component
    within = whole.kind is WHOLES.get(part.kind) and whole.layer == part.layer
    return within or (whole == part and tail.key is not None and change.key is None)


def in_stream(part: Component, line: int, rows: Sequence[Sequence[Cut]], length: int) -> Tensor:
    """How much of a write is in the stream that a line reads, each row of a batch cut by its own: [row, pos]."""
    found = torch.ones(len(rows), length)
    for left, cuts in zip(found, rows, strict=True):
        for cut in cuts:
            if written_on(part) < cut.line <= line and not (part.kind is Kind.EMBED and cut.line == 1):
                left[_slice(cut.span)] *= cut.left
    return found


def cuts_of(changes: Sequence[Change]) -> tuple[Cut, ...]:
    """Where the residual stream is edited."""
    first = {Kind.RESID_PRE: 1, Kind.RESID_MID: 2, Kind.RESID_POST: 3}
    places = [change for change in changes if change.component.kind in RESIDUAL]
    return tuple(
        Cut(first[each.component.kind] + 2 * each.component.layer, each.span, left_by(each))
        for each in places
    )


def left_by(change: Change) -> float:
    """How much a change leaves of what was at its place before: all where it adds, none where it replaces."""
    if isinstance(change, Steer) or (isinstance(change, Ablate) and change.mode is Mode.NOISE):
        return 1.0
    return change.amount if isinstance(change, Ablate) and change.mode is Mode.SCALE else 0.0


def _slice(span: Span | None) -> slice:
    return slice(None) if span is None else span.slice
