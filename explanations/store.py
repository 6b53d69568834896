"""A store of dataset examples, statistics, explanations and notes, read-only: SQLite, shared with whoever writes it."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explanations.bins import EDGES
from explanations.blobs import Slots, matrix, unpack_histogram, unpack_scores, unpack_slots, unpack_tokens
from explanations.records import (
    Best,
    Example,
    Explanation,
    Floats,
    Hit,
    Moments,
    Note,
    Origin,
    Sampling,
    Sequence,
    Statistics,
)
from explanations.schema import Identity, StoreError, read_identity, said
from explanations.searching import search

COLUMNS = "number, node, text, method, model, prompt_version, scores, samples"


class Store:
    """Look-ups take well under 5 ms.  Everything raises StoreError where the file turns out to be damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection
        self.identity: Identity = read_identity(connection, str(path))

    def close(self) -> None:
        self._connection.close()

    def nodes(self) -> list[str]:
        """Every component that was collated."""
        with self._reading():
            return [row["node"] for row in self._connection.execute("SELECT node FROM components")]

    def counts(self) -> tuple[int, int]:
        """How many components were collated, and how many explanations there are."""
        with self._reading():
            [row] = self._connection.execute(
                "SELECT (SELECT count(*) FROM components), (SELECT count(*) FROM explanations)"
            )
            return row[0], row[1]

    def statistics(self, node: str) -> Statistics | None:
        """What is known of a component over the corpus; None where it was not collated."""
        with self._reading():
            row = self._one(
                "SELECT components.*, plan FROM components JOIN families ON name = family "
                "JOIN collations ON number = collation WHERE node = ?",
                node,
            )
            if row is None:
                return None
            moments = (
                float("nan") if row[name] is None else row[name]
                for name in ("mean", "variance", "skewness", "kurtosis")
            )
            return Statistics(
                Moments(row["count"], *moments),
                row["max"],
                row["density"],
                unpack_histogram(row["histogram"], EDGES),
                unpack_tokens(row["promoted"]),
                unpack_tokens(row["suppressed"]),
                origin_of(row["plan"]),
            )

    def examples(self, node: str, sampling: Sampling, count: int | None = None) -> list[Example]:
        """The first `count` examples of a component, or all; none where it was not collated."""
        with self._reading():
            row = self._one(
                "SELECT slots, collation FROM examples JOIN components USING (node) JOIN families ON name = family "
                "WHERE node = ? AND sampling = ?",
                node,
                sampling.value,
            )
            if row is None:
                return []
            slots = unpack_slots(row["slots"])
            shown = range(len(slots.values))[:count]
            sequences = self._sequences(row["collation"], [int(slots.ordinals[at]) for at in shown])
            return [_example(slots, at, sequences[int(slots.ordinals[at])], sampling) for at in shown]

    def _sequences(self, collation: int, ordinals: list[int]) -> dict[int, Sequence]:
        """All of them by one query: a page asks for fifty.  Raises ValueError where one is missing."""
        rows = self._connection.execute(
            "SELECT ordinal, tokens, source FROM sequences "
            "WHERE collation = ? AND ordinal IN (SELECT value FROM json_each(?))",
            (collation, json.dumps(ordinals)),
        )
        found = {row["ordinal"]: Sequence(unpack_tokens(row["tokens"]), row["source"]) for row in rows}
        if missing := set(ordinals) - found.keys():
            raise ValueError(f"sequence {min(missing)} is missing")
        return found

    def explanations(self, node: str) -> tuple[Explanation, ...]:
        """Best first; those without a score come last."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM explanations WHERE node = ? ORDER BY score IS NULL, score DESC, number",
                (node,),
            )
            return tuple(map(explanation_of, rows))

    def best(self, nodes: Iterable[str]) -> dict[str, Best]:
        """The best explanation of each of `nodes` that has one: what a table shows beside its rows."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT node, text, score FROM explanations WHERE node IN (SELECT value FROM json_each(?)) "
                "ORDER BY score IS NOT NULL, score, number DESC",
                (json.dumps(list(nodes)),),
            )
            return {node: Best(text, score) for node, text, score in rows}  # the last of each is its best

    def notes(self, node: str | None = None) -> tuple[Note, ...]:
        """Notes on a component, or all of them, oldest first."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT node, text, number FROM notes WHERE ?1 IS NULL OR node = ?1 ORDER BY number", (node,)
            )
            return tuple(Note(*row) for row in rows)

    def search(self, text: str, limit: int = 100) -> list[Hit]:
        """Components by words: in explanations, notes, promoted tokens, peaks and the text around them, best first."""
        with self._reading():
            return search(self._connection, text, limit)

    def sources(self) -> Mapping[str, str]:
        """Family of components (`N`, `L`, `M`, `Fm8`) -> what defines it: empty for the model's own parts."""
        with self._reading():
            return dict(self._connection.execute("SELECT name, source FROM families ORDER BY name"))

    def corpora(self) -> tuple[dict[str, Any], ...]:
        """What each collation was told and what it read, in order."""
        with self._reading():
            rows = self._connection.execute("SELECT plan, corpus, sequences, tokens FROM collations")
            return tuple(
                {
                    "plan": json.loads(plan),
                    "corpus": json.loads(corpus),
                    "sequences": sequences,
                    "tokens": tokens,
                }
                for plan, corpus, sequences, tokens in rows
            )

    def _one(self, query: str, *values: object) -> sqlite3.Row | None:
        return self._connection.execute(query, values).fetchone()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.path} is damaged: {said(error)}") from error


def open_store(path: Path, model_hash: str | None = None) -> Store:
    """A store to read from; StoreError where it is none, or is about other weights than `model_hash`."""
    if not path.is_file():
        raise StoreError(f"no store {path}: make one with tdb-tui collate")
    try:
        store = Store(path, _connect(path, "mode=ro"))
    except StoreError as error:
        if not isinstance(error.__cause__, sqlite3.OperationalError):
            raise
        # In a folder that cannot be written: nobody else writes it either.
        store = Store(path, _connect(path, "mode=ro&immutable=1"))
    if model_hash is not None and model_hash != store.identity.model_hash:
        name, made = store.identity.model_name, store.identity.model_hash
        store.close()
        raise StoreError(f"{path} is about {name} with weights {made}: this model's are {model_hash}")
    return store


def _connect(path: Path, how: str) -> sqlite3.Connection:
    # one thread at a time uses it, not always the same
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, check_same_thread=False, timeout=30
    )
    connection.row_factory = sqlite3.Row
    return connection


def _example(slots: Slots, at: int, sequence: Sequence, sampling: Sampling) -> Example:
    return Example(
        sequence.tokens,
        activations_of(slots, at, len(sequence.tokens)),
        float(slots.values[at]),
        int(slots.peaks[at]),
        int(slots.keys[at]) if slots.of_pairs else None,
        sampling,
        sequence.source,
    )


def activations_of(slots: Slots, number: int, length: int) -> Floats:
    """[pos], or [query, key] for pairs."""
    found = slots.decoded(number)
    return matrix(found, length) if slots.of_pairs else found[:length]


def origin_of(plan: str) -> Origin | None:
    """Who published what stands for a collation; None where it is one."""
    published = json.loads(plan).get("published")
    return Origin(**published) if published else None


def explanation_of(row: sqlite3.Row) -> Explanation:
    return Explanation(
        row["node"],
        row["text"],
        row["method"],
        row["model"],
        row["prompt_version"],
        unpack_scores(row["scores"]),
        json.loads(row["samples"]),
        row["number"],
    )
