"""Edits of edges: what one component writes is changed for some of its readers alone.

An edge goes from a component that writes to one that reads the residual stream after it, at the same token: a head's
query, key or value, an MLP, or the unembedding.  Editing it leaves the writer as it is; the reader meets the stream
with the write replaced, its layer norm live.  How the pass does this is in `wiring.py`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from model.components import Component, Kind
from model.edits.changes import Ablate, Change, Mode, Patch, Span, place
from model.edits.links import ARROW, Link, first_layer

NODE_CHANGES = Ablate | Patch
"What an edge can be made to carry: its tail ablated, or patched."


@dataclass(frozen=True, slots=True)
class Carried:
    """An edge that carries something else: a change of its tail that its head alone sees."""

    change: NODE_CHANGES
    head: Component


@dataclass(frozen=True, slots=True)
class EdgeChange:
    """Edges edited together in one pass: every head reads the stream with all of its edges' writes replaced.

    Where one edge is edited twice the later edit counts, and where a whole and its part are (a head and its pair),
    the whole's.
    """

    carried: tuple[Carried, ...]

    @property
    def component(self) -> Component:
        return Component(Kind.UNEMBED)  # the end of every path: no part's own value is replaced

    @property
    def span(self) -> Span | None:
        return spanned([change.span for change in self.inner])

    @property
    def key(self) -> None:
        return None

    @property
    def last(self) -> int:
        return last_of([change.span for change in self.inner])

    @property
    def heads(self) -> tuple[Component, ...]:
        return tuple(each.head for each in self.carried)

    @property
    def ends(self) -> bool:
        return any(head.kind is Kind.UNEMBED for head in self.heads)

    @property
    def inner(self) -> tuple[NODE_CHANGES, ...]:
        """The changes of tails that it is made of."""
        return tuple(dict.fromkeys(each.change for each in self.carried))

    def first_layer(self, n_layer: int) -> int:
        return first_layer(self.heads, n_layer)

    def moved(self, change: Callable[[Change], Change], span: Callable[[Span], Span]) -> "EdgeChange":
        """The same at other tokens."""
        return EdgeChange(
            tuple(replace(each, change=node_change(change(each.change))) for each in self.carried)
        )

    def __str__(self) -> str:
        kinds: dict[str, list[Carried]] = {}
        for each in self.carried:
            kinds.setdefault(_kind_of(each.change), []).append(each)
        return " ;; ".join(_command(carried) for carried in kinds.values())


def _command(carried: Sequence[Carried]) -> str:
    """The command that edits edges of one kind."""
    verb = "patch" if isinstance(carried[0].change, Patch) else "ablate"
    texts = [
        f"{change.place} {ARROW} {','.join(str(each.head) for each in group)}"
        for change, group in groupby(carried, key=lambda each: each.change)
    ]
    return f"edge {verb} {', '.join(texts)} {manner_of([each.change for each in carried])}"


@dataclass(frozen=True, slots=True)
class EdgeKeep:
    """Every edge between E, heads, MLPs and the unembedding replaced but those that are kept: a circuit of edges.

    Biases of attention stay as they are; an MLP's is part of its write.
    """

    kept: tuple[Link, ...]
    like: NODE_CHANGES
    "How the others are replaced, as a change of E at all tokens."

    @property
    def component(self) -> Component:
        return Component(Kind.UNEMBED)

    @property
    def span(self) -> Span | None:
        return self.like.span

    @property
    def key(self) -> None:
        return None

    @property
    def last(self) -> int:
        return last_of([self.like.span, *(link.span for link in self.kept)])

    @property
    def ends(self) -> bool:
        return True

    @property
    def inner(self) -> tuple[NODE_CHANGES, ...]:
        return (self.like,)

    def first_layer(self, n_layer: int) -> int:
        return 0

    def moved(self, change: Callable[[Change], Change], span: Callable[[Span], Span]) -> "EdgeKeep":
        """The same at other tokens."""
        kept = tuple(
            replace(
                link,
                span=link.span and span(link.span),
                key=None if link.key is None else span(Span(link.key, link.key)).first,
            )
            for link in self.kept
        )
        return EdgeKeep(kept, node_change(change(self.like)))

    def __str__(self) -> str:
        texts = [
            f"{tail} {ARROW} {','.join(str(link.head) for link in group)}"
            for tail, group in groupby(self.kept, key=lambda link: place(link.tail, link.span, link.key))
        ]
        return f"edge keep {', '.join(texts) or 'none'} {manner_of(self.inner)}"


def node_change(change: Change) -> NODE_CHANGES:
    """Raises ValueError for a change that an edge cannot carry."""
    if not isinstance(change, NODE_CHANGES) or (isinstance(change, Ablate) and change.mode is Mode.CUT):
        raise ValueError(f"an edge cannot carry '{change}': its tail is ablated or patched, and not cut")
    return change


def manner_of(changes: Sequence[NODE_CHANGES]) -> str:
    """How changes are made, without where: `zero`, `scale 0.5`, `from B`.  Raises ValueError where they differ."""
    ways = {_manner(change) for change in changes}
    if len(ways) > 1:  # patches, each from tokens of its own
        ways = {_kind_of(change) for change in changes}
    if len(ways) > 1:
        raise ValueError(f"changes made together are made in one way, not {' and '.join(sorted(ways))}")
    return ways.pop()


def _manner(change: NODE_CHANGES) -> str:
    if isinstance(change, Patch) and (change.source, change.source_key) == (change.span, change.key):
        return _kind_of(change)
    return str(change).split(f" {change.place} ", 1)[1]


def _kind_of(change: NODE_CHANGES) -> str:
    return f"from {change.origin}" if isinstance(change, Patch) else _manner(change)


def spanned(spans: Sequence[Span | None]) -> Span | None:
    """From the first token of some spans to the last; None where one is of every token."""
    named = [span for span in spans if span is not None]
    if not named or len(named) < len(spans):
        return None
    return Span(min(span.first for span in named), max(span.last for span in named))


def meet(span: Span | None, other: Span | None) -> bool:
    """Whether some token is in both."""
    return span is None or other is None or (span.first <= other.last and other.first <= span.last)


def last_of(spans: Iterable[Span | None]) -> int:
    """The last token that spans name, 0 where they name none."""
    return max((span.last for span in spans if span is not None), default=0)


def narrowed(change: NODE_CHANGES, span: Span | None) -> NODE_CHANGES | None:
    """The change at those of its tokens that are in a span, None where there are none."""
    if span is None or span == change.span:
        return change
    own = change.span or span
    first, last = max(own.first, span.first), min(own.last, span.last)
    if last < first:
        return None
    if isinstance(change, Ablate):
        return replace(change, span=Span(first, last))
    shift = change.source.first - change.span.first
    return replace(change, span=Span(first, last), source=Span(first + shift, last + shift))
