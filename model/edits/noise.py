"""Gaussian noise that is the same wherever it is drawn: on any device, in any batch, for any length of the prompt."""

import numpy as np
import torch
from torch import Tensor


def gaussian(seed: int, name: str, first: int, count: int, width: int) -> Tensor:
    """Standard normal numbers for tokens `first` on, each token's drawn by itself: float64 [count, width].

    The first numbers of a token are the same for every width.  Raises ValueError for a seed below 0.
    """
    if seed < 0:
        raise ValueError(f"seed {seed} is too small: 0 or more")
    rows = [
        np.random.default_rng([seed, pos, *name.encode()]).standard_normal(width)
        for pos in range(first, first + count)
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, width, dtype=torch.float64)
