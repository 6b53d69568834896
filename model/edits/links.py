"""Edges as addresses: a component that writes, one that reads the residual stream after it, and at which token.

What reads is a head's query, key or value, an MLP, or the unembedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from model.components import DICTIONARY, Component, Kind
from model.edits.changes import Span, place
from model.lines import last_line, written_on

INPUTS = (Kind.Q, Kind.K, Kind.V)
READERS = (*INPUTS, Kind.MLP, Kind.UNEMBED)
TAILS = (
    Kind.EMBED,
    Kind.TOKEN_EMBED,
    Kind.POS_EMBED,
    Kind.HEAD,
    Kind.ATTN,
    Kind.MLP,
    Kind.NEURON,
    Kind.ATTN_BIAS,
    Kind.MLP_BIAS,
)
WHOLES = {
    Kind.HEAD: Kind.ATTN,
    Kind.ATTN_BIAS: Kind.ATTN,
    Kind.NEURON: Kind.MLP,
    Kind.MLP_BIAS: Kind.MLP,
    Kind.TOKEN_EMBED: Kind.EMBED,
    Kind.POS_EMBED: Kind.EMBED,
}
"What is a part of what."
ARROW = "->"


@dataclass(frozen=True, slots=True)
class Link:
    """An edge: `L0H1@3 -> L2H1.q`, or `L0H1@3<2 -> M1` of a head's pair."""

    tail: Component
    head: Component
    "A head's Q, K or V, an MLP, or the unembedding."
    span: Span | None = None
    "At which tokens; None is every one."
    key: int | None = None

    def __str__(self) -> str:
        return f"{place(self.tail, self.span, self.key)} {ARROW} {self.head}"


def readers_of(part: Component, n_head: int) -> tuple[Component, ...]:
    """The inputs by which a component reads: of a head its q, k and v.  Raises ValueError for what reads nothing."""
    match part.kind:
        case Kind.HEAD:
            return tuple(Component(kind, part.layer, part.index) for kind in INPUTS)
        case Kind.ATTN:
            return tuple(_heads_inputs(part.layer, n_head, INPUTS))
        case Kind.Q | Kind.K | Kind.V if part.index is None:
            return tuple(_heads_inputs(part.layer, n_head, (part.kind,)))
        case kind if kind in READERS:
            return (part,)
        case _:
            raise ValueError(f"{part} is no reader: heads, their q, k and v, A9, M9 and U are")


def _heads_inputs(layer: int, n_head: int, kinds: Sequence[Kind]) -> Iterator[Component]:
    for index in range(n_head):
        yield from (Component(kind, layer, index) for kind in kinds)


def check_link(tail: Component, head: Component, n_layer: int) -> None:
    """Raises ValueError, one sentence, for an edge that no model has."""
    if tail.kind in DICTIONARY:
        raise ValueError(
            f"{tail} is of an SAE: edges and paths go from one of the model's own parts to another"
        )
    if tail.kind not in TAILS:
        raise ValueError(f"{tail} is no sender: E, WTE, WPE, heads, A9, M9, neurons and biases of layers are")
    if written_on(tail) >= reading_line(head, n_layer):
        raise ValueError(f"{tail} does not come before {head}: an edge goes down the pass")


def reading_line(head: Component, n_layer: int) -> int:
    """The line on which a reader reads (numbered E = 0, A0 = 1, M0 = 2, ..., U)."""
    if head.kind is Kind.UNEMBED:
        return last_line(n_layer)
    return 1 + 2 * head.layer if head.kind in INPUTS else 2 + 2 * head.layer


def first_layer(heads: Iterable[Component], n_layer: int) -> int:
    """The earliest layer that a change of readers touches: U's stream is that which leaves the last one."""
    return min(n_layer - 1 if head.kind is Kind.UNEMBED else head.layer for head in heads)
