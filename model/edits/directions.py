"""Directions to steer along: a vector with the words that made it, and how such vectors are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Direction:
    """A vector in the space of one place of the pass; `str` is how it was asked for."""

    text: str
    '`dir(" Mary" - " John")`, `embed(" Mary")`, `diff(a.jsonl, b.jsonl)` or a file.'
    vector: tuple[float, ...]
    unit: bool = False
    "Whether it was divided by its norm."

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.vector)):
            raise ValueError(f"{self.text} has numbers that are not finite")
        if not any(self.vector):
            raise ValueError(f"{self.text} is zero: it has no direction")

    @property
    def norm(self) -> float:
        return math.sqrt(math.fsum(x * x for x in self.vector))

    def normed(self) -> "Direction":
        """The same, one long."""
        norm = self.norm
        return replace(self, vector=tuple(x / norm for x in self.vector), unit=True)

    def __str__(self) -> str:
        return f"unit({self.text})" if self.unit else self.text


def token_direction(rows: Tensor, up: Sequence[int], down: Sequence[int] = ()) -> tuple[float, ...]:
    """Mean row of the tokens `up` minus mean row of `down`, in float64: rows [vocab, d_model] -> [d_model].

    With the unembedding's rows, what raises the one token's logit over the other's, before the final norm's weight.
    """
    found = rows[list(up)].double().mean(0)
    if down:
        found = found - rows[list(down)].double().mean(0)
    return tuple(found.cpu().tolist())


def mean_difference(up: Sequence[Tensor], down: Sequence[Tensor]) -> tuple[float, ...]:
    """Mean of some activations minus the mean of others, in float64: each [d] -> [d].  Raises ValueError for none."""
    if not up or not down:
        raise ValueError("a difference of means needs prompts on both sides")
    found = torch.stack(list(up)).double().mean(0) - torch.stack(list(down)).double().mean(0)
    return tuple(found.cpu().tolist())
