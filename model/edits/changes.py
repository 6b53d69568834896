"""Changes to a run as frozen values.

The text of a change is the command that makes it, so history, listings and scripts are the same words.  What each
does to the pass is in `interventions.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from model.components import SCALES, Component, Kind
from model.edits.directions import Direction


class ChangeError(ValueError):
    """A change that cannot be made: one sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """Token positions `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}:{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    @property
    def slice(self) -> slice:
        return slice(self.first, self.last + 1)


class Mode(Enum):
    ZERO = "zero"
    MEAN = "mean"
    "Over the reference prompts, position by position or pooled: as `Sources.means` has it."
    RESAMPLE = "resample"
    "The value in one of the reference prompts, drawn by the seed."
    NOISE = "noise"
    "Gaussian noise added, of this standard deviation in the activation's own unit (Meng et al. 2022)."
    VALUE = "value"
    SCALE = "scale"
    CUT = "cut"
    "Minus infinity for a pair's score: after the softmax its weight is 0 and the row's others are larger."

    @property
    def takes_number(self) -> bool:
        return self in (Mode.NOISE, Mode.VALUE, Mode.SCALE)

    @property
    def takes_seed(self) -> bool:
        return self in (Mode.NOISE, Mode.RESAMPLE)


def how(mode: Mode, amount: float, seed: int) -> str:
    """`scale 0.5`, `noise 1 seed 0`."""
    number = f" {short(amount)}" if mode.takes_number else ""
    return f"{mode.value}{number}" + (f" seed {seed}" if mode.takes_seed else "")


def short(number: float) -> str:
    """All digits of a number, whole ones without a point."""
    return repr(float(number)).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Ablate:
    """Replace what a component puts out.

    Heads are edited at `z` (their value bias included), a head's pair at its attention weight (the row is not
    renormalised, but by `cut`), neurons after the nonlinearity, attention and MLP at their whole output, bias
    included, latents where their dictionary writes, what it leaves over being kept, other places where their name
    says.
    """

    component: Component
    span: Span | None = None
    "Which positions; None is every one, those generated later too."
    key: int | None = None
    "The key token of a head's pair; None is the whole query row."
    mode: Mode = Mode.ZERO
    amount: float = 0.0
    "The value, the factor or the standard deviation, for the modes that take one."
    seed: int = 0
    "For the modes that draw."
    but: tuple[int, ...] = ()
    "Of every latent of a dictionary, which has no index, those that stay."

    def __post_init__(self) -> None:
        if self.mode is Mode.CUT and (self.key is None or self.component.index is None):
            raise ChangeError("cut is of a head's pair, a query and a key: ablate L1H2@END<2 cut")
        if self.component.kind in SCALES and self._is_no_scale():
            message = f"{self.component} is what a layer norm divides by, and stays above 0"
            raise ChangeError(
                f"{message}: freeze it, patch it, or ablate it to a mean, value 3, scale 2, noise 0.1"
            )

    def _is_no_scale(self) -> bool:
        """Whether it would make something of a layer norm's scale that nothing can be divided by."""
        amounts = self.mode in (Mode.VALUE, Mode.SCALE) and self.amount <= 0
        return amounts or self.mode in (Mode.ZERO, Mode.CUT)

    @property
    def place(self) -> str:
        return place(self.component, self.span, self.key)

    def __str__(self) -> str:
        but = f" but {','.join(map(str, self.but))}" if self.but else ""
        return f"ablate {self.place} {how(self.mode, self.amount, self.seed)}{but}"


@dataclass(frozen=True, slots=True)
class Patch:
    """Give a component the value that it has in another run, at the same positions or at `source`'s."""

    component: Component
    span: Span
    source: Span
    key: int | None = None
    source_key: int | None = None
    example: int | None = None
    "Which example of the prompt set the values are from, from 1; None is prompt B."

    def __post_init__(self) -> None:
        if len(self.span) != len(self.source):
            raise ChangeError(f"{len(self.span)} positions cannot take {len(self.source)} positions' values")
        if (self.key is None) != (self.source_key is None):
            raise ChangeError("a head's pair takes its value from a pair, and a whole row from a whole row")
        if self.component.kind is Kind.PATTERN and self.key is None and self.span != self.source:
            head = Component(Kind.HEAD, self.component.layer, self.component.index)
            pair = f"patch {place(head, self.span, 0)} from {self.origin}@{self.source}<0"
            message = "an attention row is patched from that of the same query, since another sees other keys"
            raise ChangeError(f"{message}: patch pairs ({pair})")

    @property
    def place(self) -> str:
        return place(self.component, self.span, self.key)

    @property
    def origin(self) -> str:
        """`B` or the number of an example."""
        return "B" if self.example is None else str(self.example)

    def __str__(self) -> str:
        key = "" if self.source_key is None else f"<{self.source_key}"
        return f"patch {self.place} from {self.origin}@{self.source}{key}"


