"""What edits of edges and paths tell a reader of a reference run: which parts it sees changed, token by token."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.components import Component, Kind
from model.edits.changes import Change, Span
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.links import WHOLES, Link
from model.edits.path_edits import PathPatch

Wired = EdgeChange | EdgeKeep | PathPatch
Tail = tuple[Component, int | None]
"""A part that writes and, of a head's pair, its key."""
Carried = Mapping[Tail, Mapping[int, NODE_CHANGES]]
"""By part and token: the change of the part that a reader alone sees."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one reader sees of parts in place of what they write."""

    carried: Carried
    spared: Carried = field(default_factory=dict[Tail, dict[int, NODE_CHANGES]])
    "Parts that are kept while the whole that they are of is replaced."


def told(reader: Component, wired: Sequence[Wired], shape: tuple[int, int], length: int) -> Told:
    """What edited edges tell a reader; of one edge the later edit counts.  `shape` is of layers and heads."""
    found = Told({})
    for edit in wired:
        if isinstance(edit, EdgeKeep):
            found = _kept(edit, reader, shape, length)
        elif isinstance(edit, EdgeChange):
            found = _with([each.change for each in edit.carried if each.head == reader], found, length)
    return found


def sent(path: PathPatch, length: int) -> Told:
    """What a path's third pass sees of its senders."""
    return _with(path.sends, Told({}), length)


def _with(changes: Sequence[NODE_CHANGES], before: Told, length: int) -> Told:
    carried = {tail: dict(changes) for tail, changes in before.carried.items()}
    spared = {tail: dict(changes) for tail, changes in before.spared.items()}
    for change in changes:
        tail = change.component, change.key
        for pos in tokens(change.span, length):
            carried.setdefault(tail, {})[pos] = change
            for part, kept in spared.items():
                if part == tail or (change.key is None and part[0] == tail[0]) or is_within(part[0], tail[0]):
                    kept.pop(pos, None)
    return Told(carried, spared)


def is_within(part: Component, whole: Component) -> bool:
    """Whether what a part writes is a part of what the other writes."""
    return WHOLES.get(part.kind) is whole.kind and part.layer == whole.layer


def _kept(edit: EdgeKeep, reader: Component, shape: tuple[int, int], length: int) -> Told:
    """Every node replaced for a reader at the tokens of the edit, but along its own kept edges."""
    n_layer, n_head = shape
    every = tokens(edit.like.span, length)
    carried: dict[Tail, dict[int, NODE_CHANGES]] = {
        (part, None): dict.fromkeys(every, _made(edit.like, part)) for part in _nodes(n_layer, n_head)
    }
    spared: dict[Tail, dict[int, NODE_CHANGES]] = {}
    for link in edit.kept:
        if link.head != reader:
            continue
        for pos in tokens(link.span, length):
            if _is_part(link):
                change = _made(edit.like, link.tail, link.key)
                if pos in every:
                    spared.setdefault((link.tail, link.key), {})[pos] = change
            for (part, _), changes in carried.items():
                whole = link.tail if link.tail.kind is Kind.ATTN else None
                if not _is_part(link) and (part == link.tail or (whole and is_within(part, whole))):
                    changes.pop(pos, None)
    return Told(carried, spared)


def _nodes(n_layer: int, n_head: int) -> Iterator[Component]:
    yield Component(Kind.EMBED)
    for layer in range(n_layer):
        yield from (Component(Kind.HEAD, layer, head) for head in range(n_head))
        yield Component(Kind.MLP, layer)


def _is_part(link: Link) -> bool:
    return link.key is not None or link.tail.kind in (Kind.NEURON, Kind.TOKEN_EMBED, Kind.POS_EMBED)


def _made(like: NODE_CHANGES, part: Component, key: int | None = None) -> NODE_CHANGES:
    fields = {"source_key": key} if hasattr(like, "source_key") else {}
    return replace(like, component=part, key=key, **fields)


def tokens(span: Span | None, length: int) -> range:
    """Those of a span, all of them for None."""
    return range(length) if span is None else range(span.first, span.last + 1)


def apart(changes: Sequence[Change]) -> tuple[list[Change], list[EdgeChange | EdgeKeep], list[PathPatch]]:
    """Changes of places, of edges, and of paths."""
    paths = [change for change in changes if isinstance(change, PathPatch)]
    edges = [change for change in changes if isinstance(change, EdgeChange | EdgeKeep)]
    return [change for change in changes if not isinstance(change, Wired)], edges, paths
