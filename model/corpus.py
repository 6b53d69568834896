"""Text files as tokens: documents read one by one, tokenised once into a flat file, and looked up there in rows.

The tokens lie on disk and are mapped, so a corpus of any size costs no memory, and any row can be read at any time.
"""

import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.tokenizer import Tokenizer
from model.vocabulary import END_OF_TEXT

LONGEST = 1 << 20
"""Characters of a document that are tokenised at once; a longer one is cut at an end of a line."""


class CorpusError(ValueError):
    """Text that cannot be used; one sentence naming the file."""


def read_documents(paths: Sequence[Path]) -> Iterator[str]:
    """The documents of text files, in order; `.jsonl` has one a line, in `text`, and others part them by <|endoftext|>.

    Raises CorpusError for a file that is not there, not UTF-8, or a line without text.
    """
    for path in paths:
        read = _json_lines if path.suffix == ".jsonl" else _parted
        try:
            with path.open(encoding="utf-8") as lines:
                yield from read(lines, path)
        except OSError as error:
            raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path} is not text in UTF-8 (byte {error.start} of a line)") from error


def _json_lines(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            text = json.loads(line)["text"] if line.strip() else ""
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise CorpusError(f'line {number} of {path} is not an object with "text"') from error
        if not isinstance(text, str):
            raise CorpusError(f'line {number} of {path} has a "text" that is no string')
        yield text


def _parted(lines: Iterable[str], path: Path) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for line in lines:
        *before, last = line.split(END_OF_TEXT)
        for text in before:
            yield "".join([*held, text])
            held, size = [], 0
        held.append(last)
        size += len(last)
        if size >= LONGEST:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def write_tokens(documents: Iterable[str], tokenizer: Tokenizer, path: Path) -> Generator[int, None, None]:
    """Tokenise documents into `path`, each after an end-of-text token; yields how many tokens there are so far.

    The file is 32-bit ids and nothing else, whole or not there.  Empty documents are left out.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    start = [] if tokenizer.eos is None else [tokenizer.eos]
    count = 0
    try:
        with part.open("wb") as file:
            for text in documents:
                if text.strip():
                    ids = np.asarray(start + tokenizer.encode(text, special=False), dtype="<u4")
                    file.write(ids.tobytes())
                    count += len(ids)
                    yield count
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Tokens in a row, cut into equal rows that each begin with `first`, where that is given."""

    tokens: np.ndarray
    """[token] ids, usually mapped from a file."""
    length: int
    """Of a row, with `first`."""
    first: int | None
    """The id put before each row, as before a prompt; None: nothing is."""

    @property
    def taken(self) -> int:
        """How many tokens of the text a row holds."""
        return self.length - (self.first is not None)

    def __len__(self) -> int:
        """The number of whole rows; what is left over at the end is in none."""
        return len(self.tokens) // self.taken

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The rows of these numbers: int64 [row, length]."""
        spans = [self.tokens[n * self.taken : (n + 1) * self.taken].astype(np.int64) for n in numbers]
        text = torch.from_numpy(np.stack(spans))
        if self.first is None:
            return text
        return torch.cat([torch.full((len(numbers), 1), self.first), text], dim=1)


def open_corpus(path: Path, length: int, first: int | None = None) -> Corpus:
    """The corpus of a file that `write_tokens` wrote; CorpusError where it has not one row of `length` tokens."""
    size = path.stat().st_size // 4
    if size < length - (first is not None):
        raise CorpusError(f"the text has {size} tokens, which is not one row of {length}: give more text")
    return Corpus(np.memmap(path, dtype="<u4", mode="r"), length, first)
