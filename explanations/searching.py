"""Words -> components, over every text of a store."""

import json
import re
import sqlite3

from explanations.records import Hit

WEIGHTS = {"explanation": 8.0, "note": 8.0, "promoted": 4.0, "peak": 4.0, "context": 1.0}
"How much it counts where the words stand."


def search(connection: sqlite3.Connection, text: str, limit: int) -> list[Hit]:
    """Components in whose texts every word of `text` stands, in one and the same field; best first, each once."""
    if not (query := as_query(text)):
        return []
    found: dict[str, Hit] = {}
    hits = [*_told(connection, query, limit), *_seen(connection, query, limit)]
    for hit in sorted(hits, key=lambda hit: (-hit.rank, hit.node)):
        found.setdefault(hit.node, hit)
    return list(found.values())[:limit]


def as_query(text: str) -> str:
    """Words in quotation marks, so that nothing in them is an operator of the database's."""
    return " ".join(f'"{word}"' for word in re.findall(r"\w+", text))


def _told(connection: sqlite3.Connection, query: str, limit: int) -> list[Hit]:
    """What somebody said about them."""
    found: list[Hit] = []
    for table, field in (("explanations", "explanation"), ("notes", "note")):
        best = _best(connection, f"{table}_words", query, limit)
        rows = connection.execute(
            f"SELECT number, node, text FROM {table} WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(list(best)),),
        )
        found += [Hit(node, field, said, WEIGHTS[field] * (1 + best[number])) for number, node, said in rows]
    return found


def _seen(connection: sqlite3.Connection, query: str, limit: int) -> list[Hit]:
    """What they promote, where they peak, and the text around."""
    found: list[Hit] = []
    for field in ("promoted", "peak", "context"):
        best = _best(connection, "words", f"{field} : ({' AND '.join(query.split())})", limit)
        rows = connection.execute(
            f"SELECT rowid, node, {field} FROM words WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(list(best)),),
        )
        found += [Hit(node, field, seen, WEIGHTS[field] * (1 + best[row])) for row, node, seen in rows]
    return found


def _best(connection: sqlite3.Connection, table: str, query: str, limit: int) -> dict[int, float]:
    """The rows that match best: row -> how well.  `ORDER BY rank` sorts within the index, no text is read for it."""
    rows = connection.execute(
        f"SELECT rowid, -rank FROM {table} WHERE {table} MATCH ? ORDER BY rank LIMIT ?", (query, limit)
    )
    return dict(map(tuple, rows.fetchall()))
