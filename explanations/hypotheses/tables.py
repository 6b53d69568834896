"""A hypothesis: the mean activation of a component at each key of a feature, and the sentence that this makes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explanations.hypotheses.features import NONE, Feature, Keys
from explanations.questions import places
from explanations.records import Floats
from explanations.splits import Held

NAMED = 5
"Keys that a sentence names."
HIGH = 0.5
"A key is where the component is active when its mean is above this share of the largest key's."


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    feature: Feature
    keys: Keys
    "[key], ascending"
    means: NDArray[np.float64]
    "[key]: the mean activation at it, drawn towards `other` by one place."
    weights: NDArray[np.float64]
    "[key]: the whole activation at it."
    other: float
    "At keys that were not seen: the mean over everything."

    def predict(self, tokens: Sequence[int]) -> Floats:
        """[place], in the component's own unit."""
        return lookup(self, self.feature.of(tokens))

    def text(self, spell: Callable[[int], str]) -> str:
        """The sentence."""
        active = self.active()
        words = ", ".join(self.feature.word(int(key), spell) for key in active[:NAMED])
        more = len(active) - NAMED
        return self.feature.says.format(words + (f" and {more} more" if more > 0 else ""))

    def active(self) -> Keys:
        """The keys where the component is active, those with most of its activation first."""
        if not len(self.keys):
            return self.keys
        high = np.flatnonzero(self.means >= max(HIGH * self.means.max(), np.finfo(np.float64).tiny))
        return self.keys[high[np.argsort(-self.weights[high], kind="stable")]]


def lookup(found: Hypothesis, keys: Keys) -> Floats:
    if not len(found.keys):
        return np.full(len(keys), found.other, dtype=np.float32)
    at = np.minimum(np.searchsorted(found.keys, keys), len(found.keys) - 1)
    return np.where(found.keys[at] == keys, found.means[at], found.other).astype(np.float32)


def fit(feature: Feature, held: Iterable[Held]) -> Hypothesis:
    """The table of a feature over some sequences."""
    seen = [(feature.of(each.example.tokens), places(each.example.activations)) for each in held]
    if not seen:
        nothing = np.zeros(0)
        return Hypothesis(feature, nothing.astype(np.int64), nothing, nothing, 0.0)
    keys, acts = (np.concatenate(part) for part in zip(*seen, strict=True))
    other = float(acts.mean(dtype=np.float64))
    known = keys != NONE
    levels, place = np.unique(keys[known], return_inverse=True)
    weights = np.bincount(place, acts[known], minlength=len(levels)).astype(np.float64)
    counts = np.bincount(place, minlength=len(levels))
    return Hypothesis(feature, levels, (weights + other) / (counts + 1), weights, other)
