"""What is written into a store, each block whole or not at all, while others read."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explanations.blobs import Slots, pack_counts, pack_scores, pack_slots, pack_tokens, unpack_slots
from explanations.records import Explanation, Moments, Note, Sampling, Sequence
from explanations.schema import Identity, StoreError, lay_out, read_identity, said

BETWEEN = " · "
"What stands between two texts around peaks."
WAIT = 60.0
"Seconds that a writer waits for another one."
FROM = " from "
"Stands in the name of a family that was published, between what it is called here and by whom."


@dataclass(frozen=True, slots=True, eq=False)
class Collated:
    """One component as collated."""

    node: str
    moments: Moments
    max: float
    density: float | None
    counts: NDArray[np.int64]
    "The histogram's, over all of `bins.EDGES`."
    samples: dict[Sampling, Slots]
    promoted: tuple[int, ...] = ()
    suppressed: tuple[int, ...] = ()
    words: tuple[str, str, str] = ("", "", "")
    "For full-text search: promoted tokens, tokens of its peaks, the text around them."


@dataclass(frozen=True, slots=True)
class Family:
    """Components collated together: a layer's neurons, all heads, a dictionary's latents."""

    name: str
    source: str = ""
    "What defines them where the model alone does not: the hash of a dictionary."


@contextmanager
def writing(path: Path, identity: Identity) -> Iterator[sqlite3.Connection]:
    """A store to write into, made where there is none; nothing of the block is kept where it raises.

    Raises StoreError for a file that is no store, a store about other weights, and a disk that cannot be written.
    """
    try:
        connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {path}: {said(error)}") from error
    try:
        yield from _transaction(connection, path, identity)
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {path}: {said(error)}") from error
    finally:
        connection.close()


def _transaction(
    connection: sqlite3.Connection, path: Path, identity: Identity
) -> Iterator[sqlite3.Connection]:
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        lay_out(connection, identity)
    found = read_identity(connection, str(path))
    if found.model_hash != identity.model_hash:
        raise StoreError(
            f"{path} is about {found.model_name} with weights {found.model_hash}: "
            f"this model's are {identity.model_hash}"
        )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def begin_collation(
    connection: sqlite3.Connection,
    plan: dict[str, Any],
    corpus: dict[str, Any],
    size: tuple[int, int],
    families: Iterable[Family],
) -> int:
    """Make room for `families`, replacing what an earlier collation or a publisher said of them; the new one's number.

    `size` is how many sequences and tokens were read.
    """
    names = json.dumps([family.name for family in families])
    named = (
        "(SELECT name FROM families, json_each(?) "
        f"WHERE name = value OR substr(name, 1, length(value) + {len(FROM)}) = value || '{FROM}')"
    )
    nodes = f"(SELECT node FROM components WHERE family IN {named})"
    for gone in (
        f"words WHERE node IN {nodes}",
        f"examples WHERE node IN {nodes}",
        f"components WHERE family IN {named}",
        f"families WHERE name IN {named}",
    ):
        connection.execute(f"DELETE FROM {gone}", (names,))
    connection.execute("DELETE FROM sequences WHERE collation NOT IN (SELECT collation FROM families)")
    connection.execute("DELETE FROM collations WHERE number NOT IN (SELECT collation FROM families)")
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM collations").fetchone()[0]
    told = json.dumps(plan, sort_keys=True), json.dumps(corpus, sort_keys=True)
    connection.execute("INSERT INTO collations VALUES (?, ?, ?, ?, ?)", (number, *told, *size))
    connection.executemany(
        "INSERT INTO families VALUES (?, ?, ?)", [(family.name, number, family.source) for family in families]
    )
    return number


def put_sequences(
    connection: sqlite3.Connection, collation: int, sequences: Iterable[Sequence], first: int = 0
) -> None:
    """The sequences that examples are in; their ordinals count from `first`."""
    connection.executemany(
        "INSERT INTO sequences VALUES (?, ?, ?, ?)",
        (
            (collation, ordinal, pack_tokens(each.tokens), each.source)
            for ordinal, each in enumerate(sequences, first)
        ),
    )


def put_component(connection: sqlite3.Connection, family: str, found: Collated) -> None:
    moments = found.moments
    shape = (moments.mean, moments.variance, moments.skewness, moments.kurtosis)  # nan becomes NULL
    tokens = pack_tokens(found.promoted), pack_tokens(found.suppressed)
    connection.execute(
        "INSERT INTO components VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            found.node,
            family,
            moments.count,
            *shape,
            found.max,
            found.density,
            pack_counts(found.counts),
            *tokens,
        ),
    )
    connection.executemany(
        "INSERT INTO examples VALUES (?, ?, ?)",
        [
            (found.node, sampling.value, pack_slots(slots))
            for sampling, slots in found.samples.items()
            if slots.values.size
        ],
    )
    if any(found.words):
        connection.execute("INSERT INTO words VALUES (?, ?, ?, ?)", (found.node, *found.words))


def drop_component(connection: sqlite3.Connection, node: str) -> None:
    """Forget a component's statistics and examples; the sequences stay, others may be in them."""
    for table in ("words", "examples", "components"):
        connection.execute(f"DELETE FROM {table} WHERE node = ?", (node,))


