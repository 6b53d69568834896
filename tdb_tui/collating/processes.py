"""Processes that share a collation: started by torchrun, joined by torch.distributed, merged by the first."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import torch
from safetensors.numpy import load, save
from torch import distributed

from explanations.collation.collecting import CollationError, Collected, Collector, Share
from explanations.collation.states import from_arrays, to_arrays


@contextmanager
def joined() -> Iterator[Share]:
    """This process's share of the work: all of it, unless torchrun started several."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Share()
        return
    distributed.init_process_group("gloo")
    try:
        yield Share(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()


def agree(text: str, share: Share) -> None:
    """Raises CollationError where the processes were not all told the same."""
    if share.world == 1:
        return
    mine = torch.tensor(list(sha256(text.encode()).digest()), dtype=torch.uint8)
    all_ = [torch.empty_like(mine) for _ in range(share.world)]
    distributed.all_gather(all_, mine)
    if different := [rank for rank, theirs in enumerate(all_) if not torch.equal(theirs, all_[0])]:
        raise CollationError(f"process {different[0]} reads another corpus, or another model, than process 0")


def gathered(collector: Collector, collected: Collected, share: Share) -> Collected | None:
    """What all processes found, one after the other; None in all but the first."""
    if share.world == 1:
        return collected
    if share.rank:
        _send(collected)
        return None
    for rank in range(1, share.world):
        collected = collector.merged(collected, _receive(collector, rank))
    return collected


def _send(collected: Collected) -> None:
    data = torch.frombuffer(bytearray(save(to_arrays(collected))), dtype=torch.uint8)  # pyright: ignore[reportArgumentType]
    counts = [len(data), collected.done, collected.sequences, collected.tokens]
    distributed.send(torch.tensor(counts), 0)
    distributed.send(data, 0)


def _receive(collector: Collector, rank: int) -> Collected:
    counts = torch.empty(4, dtype=torch.int64)
    distributed.recv(counts, rank)
    size, done, sequences, tokens = counts.tolist()
    data = torch.empty(size, dtype=torch.uint8)
    distributed.recv(data, rank)
    found = from_arrays(load(data.numpy().tobytes()), collector)
    found.done, found.sequences, found.tokens = done, sequences, tokens
    return found
