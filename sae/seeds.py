"""Random numbers that are the same in every run, and independent of those drawn for any other purpose."""

from hashlib import blake2b

import torch


def generator(purpose: str, *numbers: int) -> torch.Generator:
    """A generator of a purpose and the numbers (a seed, an epoch, a shard, ...) that tell its uses apart."""
    digest = blake2b(repr((purpose, numbers)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
