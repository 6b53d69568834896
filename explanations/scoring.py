"""How well an explanation predicts what a component does on sequences that it was not made from.

Correlation, R2 and the absolute deviation explained are Bills et al.'s (2023, "Language models can explain neurons in
language models"), taken over all tokens of all sequences at once; a head's are taken over pairs of tokens.  Detection
and fuzzing are EleutherAI's (Paulo et al. 2024): is the component active in this sequence, and at these tokens?
Intervals are 95 % bootstrap intervals over sequences, drawn within each kind of sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explanations.records import Floats, Score

DRAWS = 1000
AT_ONCE = 4_000_000
"Numbers in one block of a bootstrap: 32 MB."
TAILS = (2.5, 97.5)
Counts = NDArray[np.float64]
Measure = Callable[[Counts], NDArray[np.float64]]
"How often each item counts, [draw, item], -> the score of each draw, [draw]."


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """What an explanation says of one held-out sequence, beside what the component did."""

    predicted: Floats
    "[place]: a place is a token; for a head a pair of tokens."
    true: Floats
    "[place]"
    kind: str
    "`top`, `quantile`, `random` or `negative`."


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One yes-or-no question about a held-out sequence, and its answer by the explanation."""

    said: bool
    true: bool
    kind: str


def simulation_scores(simulated: Sequence[Simulated], seed: int = 0) -> tuple[Score, ...]:
    """`correlation`, `r2` and `absolute deviation` over all places; nothing where there is no sequence.

    r2 is `1 - mean((p - t)^2) / mean(t^2)` and the deviation `1 - mean |p - t| / mean |t|`, as in Bills et al.: a
    prediction of 0 everywhere scores 0.  A correlation with a constant is 0.
    """
    if not simulated:
        return ()
    sums = np.array([_sums(each) for each in simulated])
    kinds = [each.kind for each in simulated]
    measures: dict[str, Measure] = {
        "correlation": lambda counts: _correlation(counts @ sums),
        "r2": lambda counts: _explained(counts @ sums, 6, 5),
        "absolute deviation": lambda counts: _explained(counts @ sums, 7, 8),
    }
    return tuple(_score(name, measure, kinds, seed) for name, measure in measures.items())


def auc_score(simulated: Sequence[Simulated], active: float, seed: int = 0) -> Score | None:
    """ROC-AUC of the predictions at places above `active` against those that are not; None where one side is empty.

    Bootstrapped over sequences, each with all of its places.
    """
    if not simulated:
        return None
    levels, level = np.unique(np.concatenate([each.predicted for each in simulated]), return_inverse=True)
    true = np.concatenate([each.true for each in simulated]) > active
    if true.all() or not true.any():
        return None
    place = _sequence_of(simulated) * len(levels) + level
    yes, no = (
        np.bincount(place[side], minlength=len(simulated) * len(levels)).reshape(len(simulated), -1)
        for side in (true, ~true)
    )

    def measure(counts: Counts) -> NDArray[np.float64]:
        parts = np.array_split(counts, max(1, len(counts) * len(levels) // AT_ONCE))
        return np.concatenate([_areas(part @ yes, part @ no) for part in parts])

    return _score("auc", measure, [each.kind for each in simulated], seed)


def judged_score(name: str, judged: Sequence[Judged], seed: int = 0) -> Score | None:
    """Balanced accuracy: the mean of the shares right among the true and among the false; None where one is missing."""
    true = np.array([each.true for each in judged], dtype=bool)
    if true.all() or not true.any():
        return None
    right = np.array([each.said == each.true for each in judged], dtype=np.float64)

    def measure(counts: Counts) -> NDArray[np.float64]:
        shares = [_ratio(counts[:, side] @ right[side], counts[:, side].sum(1)) for side in (true, ~true)]
        return (shares[0] + shares[1]) / 2

    return _score(name, measure, [f"{each.kind} {each.true}" for each in judged], seed)


def _areas(yes: Counts, no: Counts) -> NDArray[np.float64]:
    """The chance that a true place is predicted higher than a false one, ties counting half: [draw].

    yes, no: how many true and false places there are at each level of prediction, ascending, [draw, level].
    """
    below = np.cumsum(no, axis=1) - no
    return _ratio((yes * (below + no / 2)).sum(1), yes.sum(1) * no.sum(1))


def _sequence_of(simulated: Sequence[Simulated]) -> NDArray[np.int64]:
    """Which sequence each place is of: [place]."""
    return np.repeat(np.arange(len(simulated)), [len(each.true) for each in simulated])


def _sums(each: Simulated) -> tuple[float, ...]:
    """What all three measures are made of: n, p, t, pp, pt, tt, (p - t)^2, |p - t|, |t|."""
    p, t = each.predicted.astype(np.float64), each.true.astype(np.float64)
    off = p - t
    sums = (len(t), p.sum(), t.sum(), p @ p, p @ t, t @ t, off @ off, np.abs(off).sum(), np.abs(t).sum())
    return tuple(map(float, sums))


def _correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    n, p, t, pp, pt, tt = sums.T[:6]
    spread = (n * pp - p * p) * (n * tt - t * t)
    # what rounding leaves of the variance of a constant is no variance
    varies = spread > 1e-12 * np.maximum(n * pp, 0) * np.maximum(n * tt, 0)
    return np.where(varies, (n * pt - p * t) / np.sqrt(np.where(varies, spread, 1.0)), 0.0)


def _explained(sums: NDArray[np.float64], off: int, whole: int) -> NDArray[np.float64]:
    return 1 - _ratio(sums[:, off], sums[:, whole])


def _ratio(part: NDArray[np.float64] | float, whole: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """nan where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(whole) == 0, np.nan, np.asarray(part) / np.asarray(whole))


def _score(name: str, measure: Measure, kinds: Sequence[str], seed: int) -> Score:
    value = float(measure(np.ones((1, len(kinds))))[0])
    samples = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    if len(kinds) < 2:
        return Score(name, value, samples=samples)
    with np.errstate(all="ignore"):
        found = measure(_draws(kinds, seed))
    ends = np.nanpercentile(found, TAILS) if not np.isnan(found).all() else (np.nan, np.nan)
    return Score(name, value, float(ends[0]), float(ends[1]), samples)


def _draws(kinds: Sequence[str], seed: int) -> Counts:
    """How often each item is drawn, [draw, item]: as many of each kind as there are."""
    random = np.random.default_rng(seed)
    counts = np.zeros((DRAWS, len(kinds)))
    for kind in sorted(set(kinds)):
        members = np.flatnonzero([each == kind for each in kinds])
        counts[:, members] = random.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=DRAWS
        )
    return counts
