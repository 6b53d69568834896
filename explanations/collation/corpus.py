"""What a corpus is recognised by, and what a row of its tokens is.

A row holds consecutive tokens of one document, at most as many as a run takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from model.documents import readable

HEAD = 1 << 20
"Bytes that a file is recognised by, besides its size."


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    "Counted over the whole corpus."
    tokens: tuple[int, ...]
    file: int
    document: int
    "Counted over its file."
    start: int
    "Its first token, counted over its document."


def blocks(rows: Iterator[Row], size: int) -> Iterator[tuple[Row, ...]]:
    """`size` rows at a time, the last block perhaps fewer."""
    while block := tuple(islice(rows, size)):
        yield block


def describe(paths: Sequence[Path], field: str) -> dict[str, Any]:
    """What a corpus is recognised by: its files' names, sizes, and a hash of how they begin."""
    files: list[dict[str, Any]] = []
    for path in paths:
        with readable(path), path.open("rb") as file:
            head = sha256(file.read(HEAD)).hexdigest()[:16]
            files.append({"name": path.name, "bytes": path.stat().st_size, "head": head})
    return {"files": files, "field": field}
