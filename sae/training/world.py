"""Several processes that train one dictionary, to the bit as one process would.

A batch is computed in shards, a power of two of them, whose gradients are summed as a binary tree.  A process has
neighbouring shards, so what it sums by itself is a subtree, and the order of the sum does not depend on how many
processes there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class World(Protocol):
    """The processes of a training, as one of them sees it."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum over the parts of all processes, in the order of the shards."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of the shards: [row, ...] -> [all rows, ...]."""
        ...


def shards_of(world: World, shards: int) -> range:
    """Which shards of a batch this process computes.  Raises ValueError where they can't be dealt out evenly."""
    if shards < 1 or shards & (shards - 1):
        raise ValueError(f"a batch is computed in {shards} shards: a power of two was expected")
    if shards % world.size:
        raise ValueError(
            f"{world.size} processes cannot share {shards} shards evenly: start as many as divide it"
        )
    each = shards // world.size
    return range(world.rank * each, (world.rank + 1) * each)


def tree_sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum of a power of two of tensors, neighbours first."""
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]
    return parts[0]


@dataclass(frozen=True, slots=True)
class Alone:
    """One process, which has every shard."""

    rank: int = 0
    size: int = 1

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        return tree_sum(parts)

    def gather(self, rows: Tensor) -> Tensor:
        return rows


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of `torch.distributed`'s default group, which has been set up."""

    rank: int
    size: int

    def total(self, parts: Sequence[Tensor]) -> Tensor:
        return tree_sum(self._each(tree_sum(parts)))

    def gather(self, rows: Tensor) -> Tensor:
        return torch.cat(self._each(rows))

    def _each(self, x: Tensor) -> list[Tensor]:
        """What every process has, by rank."""
        found = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(found, x.contiguous())
        return found
