"""Text files as tokens: documents read one by one, tokenised once into a flat file, and looked up there in rows.

The tokens lie on disk and are mapped, so a corpus of any size costs no memory, and any row can be read at any time.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.documents import CorpusError, documents, readable
from model.tokenizer import Tokenizer


def read_documents(paths: Sequence[Path]) -> Iterator[Iterable[str]]:
    """The documents of files, in order, each in pieces that are read as they are asked for; see `documents`.

    Records have their text in `text`.  Raises CorpusError.
    """
    for path in paths:
        with readable(path):
            yield from documents(path)


def write_tokens(
    texts: Iterable[Iterable[str]], tokenizer: Tokenizer, path: Path
) -> Generator[int, None, None]:
    """Tokenise documents, in pieces, into `path`, each after an end-of-text token; yields how many tokens there are.

    The file is 32-bit ids and nothing else, whole or not there.  Empty documents are left out.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    start = [] if tokenizer.eos is None else [tokenizer.eos]
    count = 0
    try:
        with part.open("wb") as file:
            for pieces in texts:
                for ids in _encoded(pieces, tokenizer, start):
                    file.write(np.asarray(ids, dtype="<u4").tobytes())
                    count += len(ids)
                    yield count
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encoded(pieces: Iterable[str], tokenizer: Tokenizer, start: list[int]) -> Iterator[list[int]]:
    """A document's tokens piece by piece, `start` before the first that is not blank."""
    blank = ""
    for piece in pieces:
        if blank is not None and not piece.strip():
            blank += piece
        elif blank is not None:
            yield start + tokenizer.encode(blank + piece, special=False)
            blank = None
        elif piece:
            yield tokenizer.encode(piece, special=False)


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
