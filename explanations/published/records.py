"""What somebody has published about one component, before its tokens are those of a model at hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from explanations.records import Explanation, Floats, Moments, Sampling

UNKNOWN = Moments(0, *[float("nan")] * 4)
"Nothing was published; a count of 0 says that it is not known over how many tokens they are."


class PublishedError(ValueError):
    """Published data that cannot be used; one sentence naming where it came from."""


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """Some consecutive tokens of a text, and what the component did there."""

    tokens: tuple[str, ...]
    activations: Floats
    "[pos], or [query, key] with zeros above the diagonal."

    @property
    def peak(self) -> float:
        return float(self.activations.max())


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    node: str
    "Its canonical spelling here."
    passages: Mapping[Sampling, tuple[Passage, ...]] = field(
        default_factory=dict[Sampling, tuple[Passage, ...]]
    )
    moments: Moments = UNKNOWN
    density: float | None = None
    promoted: tuple[str, ...] = ()
    "Tokens, the most promoted first."
    suppressed: tuple[str, ...] = ()
    explanations: tuple[Explanation, ...] = ()

    @property
    def peak(self) -> float:
        """The largest activation of any passage."""
        return max((each.peak for found in self.passages.values() for each in found), default=0.0)
