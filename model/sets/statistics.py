"""Many examples, one line: mean, spread, an interval for the mean, and how many agree about the sign."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CHUNK = 4096
"Columns bootstrapped together: 1000 resamples of them are 32 MB."


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Of values over examples; every field has the values' trailing axes, and all but `sign` and `n` their unit."""

    mean: Floats
    sd: Floats
    "Standard deviation of these very examples (divided by n): 0 for one, and the same if each is there twice."
    low: Floats
    high: Floats
    "Percentile bootstrap interval of the mean: what resampling the examples makes of it."
    sign: Floats
    "Share of the examples that have the mean's sign, 0 to 1."
    n: NDArray[np.int64]


def summary(values: ArrayLike, *, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Summary:
    """Statistics over the first axis: values [example, ...] -> fields [...].

    The interval is the central `level` of the means of `resamples` draws with replacement, the same draws for
    every column (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife").  An example that is there
    twice counts as two, so it narrows the interval and changes nothing else.  Raises ValueError.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim == 0 or len(given) == 0:
        raise ValueError("there are no values: a summary needs at least one example")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"{resamples} resamples at level {level}: at least 1, and a level between 0 and 1")
    columns = given.reshape(len(given), -1)
    mean = columns.mean(0)
    low, high = interval(columns, resamples=resamples, level=level, seed=seed)
    fields = mean, columns.std(0), low, high, (np.sign(columns) == np.sign(mean)).mean(0)
    return Summary(
        *(column.reshape(given.shape[1:]) for column in fields),
        n=np.full(given.shape[1:], len(given), dtype=np.int64),
    )


def interval(
    values: Floats,
    over: Floats | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Both ends of the interval of a mean, or of a mean over another's, drawn together: [example, column] -> [column].

    A ratio whose denominator's sign is not certain has ends that are far away, or not finite.
    """
    n, width = values.shape
    tail = (1 - level) / 2
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    ends: list[Floats] = []
    for first in range(0, width, CHUNK):
        means = drawn @ values[:, first : first + CHUNK]
        if over is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                means = means / (drawn @ over[:, first : first + CHUNK])
        ends.append(np.quantile(means, [tail, 1 - tail], axis=0))
    low, high = np.concatenate(ends, axis=1) if ends else np.empty((2, 0))
    return low, high
