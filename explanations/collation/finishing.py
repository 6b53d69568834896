"""What was collected -> a store: the statistics, examples, promoted tokens and words of every component."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explanations import blobs
from explanations.blobs import NO_KEY
from explanations.collation import exact, slots
from explanations.collation.collecting import Collected, Collector
from explanations.collation.corpus import Row
from explanations.collation.groups import Group, places
from explanations.collation.slots import EMPTY
from explanations.collation.tallies import Tally
from explanations.collation.wording import Texts, promotes, words
from explanations.records import Moments, Sampling
from explanations.records import Sequence as Tokens
from explanations.writing import Collated, begin_collation, put_component, put_sequences
from model.about.reads import impossible, untrained
from model.gpt2 import GPT2
from model.tokenizer import Tokenizer


def write(
    connection: sqlite3.Connection,
    collector: Collector,
    collected: Collected,
    tokenizer: Tokenizer,
    corpus: dict[str, Any],
) -> Iterator[str]:
    """Put everything into a store, in the caller's transaction; yields the group that was written."""
    collector.settle(collected)
    model, groups, kept = collector.model, collector.groups, collected.kept
    plan = asdict(collector.plan)
    families = {group.family.name: group.family for group in groups}
    size = collected.sequences, collected.tokens
    number = begin_collation(connection, plan, corpus, size, families.values())
    names = [file["name"] for file in corpus["files"]]
    kept_rows = [kept.row(at) for at in range(len(kept.numbers))]
    put_sequences(connection, number, (Tokens(row.tokens, source(row, names)) for row in kept_rows))
    rare = untrained(model.wte.weight, impossible(tokenizer, model.config.n_vocab))
    texts = Texts(tokenizer, rare)
    random = random_slots(collector, collected)
    for at, group in enumerate(groups):
        for each in components(
            model, group, collected.tallies[at], random[at], kept_rows, kept.numbers, texts
        ):
            put_component(connection, group.family.name, each)
        yield group.nodes[0]


def source(row: Row, names: Sequence[str]) -> str:
    return f"{names[row.file]} document {row.document} token {row.start}"


def random_slots(collector: Collector, collected: Collected) -> list[slots.Slots]:
    """What every group does in the rows of the random sample, run once more at the end."""
    kept = collected.kept
    rows = [kept.row(int(at)) for at in np.searchsorted(kept.numbers, np.sort(collected.random))]
    found: list[slots.Slots | None] = [None] * len(collector.groups)
    numbers = torch.tensor([row.number for row in rows], device=collector.device)

    def see(at: int, acts: Tensor) -> None:
        group = collector.groups[at]
        [width] = places([collector.plan.length], group.pairs)
        lengths = torch.tensor(places([len(row.tokens) for row in rows], group.pairs), device=acts.device)
        mine = slots.empty(len(group.nodes), len(rows), width, collector.device)
        keys = slots.keys_of_hashes(torch.zeros_like(numbers), numbers)
        slots.offer(mine, keys[:, None].expand(-1, len(group.nodes)), numbers, acts, lengths)
        found[at] = mine

    if rows:
        collector.watch(rows, see)
    return [
        each or slots.empty(len(g.nodes), 1, 1, collector.device)
        for each, g in zip(found, collector.groups, strict=True)
    ]


def components(
    model: GPT2,
    group: Group,
    tally: Tally,
    random: slots.Slots,
    rows: Sequence[Row],
    numbers: NDArray[np.int64],
    texts: Texts,
) -> Iterator[Collated]:
    """Every component of a group as it is kept."""
    samples = {
        Sampling.TOP: as_arrays(slots.in_order(tally.top), numbers),
        Sampling.QUANTILE: as_arrays(by_value(tally.active), numbers),
        Sampling.RANDOM: as_arrays(slots.in_order(random), numbers),
    }
    shape = moments(tally)
    count = int(tally.places[0])
    density = tally.above.double().numpy() / max(count, 1)
    promoted, suppressed = promotes(model, group, texts.rare)
    for index, node in enumerate(group.nodes):
        mine = {sampling: slots_of(arrays, index, group.pairs) for sampling, arrays in samples.items()}
        top = mine[Sampling.TOP]
        ends = promoted[index], suppressed[index]
        yield Collated(
            node,
            Moments(count, *shape[:, index].tolist()),
            float(top.values[0]) if top.values.size else 0.0,
            float(density[index]) if group.signed else None,
            tally.histogram[index].numpy(),
            mine,
            *ends,
            words(top, rows, ends[0], texts),
        )


def moments(tally: Tally) -> NDArray[np.float64]:
    """Mean, variance, skewness, kurtosis; nan where they are not defined: [4, component]."""
    count = float(tally.places[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second, third, fourth = exact.value(tally.sums).numpy() / count
        variance = np.maximum(second - first**2, 0)
        deviation = np.where(variance > 1e-12 * second, np.sqrt(variance), np.nan)
        skewness = (third - 3 * first * second + 2 * first**3) / deviation**3
        kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / deviation**4
    return np.stack([first, variance, skewness, kurtosis])


def by_value(found: slots.Slots) -> slots.Slots:
    """The same rows with the largest peak first, of equal ones the one with the smaller hash."""
    found = slots.in_order(found)
    peaks = found.values.masked_fill(found.keys == EMPTY, -torch.inf)
    return slots.taken(found, torch.argsort(peaks, dim=1, descending=True, stable=True))


def as_arrays(found: slots.Slots, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The slots on the CPU, with each row's ordinal among those kept."""
    names = ("keys", "values", "peaks", "low", "high", "codes")
    arrays: dict[str, NDArray[Any]] = {name: getattr(found, name).cpu().numpy() for name in names}
    return arrays | {"ordinals": np.searchsorted(numbers, found.rows.cpu().numpy())}


def slots_of(arrays: dict[str, NDArray[Any]], index: int, pairs: bool) -> blobs.Slots:
    """One component's examples."""
    used = int((arrays["keys"][index] != EMPTY).sum())
    mine = {name: each[index, :used] for name, each in arrays.items()}
    peaks = mine["peaks"].astype(np.uint16)
    keys = np.full(used, NO_KEY, np.uint16)
    if pairs:
        query = ((np.sqrt(8.0 * mine["peaks"] + 1) - 1) / 2).astype(np.int64)
        peaks, keys = query.astype(np.uint16), (mine["peaks"] - query * (query + 1) // 2).astype(np.uint16)
    ordinals = mine["ordinals"].astype(np.uint32)
    return blobs.Slots(ordinals, peaks, keys, mine["values"], mine["low"], mine["high"], mine["codes"])
