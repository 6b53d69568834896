"""Words -> components, over every text of a store."""

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
        words = f"{table}_words"
        rows = connection.execute(
            f"SELECT node, {table}.text, -bm25({words}) FROM {words} JOIN {table} ON number = {words}.rowid "
            f"WHERE {words} MATCH ? ORDER BY bm25({words}) LIMIT ?",
            (query, limit),
        )
        found += [Hit(node, field, said, WEIGHTS[field] * (1 + rank)) for node, said, rank in rows]
    return found


def _seen(connection: sqlite3.Connection, query: str, limit: int) -> list[Hit]:
    """What they promote, where they peak, and the text around."""
    found: list[Hit] = []
    for field in ("promoted", "peak", "context"):
        rows = connection.execute(
            f"SELECT node, {field}, -bm25(words) FROM words WHERE words MATCH ? ORDER BY bm25(words) LIMIT ?",
            (f"{field} : ({' AND '.join(query.split())})", limit),
        )
        found += [Hit(node, field, seen, WEIGHTS[field] * (1 + rank)) for node, seen, rank in rows]
    return found