@dataclass(frozen=True, slots=True)
class Freeze:
    """Hold a component at its value in the unedited run, whatever changes before it."""

    component: Component
    span: Span | None = None
    "None is every position of the prompt; generated ones have no value to be held at."
    key: int | None = None

    @property
    def place(self) -> str:
        return place(self.component, self.span, self.key)

    def __str__(self) -> str:
        return f"freeze {self.place}"


class Way(Enum):
    ADD = "+="
    SET = "="
    CLAMP = "clamp"


@dataclass(frozen=True, slots=True)
class Steer:
    """Add `amount` times a direction, or add to, set or clamp a single number: a neuron, a latent, a pair's weight."""

    component: Component
    span: Span | None = None
    key: int | None = None
    way: Way = Way.ADD
    amount: float = 0.0
    "The coefficient, the value, or the lower bound."
    direction: Direction | None = None
    "None for a single number."
    high: float | None = None
    "The upper bound of a clamp."

    def __post_init__(self) -> None:
        if self.component.kind in SCALES:
            message = f"{self.component} is one number a token that a layer norm divides by"
            raise ChangeError(f"{message}: ablate {self.component} value 3 sets it")
        single = self.component.kind in (Kind.NEURON, Kind.LATENT) or self.key is not None
        if (self.direction is None) != single or (single is False and self.way is not Way.ADD):
            raise ChangeError(
                f"{self.place} is one number: give numbers, not a direction"
                if single
                else f"{self.place} is a vector: add a direction to it"
            )
        if (self.way is Way.CLAMP) != (self.high is not None):
            raise ChangeError("a clamp has two bounds, and nothing else has")
        if self.high is not None and self.high < self.amount:
            raise ChangeError(
                f"the bounds {short(self.amount)} and {short(self.high)} are the wrong way round"
            )

    @property
    def place(self) -> str:
        return place(self.component, self.span, self.key)

    def with_amount(self, amount: float) -> "Steer":
        """The same with another coefficient, value or lower bound."""
        return replace(self, amount=amount)

    def __str__(self) -> str:
        rest = f" {short(self.high)}" if self.high is not None else ""
        along = "" if self.direction is None else f" * {self.direction}"
        return f"steer {self.place} {self.way.value} {short(self.amount)}{rest}{along}"


class Wired(Protocol):
    """A change of edges or paths: it needs the model and several places of the pass, so `paths.hook_of` makes it."""

    @property
    def component(self) -> Component:
        """The unembedding, where it ends: no part's own value is replaced."""
        ...

    @property
    def span(self) -> Span | None: ...

    @property
    def key(self) -> int | None: ...

    def first_layer(self, n_layer: int) -> int:
        """The earliest layer whose computation it touches: -1 the embeddings, n_layer the final norm."""
        ...

    @property
    def last(self) -> int:
        """The last token that it names, 0 where it names none."""
        ...

    @property
    def ends(self) -> bool:
        """Whether the unembedding is among its readers: then it edits the stream that leaves the last layer."""
        ...

    @property
    def inner(self) -> "tuple[Ablate | Patch, ...]":
        """The changes of single parts that it is made of: what some readers see."""
        ...

    def moved(self, change: Callable[["Change"], "Change"], span: Callable[[Span], Span]) -> "Wired":
        """The same at other tokens, each change of a part and each span moved so.  Raises ValueError."""
        ...


Change = Ablate | Patch | Freeze | Steer | Wired


def place(component: Component | str, span: Span | None, key: int | None) -> str:
    """`L9H9@14<2`, `L9H9@2:5`, `L9H9@*`."""
    return f"{component}@{'*' if span is None else span}" + ("" if key is None else f"<{key}")
