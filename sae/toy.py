"""Activations whose features are known: directions in superposition, each rarely present.  What training should find.

Sharkey et al. 2022, "Taking features out of superposition with sparse autoencoders"; recovery as in Gao et al. 2024.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.edits.sources import Where
from model.sites import Site
from sae.activations import Batch
from sae.seeds import generator

PLACE: Where = (Site.RESID_PRE, 0)
"""Where toy activations are said to be taken."""


@dataclass(frozen=True, slots=True)
class Toy:
    """More features than dimensions, each present with one probability and then of a strength from 0.5 to 1.5."""

    n_features: int = 64
    d: int = 32
    present: float = 0.03
    offset: float = 0.5
    """The length of the vector that is added to every activation, for the bias to find."""
    seed: int = 0

    def features(self) -> Tensor:
        """Directions of length 1: [feature, d]."""
        directions = torch.randn(self.n_features, self.d, generator=generator("toy features", self.seed))
        return directions / directions.norm(dim=1, keepdim=True)

    def bias(self) -> Tensor:
        """[d]"""
        direction = torch.randn(self.d, generator=generator("toy bias", self.seed))
        return self.offset * direction / direction.norm()

    def activations(self, size: int, number: int) -> Tensor:
        """Batch `number` of `size` activations: [row, d]."""
        rng = generator("toy activations", self.seed, number)
        strength = 0.5 + torch.rand(size, self.n_features, generator=rng)
        present = torch.rand(size, self.n_features, generator=rng) < self.present
        return (strength * present) @ self.features() + self.bias()


def toy_stream(toy: Toy, size: int, shard: int = 0, shards: int = 1, start: int = 0) -> Iterator[Batch]:
    """Batches without end, as `sae.activations.stream` gives them."""
    number = start
    while True:
        yield {PLACE: toy.activations(size, number * shards + shard)}
        number += 1


def recovery(w_dec: Tensor, features: Tensor) -> float:
    """Mean over features [feature, d] of the cosine similarity of the most similar decoder row [latent, d]."""
    rows = w_dec / w_dec.norm(dim=1, keepdim=True)
    known = features / features.norm(dim=1, keepdim=True)
    return float((known @ rows.T).amax(1).mean())
