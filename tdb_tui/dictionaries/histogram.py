"""How often latents are active: counted by half decades, and drawn as bars."""

import math
from itertools import pairwise

from torch import Tensor

LOWEST = -5.0
"""Densities below 10 to this power are counted together."""
STEP = 0.5
BAR = "█"


def counted(density: Tensor) -> list[tuple[float, float, int]]:
    """(from, to, how many latents): those that are never active first, then by half decades; density [latent]."""
    edges = [10 ** (LOWEST + STEP * n) for n in range(round(-LOWEST / STEP) + 1)]
    bounds = [0.0, *edges[:-1], 1.0]
    found = [(0.0, 0.0, int((density == 0).sum()))]
    for low, high in pairwise(bounds):
        inside = (density > low) & (density <= high)
        found.append((low, high, int(inside.sum())))
    return found


def drawn_bars(density: Tensor, width: int) -> list[str]:
    """A line for each range that is not empty at its end, no wider than `width`."""
    rows = counted(density)
    most = max(count for *_, count in rows)
    room = max(10, width - 32)
    lines = [f"{'active on':<20} {'latents':>7}"]
    for low, high, count in rows:
        name = "no token" if high == 0 else f"{_share(low)} to {_share(high)}"
        lines.append(
            f"{name:<20} {count:>7}  {BAR * math.ceil(room * count / most) if most else ''}".rstrip()
        )
    return lines


def _share(x: float) -> str:
    """A share of tokens, in percent."""
    return "0" if x == 0 else f"{float(f'{100 * x:.2g}'):g}%"
