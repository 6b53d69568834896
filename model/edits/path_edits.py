"""Path patching as frozen values: what senders' changed writes do to receivers along some paths alone.

What the two meanings are, and how a pass makes them, is in `paths.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from model.components import Component, Kind
from model.edits.changes import Change, Span
from model.edits.compounds import listed
from model.edits.edge_tables import contains
from model.edits.edges import NODE_CHANGES, last_of, manner_of, meet, node_change
from model.edits.links import ARROW, check_link, first_layer


class Meaning(Enum):
    """Which paths carry a sender's change to the receivers."""

    DIRECT = "direct"
    "The edge alone: every other component as in run A."
    MLPS = "mlps"
    "Through any MLPs in between, which are computed again; other heads as in run A."


@dataclass(frozen=True, slots=True)
class PathPatch:
    """Receivers read the stream as it is when senders are changed and, but for MLPs perhaps, nothing else is.

    Run A is the run of all changes but paths, wherever they stand; several paths into one receiver add up.
    """

    sends: tuple[NODE_CHANGES, ...]
    receivers: tuple[Component, ...]
    meaning: Meaning = Meaning.DIRECT
    tokens: Span | None = None
    "At which the receivers' inputs are given; None is every token of the prompt."

    def __post_init__(self) -> None:
        tails = [(change.component, change.key) for change in self.sends]
        for at, tail in enumerate(tails):
            for other, before in zip(tails[:at], self.sends, strict=False):
                if tail == other and meet(self.sends[at].span, before.span):
                    raise ValueError(
                        f"{self.sends[at].place} is a sender twice: name each of its tokens once"
                    )
                if tail != other and (contains(tail, other) or contains(other, tail)):
                    raise ValueError(
                        f"{tail[0]} and {other[0]} write the same: name one of them as the sender"
                    )

    @property
    def component(self) -> Component:
        return Component(Kind.UNEMBED)  # the end of every path: no part's own value is replaced

    @property
    def span(self) -> Span | None:
        return self.tokens

    @property
    def key(self) -> None:
        return None

    @property
    def last(self) -> int:
        return last_of([self.tokens, *(change.span for change in self.sends)])

    @property
    def ends(self) -> bool:
        return any(receiver.kind is Kind.UNEMBED for receiver in self.receivers)

    @property
    def inner(self) -> tuple[NODE_CHANGES, ...]:
        """The changes of senders that it is made of."""
        return self.sends

    def first_layer(self, n_layer: int) -> int:
        return first_layer(self.receivers, n_layer)

    def moved(self, change: Callable[[Change], Change], span: Callable[[Span], Span]) -> "PathPatch":
        """The same at other tokens."""
        sends = tuple(node_change(change(each)) for each in self.sends)
        return replace(self, sends=sends, tokens=self.tokens and span(self.tokens))

    def __str__(self) -> str:
        senders = listed([change.place for change in self.sends])
        receivers = ",".join(str(receiver) for receiver in self.receivers)
        at = "" if self.tokens is None else f"@{self.tokens}"
        return f"path {senders} {ARROW} {receivers}{at} {manner_of(self.sends)} {self.meaning.value}"


def check_path(path: PathPatch, n_layer: int) -> None:
    """Raises ValueError, one sentence, for a sender that comes after a receiver."""
    for change in path.sends:
        for receiver in path.receivers:
            check_link(change.component, receiver, n_layer)
