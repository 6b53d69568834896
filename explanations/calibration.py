"""From a simulator's scale, 0 to 10, to a component's own, fitted on sequences that are not scored (Bills et al.)."""

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from explanations.records import Floats
from explanations.scoring import Simulated

Calibrated = Callable[[Floats], Floats]
Doubles = NDArray[np.float64]


class Calibration(Enum):
    NONE = "none"
    LINEAR = "linear"
    "The least-squares line from predicted to true, among those that do not fall."
    PERCENTILE = "percentile"
    "The true value at the same percentile."


def fitted(kind: Calibration, seen: Sequence[Simulated]) -> Calibrated:
    """The map that fits what was seen, `none` where nothing was."""
    if kind is Calibration.NONE or not seen:
        return lambda predicted: predicted
    predicted = np.concatenate([each.predicted for each in seen]).astype(np.float64)
    true = np.concatenate([each.true for each in seen]).astype(np.float64)
    return _line(predicted, true) if kind is Calibration.LINEAR else _percentiles(predicted, true)


def _line(predicted: Doubles, true: Doubles) -> Calibrated:
    centred = predicted - predicted.mean()
    spread = centred @ centred
    # never downwards: an explanation that predicts the opposite is wrong, and would come out right
    slope = 0.0 if spread == 0 else max(0.0, float(centred @ true / spread))
    offset = float(true.mean() - slope * predicted.mean())
    return lambda values: (offset + slope * values).astype(np.float32)


def _percentiles(predicted: Doubles, true: Doubles) -> Calibrated:
    """Ties take the mean of what they span, so that equal predictions stay equal."""
    values, counts = np.unique(predicted, return_counts=True)
    ends = np.cumsum(counts)
    ordered = np.sort(true)
    means = np.array([ordered[end - size : end].mean() for end, size in zip(ends, counts, strict=True)])
    return lambda given: np.interp(given, values, means).astype(np.float32)
