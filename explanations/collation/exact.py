"""Sums that do not depend on the order of adding: float64 values as whole numbers of 2^-80, in limbs of 40 bits.

Shards and resumed runs add the same values in another order; integers do not mind.
"""

import torch
from torch import Tensor

BITS = 40
UNITS = tuple(2.0 ** (BITS * power) for power in (1, 0, -1, -2))
"What 1 in each limb is worth, the largest first.  The largest holds values up to 2^103."


def limbs(values: Tensor) -> Tensor:
    """float64 [...] -> int64 [..., limb]; what is below 2^-80 is dropped."""
    found: list[Tensor] = []
    for unit in UNITS:
        whole = (values / unit).trunc()
        values = values - whole * unit  # exact: what is left of a float64 without its leading bits
        found.append(whole.to(torch.int64))
    return torch.stack(found, -1)


def carried(sums: Tensor) -> Tensor:
    """The one way to write a sum of limbs, every limb but the first from 0 to 2^40 - 1: int64 [..., limb]."""
    found = sums.clone()
    for at in range(len(UNITS) - 1, 0, -1):
        carry = found[..., at] >> BITS  # rounds down, so that what stays is never negative
        found[..., at] -= carry << BITS
        found[..., at - 1] += carry
    return found


def value(sums: Tensor) -> Tensor:
    """int64 [..., limb] -> float64 [...]."""
    return (carried(sums).double() * torch.tensor(UNITS, dtype=torch.float64, device=sums.device)).sum(-1)
