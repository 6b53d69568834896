"""What is known about a component, as frozen values: examples, statistics, explanations with their scores, notes.

A component goes by its canonical spelling (`N10.1307`, `L9H9`, `M3`, `F8.2231`), a named direction by `dir:NAME`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Sampling(Enum):
    """How the examples of a component were chosen among the sequences of a corpus."""

    TOP = "top"
    "Those with the largest peaks, largest first."
    QUANTILE = "quantile"
    "A random sample of those in which it is active, in order of their peaks, largest first."
    RANDOM = "random"
    "A random sample of all, the same for every component."


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """Some consecutive tokens of a corpus.

    Where a model's texts begin with `<|endoftext|>` it was given that before them; it is neither kept nor counted.
    """

    tokens: tuple[int, ...]
    source: str
    "Where they stand: file, document and its first token, counted from 0."


@dataclass(frozen=True, slots=True, eq=False)
class ActivationRecord:
    """A sequence and what one component did on it; for a head each pair of tokens counts.

    The activation of a head at a pair is `A_qk |v_k W_O|`, the length of what it moves from key to query (TDB).
    """

    tokens: tuple[int, ...]
    activations: Floats
    "[pos]; of a head [query, key], zero above the diagonal.  Kept to 1/255 of their range; the peak is exact."

    @property
    def by_token(self) -> Floats:
        """One number a token: of a head the largest that goes into it.  [pos]"""
        return self.activations if self.activations.ndim == 1 else self.activations.max(1)

    @property
    def out_of_token(self) -> Floats:
        """Of a head: the largest that goes out of each token.  [pos]"""
        return self.activations if self.activations.ndim == 1 else self.activations.max(0)


@dataclass(frozen=True, slots=True, eq=False)
class Example(ActivationRecord):
    """A dataset example: where a component peaks in one sequence."""

    value: float
    "The activation at the peak."
    peak: int
    "The token it is at; of a head the query."
    key: int | None
    sampling: Sampling
    source: str


@dataclass(frozen=True, slots=True)
class Moments:
    """Over every token counted, or over every pair of tokens for a head."""

    count: int
    mean: float
    variance: float
    skewness: float
    "nan where nothing varies."
    kurtosis: float
    "Of a normal distribution 3; nan where nothing varies."


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    edges: NDArray[np.float64]
    "[bin + 1], ascending; the first and the last may be infinite."
    counts: NDArray[np.int64]
    "[bin]"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who published records of components."""

    name: str
    "What stands beside them: `OpenAI 2023`."
    about: str
    "What they are of, and over which text."
    fault: str = ""
    "What is wrong with the published numbers, one sentence; said wherever they are shown."


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What a component does over a whole corpus."""

    moments: Moments
    max: float
    density: float | None
    "The share of tokens at which it is above zero; None for what is above zero everywhere, heads and norms."
    histogram: Histogram
    promoted: tuple[int, ...] = ()
    "Tokens that it raises most where it is active, by its weights alone, the strongest first."
    suppressed: tuple[int, ...] = ()
    origin: Origin | None = None
    "Who published all this, over how many tokens they don't say; None for what was collated here."


@dataclass(frozen=True, slots=True)
class Score:
    """How well an explanation predicts activations that it was not made from."""

    name: str
    "`correlation`, `r2`, `absolute deviation`, `auc`, `detection`, `fuzzing`."
    value: float
    low: float | None = None
    "The interval's ends, where one was computed."
    high: float | None = None
    samples: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    "How many sequences of each kind it was taken over: top, random, negative, ..."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What somebody or something says a component does."""

    node: str
    text: str
    method: str
    "Who said so, by what means: `person`, `preceding token`, `openai-2023`, ..."
    model: str = ""
    "The language model asked, empty where none was."
    prompt_version: str = ""
    scores: tuple[Score, ...] = ()
    "The one it is ranked by first."
    samples: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    "How many sequences of each kind it was made from."
    number: int | None = None
    "The store's own, None before it is kept."

    @property
    def score(self) -> float | None:
        return self.scores[0].value if self.scores else None


@dataclass(frozen=True, slots=True)
class Best:
    """What is best said of a component, in short."""

    text: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Note:
    """A person's own words about a component, or about the model where `node` is empty."""

    node: str
    text: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A component found by words."""

    node: str
    field: str
    "Where the words were found: `explanation`, `promoted`, `peak`, `context` or `note`."
    text: str
    rank: float
    "Larger is better."
