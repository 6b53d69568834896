"""Text files as documents, read as a stream: plain text, JSON Lines, parquet.

Documents of a plain text are separated by `<|endoftext|>`; in the other formats every record is one.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.vocabulary import END_OF_TEXT

CHUNK = 1 << 16
"Characters read at a time."
LONGEST = 1 << 20
"Characters without a space that are still tokenised as one."


class CorpusError(ValueError):
    """A text that cannot be read; one sentence naming the file."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What goes wrong with a file inside becomes CorpusError."""
    try:
        yield
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 text: byte {error.object[error.start]:#04x} in it") from error


def documents(path: Path, field: str = "text") -> Iterator[Iterable[str]]:
    """Each document of a file, in pieces that can be tokenised one by one, read as they are asked for."""
    if path.suffix == ".parquet":
        yield from ([text] for text in _parquet(path, field))
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from ([text] for text in _json_lines(path, field))
    else:
        yield from _plain(path)


def _plain(path: Path) -> Iterator[Iterable[str]]:
    """A document's pieces are read as they are asked for, and finished before the next document."""
    with path.open(encoding="utf-8", newline="") as file:
        text = _Text(iter(lambda: file.read(CHUNK), ""))
        while not text.ended:
            yield text.document()


class _Text:
    """A stream of characters, handed out document by document."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks, self._held, self.ended = chunks, "", False

    def document(self) -> Iterator[str]:
        """Pieces up to the next `<|endoftext|>`, or to the end."""
        while True:
            before, mark, after = self._held.partition(END_OF_TEXT)
            if mark:
                self._held = after
                yield before
                return
            if safe := _last_cut(before):
                self._held = before[safe:]
                yield before[:safe]
            chunk = next(self._chunks, "")
            if not chunk:
                self.ended = True
                yield self._held
                return
            self._held += chunk


def _last_cut(text: str) -> int:
    """The last place where `text` may be cut and tokenised in pieces; 0 where there is none.

    No token of GPT-2's holds a space after something else, and what a run of spaces becomes depends on what follows.
    """
    at = len(text)
    while (at := max(text.rfind(" ", 0, at), text.rfind("\n", 0, at))) > 0:
        if not text[at - 1].isspace():
            return at
    return len(text) if len(text) > LONGEST else 0


def _json_lines(path: Path, field: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise CorpusError(f"{path}:{number} is not JSON") from error
            text = record.get(field) if isinstance(record, dict) else record
            if not isinstance(text, str):
                raise CorpusError(f"{path}:{number} has no text {field!r}: name another field with --field")
            yield text


def _parquet(path: Path, field: str) -> Iterator[str]:
    try:
        from pyarrow import ArrowException, parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise CorpusError(f"reading {path} needs pyarrow: pip install pyarrow") from error
    try:
        file = parquet.ParquetFile(path)
        if field not in file.schema_arrow.names:
            names = ", ".join(file.schema_arrow.names)
            raise CorpusError(f"{path} has no column {field!r}: it has {names}; name one with --field")
        for batch in file.iter_batches(columns=[field], batch_size=256):
            yield from (str(text) for text in batch.column(0).to_pylist() if text is not None)
    except ArrowException as error:
        raise CorpusError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
