"""Looking a component up in a store as large as GPT-2 small: every neuron and head, 50 examples each.

python tests/bench/bench_store.py [--components N] [--rounds N]

The floor is reading the same blobs by SQLite alone.  A look-up is everything that a component's page asks for; the bar
is 5 ms.
"""

import argparse
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from explanations.bins import COUNT
from explanations.blobs import NO_KEY, Slots
from explanations.records import Explanation, Moments, Sampling, Score, Sequence
from explanations.schema import Identity
from explanations.store import Store, open_store
from explanations.writing import (
    Collated,
    Family,
    begin_collation,
    put_component,
    put_explanations,
    put_sequences,
    writing,
)
from tests.bench.measuring import Row, here, in_turn, over, table

LENGTH, SEQUENCES = 64, 50_000
KEPT = {Sampling.TOP: 20, Sampling.QUANTILE: 20, Sampling.RANDOM: 10}
HEADS = 144


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", type=int, default=36_864 + HEADS)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.store"
        fill(path, args.components)
        store, plain = open_store(path), sqlite3.connect(path)
        draws = np.random.default_rng(0).integers(0, args.components, 10_000).tolist()
        works = {
            "a neuron or head": lambda: page(store, name(draws.pop())),
            "a head": lambda: page(store, name(draws.pop() % HEADS)),
            "floor: its blobs": lambda: blobs(plain, name(draws.pop())),
            "best of 1,000 rows": lambda: store.best([name(draws[at]) for at in range(1000)]),
            "opened anew": lambda: page(open_store(path), name(draws.pop())),
        }
        took = in_turn({each: here(work) for each, work in works.items()}, args.rounds)
        floor = took["floor: its blobs"]
        title = f"{args.components:,} components, {path.stat().st_size / 1e6:,.0f} MB"
        print(table(title, [Row(each, found, over(found, floor)) for each, found in took.items()]))


def name(at: int) -> str:
    return f"L{at // 12}H{at % 12}" if at < HEADS else f"N{(at - HEADS) // 3072}.{(at - HEADS) % 3072}"


def page(store: Store, node: str) -> None:
    """All that a page looks up."""
    assert store.statistics(node) is not None
    for sampling, count in KEPT.items():
        assert len(store.examples(node, sampling)) == count
    assert len(store.explanations(node)) == 1
    store.notes(node)


def blobs(connection: sqlite3.Connection, node: str) -> None:
    for query in (
        "SELECT * FROM components WHERE node = ?",
        "SELECT * FROM examples WHERE node = ?",
        "SELECT * FROM explanations WHERE node = ?",
    ):
        connection.execute(query, (node,)).fetchall()


def fill(path: Path, count: int) -> None:
    """A store of random numbers, shaped as a collation leaves it."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 1000, COUNT)
    made: dict[bool, dict[Sampling, Slots]] = {
        pairs: {sampling: slots(random, kept, pairs) for sampling, kept in KEPT.items()}
        for pairs in (False, True)
    }
    with writing(path, Identity("large", "0" * 16)) as connection:
        number = begin_collation(
            connection, {}, {"files": []}, (SEQUENCES, SEQUENCES * LENGTH), [Family("N")]
        )
        tokens = random.integers(0, 50_000, (SEQUENCES, LENGTH))
        put_sequences(connection, number, (Sequence(tuple(row), "a.txt") for row in tokens.tolist()))
        for at in range(count):
            moments = Moments(SEQUENCES * LENGTH, 0.1, 1.0, 0.0, 3.0)
            found = Collated(name(at), moments, 1.0, 0.5, counts, made[at < HEADS], tuple(range(10)))
            put_component(connection, "N", found)
            scores = tuple(Score(each, 0.5, 0.4, 0.6, {"top": 5}) for each in ("correlation", "r2", "auc"))
            put_explanations(connection, [Explanation(name(at), f"active on {at}", "token", scores=scores)])


def slots(random: np.random.Generator, count: int, pairs: bool) -> Slots:
    width = LENGTH * (LENGTH + 1) // 2 if pairs else LENGTH
    ends = np.full(count, LENGTH - 1, np.uint16), np.full(count, 3 if pairs else NO_KEY, np.uint16)
    ones = np.ones(count, np.float32)
    codes = random.integers(0, 255, (count, width)).astype(np.uint8)
    return Slots(random.integers(0, SEQUENCES, count).astype(np.uint32), *ends, ones, ones * 0, ones, codes)


if __name__ == "__main__":
    main()
