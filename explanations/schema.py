"""The tables of a store, and what a store says of itself."""

import sqlite3
from dataclasses import dataclass

SCHEMA, VERSION = "tdb-store", "2"

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE collations (
    number INTEGER PRIMARY KEY, plan TEXT NOT NULL, corpus TEXT NOT NULL,
    sequences INTEGER NOT NULL, tokens INTEGER NOT NULL
);
CREATE TABLE families (
    name TEXT PRIMARY KEY, collation INTEGER NOT NULL REFERENCES collations, source TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE components (
    node TEXT PRIMARY KEY, family TEXT NOT NULL REFERENCES families, count INTEGER NOT NULL,
    mean REAL, variance REAL, skewness REAL, kurtosis REAL, max REAL NOT NULL, density REAL,
    histogram BLOB NOT NULL, promoted BLOB NOT NULL, suppressed BLOB NOT NULL
);
CREATE INDEX components_of_family ON components (family);
CREATE TABLE examples (
    node TEXT NOT NULL REFERENCES components, sampling TEXT NOT NULL, slots BLOB NOT NULL,
    PRIMARY KEY (node, sampling)
);
CREATE TABLE sequences (
    collation INTEGER NOT NULL REFERENCES collations, ordinal INTEGER NOT NULL,
    tokens BLOB NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (collation, ordinal)
);
CREATE TABLE explanations (
    number INTEGER PRIMARY KEY, node TEXT NOT NULL, text TEXT NOT NULL, method TEXT NOT NULL, model TEXT NOT NULL,
    prompt_version TEXT NOT NULL, score REAL, scores BLOB NOT NULL, samples TEXT NOT NULL
);
CREATE INDEX explanations_of_node ON explanations (node);
CREATE TABLE notes (number INTEGER PRIMARY KEY, node TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX notes_of_node ON notes (node);
CREATE VIRTUAL TABLE words USING fts5 (
    node UNINDEXED, promoted, peak, context, tokenize = 'porter unicode61', detail = column
);
"""
FOLLOWED = """
CREATE VIRTUAL TABLE {name}_words USING fts5 (
    text, content = '{name}', content_rowid = 'number', tokenize = 'porter unicode61'
);
CREATE TRIGGER {name}_added AFTER INSERT ON {name} BEGIN
    INSERT INTO {name}_words (rowid, text) VALUES (new.number, new.text);
END;
CREATE TRIGGER {name}_gone AFTER DELETE ON {name} BEGIN
    INSERT INTO {name}_words ({name}_words, rowid, text) VALUES ('delete', old.number, old.text);
END;
CREATE TRIGGER {name}_changed AFTER UPDATE OF text ON {name} BEGIN
    INSERT INTO {name}_words ({name}_words, rowid, text) VALUES ('delete', old.number, old.text);
    INSERT INTO {name}_words (rowid, text) VALUES (new.number, new.text);
END;
"""
"The full text of a table, kept up by the database itself."


class StoreError(ValueError):
    """A store that cannot be used; one sentence naming the file."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model a store is about."""

    model_name: str
    model_hash: str
    "`model.weights.model_hash`"


def lay_out(connection: sqlite3.Connection, identity: Identity) -> None:
    """Make the tables of a new store."""
    connection.executescript(
        TABLES + "".join(FOLLOWED.format(name=name) for name in ("explanations", "notes"))
    )
    meta = {
        "schema": SCHEMA,
        "version": VERSION,
        "model_name": identity.model_name,
        "model_hash": identity.model_hash,
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())


def read_identity(connection: sqlite3.Connection, path: str) -> Identity:
    """Raises StoreError where the file is no store, or one of another version."""
    try:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is not a store of tdb-tui: {said(error)}") from error
    if meta.get("schema") != SCHEMA:
        raise StoreError(f'{path} is not a store of tdb-tui: missing schema "{SCHEMA}"')
    if meta.get("version") != VERSION:
        raise StoreError(f"{path} is a store of version {meta.get('version')}: this tdb-tui reads {VERSION}")
    return Identity(meta.get("model_name", ""), meta.get("model_hash", ""))


def said(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
