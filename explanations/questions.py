"""Yes-or-no questions about held-out sequences (Paulo et al. 2024), and their answers from predicted activations."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explanations.records import Example, Floats
from explanations.scoring import Judged
from explanations.splits import QUIET, Held

Predict = Callable[[Sequence[int]], Floats]
"Tokens -> what an explanation says of every place, [place]: a token; for a head a pair (`places`)."
STRONG = 0.5
"A place is where the component is active when it is above this share of the sequence's peak."


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Is the component active in this sequence?  With `marked`: is it active at these places?"""

    example: Example
    marked: NDArray[np.int64] | None
    true: bool
    kind: str


def places(activations: Floats) -> Floats:
    """[pos] as it is; [query, key] -> the keys up to each query, row after row: [pair]."""
    if activations.ndim == 1:
        return activations
    return activations[np.tril_indices(len(activations))]


def detection(held: Iterable[Held], peak: float) -> list[Question]:
    """One question a sequence; `peak` is the component's largest activation."""
    return [Question(each.example, None, each.example.value > QUIET * peak, each.kind) for each in held]


def fuzzing(held: Iterable[Held], peak: float, seed: int = 0) -> list[Question]:
    """Two questions for every sequence with the component: its own places marked, and as many others at random."""
    random = np.random.default_rng(seed)
    found: list[Question] = []
    for each in held:
        true = places(each.example.activations)
        strong, rest = (np.flatnonzero(side) for side in _sides(true, each.example.value))
        count = min(len(strong), len(rest))
        if each.example.value <= QUIET * peak or count == 0:
            continue
        wrong = np.sort(random.choice(rest, count, replace=False))
        found.append(Question(each.example, strong[:count], True, each.kind))
        found.append(Question(each.example, wrong, False, each.kind))
    return found


def _sides(true: Floats, peak: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return true >= STRONG * peak, true <= QUIET * peak


def answered(predict: Predict, asked: Sequence[Question], fitted_on: Sequence[Question]) -> list[Judged]:
    """Yes where the prediction reaches the threshold that answers `fitted_on` best."""
    at_least = threshold(
        np.array([_evidence(predict, each) for each in fitted_on]),
        np.array([each.true for each in fitted_on], dtype=bool),
    )
    return [Judged(_evidence(predict, each) >= at_least, each.true, each.kind) for each in asked]


def threshold(evidence: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """What separates the true from the false with the best balanced accuracy; between two values, the middle."""
    if true.all() or not true.any():
        return 0.0
    levels = np.unique(evidence)
    cuts = np.array([levels[0], *(levels[:-1] + levels[1:]) / 2, np.inf])
    right = [((evidence >= cut) & true).sum() / true.sum() for cut in cuts]
    wrong = [((evidence >= cut) & ~true).sum() / (~true).sum() for cut in cuts]
    return float(cuts[int(np.argmax(np.array(right) - np.array(wrong)))])


def _evidence(predict: Predict, question: Question) -> float:
    """The largest prediction in the sequence, or the mean of those marked."""
    predicted = predict(question.example.tokens)
    return float(predicted.max() if question.marked is None else predicted[question.marked].mean())
