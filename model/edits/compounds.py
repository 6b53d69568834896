"""Commands that stand for several changes, and the text of several changes made by one command."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from model.components import Component, Kind
from model.edits.changes import Ablate, Change, Freeze, Mode, Patch, Span, Steer, how, place


@dataclass(frozen=True, slots=True)
class AllBut:
    """Ablate every head and every MLP but some: the complement of a circuit."""

    n_layer: int
    n_head: int
    length: int
    "Tokens of the prompt."
    span: Span | None = None
    "Where; None is every position."
    kept: tuple[tuple[Component, Span | None], ...] = ()
    "What is left as it is, and where."
    mode: Mode = Mode.ZERO
    amount: float = 0.0
    seed: int = 0

    @property
    def parts(self) -> tuple[Ablate, ...]:
        """The ablations that it stands for, in the order of the pass."""
        return tuple(self._parts())

    def _parts(self) -> Iterator[Ablate]:
        for layer in range(self.n_layer):
            heads = (Component(Kind.HEAD, layer, head) for head in range(self.n_head))
            for part in (*heads, Component(Kind.MLP, layer)):
                for span in self._spans(part):
                    yield Ablate(part, span, None, self.mode, self.amount, self.seed)

    def _spans(self, part: Component) -> list[Span | None]:
        """Where a part is ablated: all of it where nothing of it is kept."""
        whole = Component(Kind.ATTN, part.layer) if part.kind is Kind.HEAD else part
        kept = [span for each, span in self.kept if each in (part, whole)]
        if not kept:
            return [self.span]
        if None in kept:
            return []
        out = self.span or Span(0, self.length - 1)
        left = [
            pos
            for pos in range(out.first, out.last + 1)
            if not any(span and span.first <= pos <= span.last for span in kept)
        ]
        return list(runs(left))

    def __str__(self) -> str:
        kept = listed([place(part, span, None) for part, span in self.kept])
        but = f" but {kept}" if kept else ""
        return f"ablate {place('all', self.span, None)}{but} {how(self.mode, self.amount, self.seed)}"


Compound = AllBut
"What stands for several changes, its `parts`."


def flat(changes: Iterable[Change | Compound]) -> tuple[Change, ...]:
    """The single changes, in order."""
    parts = ((each.parts if isinstance(each, Compound) else (each,)) for each in changes)
    return tuple(change for group in parts for change in group)


def runs(positions: Sequence[int]) -> Iterator[Span]:
    """Ascending positions as few spans."""
    start = 0
    for at in range(1, len(positions) + 1):
        if at == len(positions) or positions[at] != positions[at - 1] + 1:
            yield Span(positions[start], positions[at - 1])
            start = at


def text_of(changes: Sequence[Change | Compound]) -> str:
    """The one command that makes these changes, alike but for where: their places in one word."""
    first = str(changes[0])
    if len(changes) == 1:
        return first
    places = [change.place for change in changes if isinstance(change, Ablate | Patch | Freeze | Steer)]
    rest = first.removeprefix(f"{first.split()[0]} {places[0]}")
    if isinstance(changes[0], Patch) and len({str(each).split()[-1] for each in changes}) > 1:
        rest = f" from {changes[0].origin}"  # each at its own positions
    return f"{first.split()[0]} {listed(places)}{rest}"


def listed(places: Sequence[str]) -> str:
    """`L0H1@3`, `L0H2@3`, `M0@*` -> `L0H1,L0H2@3,M0@*`: a position is that of the parts before it."""
    texts: list[str] = []
    for at, text in enumerate(places):
        part, _, where = text.partition("@")
        after = places[at + 1] if at + 1 < len(places) else ""
        texts.append(part if after.partition("@")[2] == where else text)
    return ",".join(texts)
