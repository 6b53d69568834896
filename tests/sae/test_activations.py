"""The stream of activations: exactly those of the corpus, shuffled, the same from any step on, and bounded."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from model.corpus import Corpus
from model.edits.sources import Where
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import record
from sae import activations as stream_module
from sae.activations import Source, collect, stream
from sae.places import width
from tests.tiny import TINY

PLACES: tuple[Where, ...] = ((Site.MLP_OUT, 1), (Site.Z, 0), (Site.MLP_POST, 2), (Site.RESID_POST, 0))
CORPUS = Corpus(np.random.default_rng(0).integers(0, 113, 8 * 5, dtype=np.uint32), length=6, first=7)


def source(model: GPT2, **changes: int) -> Source:
    return Source(model, CORPUS, PLACES, **{"seed": 3, "rows": 2, "together": 2, "skip": 1, **changes})


def taken(model: GPT2, count: int, size: int, **which: int) -> dict[Where, Tensor]:
    """So many batches, one after the other."""
    batches = list(islice(stream(source(model), size, **which), count))
    return {place: torch.cat([batch[place] for batch in batches]) for place in PLACES}


def keys(x: Tensor) -> Counter[tuple[float, ...]]:
    return Counter(tuple(row) for row in x.double().round(decimals=9).tolist())


def test_activations_are_those_that_a_recorded_run_has(tiny: GPT2) -> None:
    rows = CORPUS.rows([4, 1])
    found = collect(tiny, rows, PLACES, skip=1)
    for place in PLACES:
        wanted = []
        for row in rows.tolist():
            x = record(tiny, row)[place]
            wanted.append(x.transpose(0, 1).flatten(1) if place[0] is Site.Z else x)
        assert torch.allclose(found[place], torch.cat([x[1:] for x in wanted]), atol=1e-12)
        assert found[place].shape == (10, width(place[0], TINY))


@pytest.mark.parametrize("shards", [1, 2])
def test_an_epoch_has_each_activation_exactly_once_in_another_order(tiny: GPT2, shards: int) -> None:
    each = 8 * 5 // shards
    parts = [taken(tiny, each // 4, 4, shard=shard, shards=shards) for shard in range(shards)]
    plain = collect(tiny, CORPUS.rows(range(8)), PLACES, skip=1)
    for place in PLACES:
        found = torch.cat([part[place] for part in parts])
        assert keys(found) == keys(plain[place])
        assert not torch.equal(found, plain[place])


def test_the_next_epoch_has_them_again_in_a_new_order(tiny: GPT2) -> None:
    both = taken(tiny, 20, 4)[PLACES[0]]
    first, second = both[:40], both[40:]
    assert keys(first) == keys(second) and not torch.equal(first, second)


@pytest.mark.parametrize("start", [1, 3, 4, 7, 13])
def test_a_stream_begun_in_the_middle_goes_on_as_the_whole_one_does(tiny: GPT2, start: int) -> None:
    whole, late = taken(tiny, start + 4, 4), taken(tiny, 4, 4, start=start)
    for place in PLACES:
        assert torch.equal(whole[place][start * 4 :], late[place])


def test_where_chunks_reach_into_the_next_epoch_each_activation_comes_as_often_as_any_other(
    tiny: GPT2,
) -> None:
    found = torch.cat([batch[PLACES[0]] for batch in islice(stream(source(tiny, rows=3), 4), 30)])
    plain = collect(tiny, CORPUS.rows(range(8)), PLACES, skip=1)[PLACES[0]]
    assert keys(found) == keys(plain.repeat(3, 1))


def test_another_seed_gives_another_order(tiny: GPT2) -> None:
    other = next(stream(source(tiny, seed=4), 4))
    assert not torch.equal(other[PLACES[0]], taken(tiny, 1, 4)[PLACES[0]])


def test_places_stay_together(tiny: GPT2) -> None:
    """Row n of every place is of the same token: its MLP's output is its activations through the output matrix."""
    place, post = (Site.MLP_OUT, 1), (Site.MLP_POST, 1)
    batch = next(stream(Source(tiny, CORPUS, (place, post), rows=3), 8))
    mlp = tiny.blocks[1].mlp.c_proj
    assert torch.allclose(batch[post] @ mlp.weight + mlp.bias, batch[place])


def test_no_more_than_a_chunk_and_a_batch_is_in_memory(tiny: GPT2, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: activations made and not yet handed out."""
    made = 0
    real = stream_module.collect

    def counting(*arguments) -> dict[Where, Tensor]:
        nonlocal made
        found = real(*arguments)
        made += len(found[PLACES[0]])
        return found

    monkeypatch.setattr(stream_module, "collect", counting)
    small = source(tiny)
    for number, _ in enumerate(islice(stream(small, 4), 60)):
        assert made - number * 4 <= small.per_chunk + 4