def put_explanations(connection: sqlite3.Connection, explanations: Iterable[Explanation]) -> None:
    """Add explanations; the same text by the same means is kept once, with its last scores."""
    for each in explanations:
        named = each.node, each.text, each.method, each.model, each.prompt_version
        told = each.score, pack_scores(each.scores), json.dumps(each.samples, sort_keys=True)
        done = connection.execute(
            "UPDATE explanations SET score = ?, scores = ?, samples = ? "
            "WHERE node = ? AND text = ? AND method = ? AND model = ? AND prompt_version = ?",
            (*told, *named),
        )
        if not done.rowcount:
            connection.execute(
                "INSERT INTO explanations (node, text, method, model, prompt_version, score, scores, samples) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*named, *told),
            )


def drop_explanations(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    connection.executemany("DELETE FROM explanations WHERE number = ?", [(number,) for number in numbers])


def put_note(connection: sqlite3.Connection, note: Note) -> int:
    """Add a note unless there is the same; its number."""
    told = connection.execute("SELECT number FROM notes WHERE node = ? AND text = ?", (note.node, note.text))
    if there := told.fetchone():
        return there[0]
    done = connection.execute("INSERT INTO notes (node, text) VALUES (?, ?)", (note.node, note.text))
    return done.lastrowid or 0


def drop_note(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM notes WHERE number = ?", (number,))


def thin(connection: sqlite3.Connection, kept: Mapping[Sampling, int], contexts: int) -> None:
    """Keep so many examples of each component: of the top ones the first, of the others some all over their range.

    Sequences in which no example is left go too; a component is found by the text around its first `contexts` peaks.
    """
    for row, text in connection.execute("SELECT rowid, context FROM words").fetchall():
        fewer = BETWEEN.join(text.split(BETWEEN)[:contexts])
        connection.execute("UPDATE words SET context = ? WHERE rowid = ?", (fewer, row))
    used: set[tuple[int, int]] = set()
    rows = connection.execute(
        "SELECT examples.rowid, sampling, slots, collation FROM examples JOIN components USING (node) "
        "JOIN families ON name = family"
    ).fetchall()
    for row, sampling, blob, collation in rows:
        chosen = _some(unpack_slots(blob), kept[Sampling(sampling)], Sampling(sampling) is Sampling.TOP)
        used |= {(collation, int(ordinal)) for ordinal in chosen.ordinals}
        connection.execute("UPDATE examples SET slots = ? WHERE rowid = ?", (pack_slots(chosen), row))
    connection.execute("CREATE TEMP TABLE used (collation, ordinal, PRIMARY KEY (collation, ordinal))")
    connection.executemany("INSERT INTO used VALUES (?, ?)", used)
    connection.execute("DELETE FROM sequences WHERE (collation, ordinal) NOT IN (SELECT * FROM used)")
    connection.execute("DROP TABLE used")


def _some(found: Slots, count: int, first: bool) -> Slots:
    size = len(found.values)
    count = min(count, size)
    at = np.arange(count) if first else np.linspace(0, max(size - 1, 0), count).astype(np.int64)
    return Slots(**{field.name: getattr(found, field.name)[at] for field in fields(Slots)})


def drop_notes(connection: sqlite3.Connection, note: Note) -> None:
    """Drop a component's notes with this text."""
    connection.execute("DELETE FROM notes WHERE node = ? AND text = ?", (note.node, note.text))


def finish(path: Path) -> None:
    """One compact file that can be read from a folder that nobody can write: what is shipped."""
    connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        raise StoreError(f"cannot write {path}: {said(error)}") from error
    finally:
        connection.close()


def content_hash(path: Path) -> str:
    """A hash of every row of every table: equal for stores with the same content, however they came about."""
    from hashlib import sha256

    whole = sha256()
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        for table in (
            "meta",
            "collations",
            "families",
            "components",
            "examples",
            "sequences",
            "explanations",
            "notes",
            "words",
        ):
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
                whole.update(repr((table, row)).encode())
    finally:
        connection.close()
    return whole.hexdigest()
