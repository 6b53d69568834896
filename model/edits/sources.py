"""Where replacement values come from: other runs, and means over them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from torch import Tensor

from model.dictionaries import Dictionaries, Recorded
from model.edits.changes import Span
from model.sites import Where

__all__ = ["Means", "Recorded", "Reference", "Sources", "Where"]

View = Callable[[Recorded], Mapping[Where, Tensor]]
"Something else that runs have at places, computed from what is recorded of each: latents, an error term."


@runtime_checkable
class Means(Recorded, Protocol):
    """Mean activations that know the runs they are over."""

    def through(self, view: View) -> "Means":
        """Means, over the same runs, of what each shows through a view."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A prompt whose values may be put in this one's place."""

    places: tuple[int, ...]
    "Each token's counterpart there, -1 where it has none."
    run: Callable[[], Recorded]
    "Its run, made when asked for."

    def covers(self, span: Span | None, key: int | None = None) -> bool:
        """Whether all of these tokens have a counterpart."""
        wanted = self.places if span is None else self.places[span.slice]
        return min(wanted, default=-1) >= 0 and (key is None or self.places[key] >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Where replacement values come from; None or empty where the session has set none."""

    means: Recorded | None = None
    "Mean activations; the position axis is the prompt's length, or 1 where one mean serves every position."
    other: Recorded | None = None
    "Prompt B's run."
    base: Recorded | None = None
    "The run of the same prompt without any change, to freeze at."
    examples: Mapping[int, Recorded] = field(default_factory=lambda: MappingProxyType({}))
    "Runs of the prompt set's examples, by number, to patch from."
    references: Sequence[Reference] = ()
    "What resampling draws from."
    dictionaries: Dictionaries = field(default_factory=lambda: MappingProxyType({}))
    "Those that are loaded: what edits of latents and error terms are edits of."
