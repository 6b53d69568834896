"""A model's activations on a corpus, in a shuffled stream of which only one chunk is ever in memory.

The order is a function of the seed: rows of the corpus are permuted anew in each epoch, dealt out to the shards, and
gathered into chunks whose activations are permuted again.  So any step's batch can be asked for directly, which is
how a training resumes, and each process computes the activations of its own shards and no others.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from model.corpus import Corpus
from model.edits.sources import Where
from model.gpt2 import GPT2
from model.sites import Hook, Site
from sae.seeds import generator

Batch = Mapping[Where, Tensor]
"""Where -> activations [row, d]."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What activations are drawn from, and how."""

    model: GPT2
    corpus: Corpus
    places: tuple[Where, ...]
    """Where activations are taken, all in one pass."""
    seed: int = 0
    rows: int = 256
    """Rows of the corpus in a chunk: their activations are what is in memory."""
    together: int = 16
    """Rows that the model runs at once."""
    skip: int = 0
    """Positions at the start of each row that are left out: the first token's activations are unlike all others."""

    @property
    def per_chunk(self) -> int:
        """Activations in a chunk."""
        return self.rows * (self.corpus.length - self.skip)


def stream(source: Source, size: int, shard: int = 0, shards: int = 1, start: int = 0) -> Iterator[Batch]:
    """Batches of `size` activations without end, as one shard of `shards` has them, from batch number `start` on."""
    chunk, offset = divmod(start * size, source.per_chunk)
    held = {place: x[offset:] for place, x in activations(source, chunk, shard, shards).items()}
    while True:
        while len(next(iter(held.values()))) < size:
            chunk += 1
            more = activations(source, chunk, shard, shards)
            held = {place: torch.cat([x, more[place]]) for place, x in held.items()}
        yield {place: x[:size] for place, x in held.items()}
        held = {place: x[size:] for place, x in held.items()}


def activations(source: Source, chunk: int, shard: int = 0, shards: int = 1) -> dict[Where, Tensor]:
    """One chunk of a shard's stream, permuted: place -> [row, d]."""
    numbers = chunk_rows(source, chunk, shard, shards)
    order = torch.randperm(source.per_chunk, generator=generator("chunk", source.seed, chunk, shard))
    parts = [
        collect(
            source.model, source.corpus.rows(numbers[i : i + source.together]), source.places, source.skip
        )
        for i in range(0, len(numbers), source.together)
    ]
    return {
        place: torch.cat([part[place] for part in parts])[order.to(parts[0][place].device)]
        for place in source.places
    }


def chunk_rows(source: Source, chunk: int, shard: int, shards: int) -> list[int]:
    """Which rows of the corpus are in a chunk: every `shards`-th of those that are taken, epoch after epoch."""
    total = len(source.corpus)
    wanted = [(chunk * source.rows + n) * shards + shard for n in range(source.rows)]
    orders = {
        epoch: torch.randperm(total, generator=generator("epoch", source.seed, epoch))
        for epoch in {n // total for n in wanted}
    }
    return [int(orders[n // total][n % total]) for n in wanted]


@torch.no_grad()
def collect(model: GPT2, tokens: Tensor, places: Collection[Where], skip: int = 0) -> dict[Where, Tensor]:
    """Activations of one batch of rows, positions before `skip` left out: tokens [batch, pos] -> place -> [row, d]."""
    kept: dict[Where, Tensor] = {}
    tokens = tokens.to(model.wte.weight.device)
    last = max(layer for _, layer in places)
    model.layers(model.embed(tokens), keeper(kept, places), stop=last + 1)
    return {place: x[:, skip:].flatten(0, 1) for place, x in kept.items()}


def keeper(into: dict[Where, Tensor], places: Collection[Where]) -> Hook:
    """A hook that keeps what passes `places`, [batch, pos, d] each, and changes nothing."""

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if (site, layer) in places:
            into[site, layer] = side_by_side(site, x)
        return x

    return hook


def side_by_side(site: Site, x: Tensor) -> Tensor:
    """An activation as dictionaries read it: `z` [batch, head, pos, d_head] -> [batch, pos, head * d_head]."""
    return x.transpose(1, 2).flatten(2) if site is Site.Z else x
