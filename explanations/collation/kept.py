"""The rows that examples are in, with their tokens and where they come from."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from explanations.collation.corpus import Row


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Arrays over the rows, in order of their numbers."""

    numbers: NDArray[np.int64]
    lengths: NDArray[np.int32]
    tokens: NDArray[np.uint32]
    "[row, token], zero beyond a row's length."
    files: NDArray[np.int32]
    documents: NDArray[np.int64]
    starts: NDArray[np.int64]

    def row(self, at: int) -> Row:
        tokens = tuple(self.tokens[at, : self.lengths[at]].tolist())
        place = int(self.files[at]), int(self.documents[at]), int(self.starts[at])
        return Row(int(self.numbers[at]), tokens, *place)


def of_rows(rows: Iterable[Row], length: int) -> Kept:
    rows = list(rows)
    tokens = np.zeros((len(rows), length), np.uint32)
    for at, row in enumerate(rows):
        tokens[at, : len(row.tokens)] = row.tokens
    return Kept(
        np.array([row.number for row in rows], np.int64),
        np.array([len(row.tokens) for row in rows], np.int32),
        tokens,
        np.array([row.file for row in rows], np.int32),
        np.array([row.document for row in rows], np.int64),
        np.array([row.start for row in rows], np.int64),
    )


def joined(one: Kept, other: Kept) -> Kept:
    """The rows of both, each once."""
    numbers = np.concatenate([one.numbers, other.numbers])
    _, first = np.unique(numbers, return_index=True)
    return Kept(*(np.concatenate([getattr(one, f.name), getattr(other, f.name)])[first] for f in fields(one)))


def only(kept: Kept, numbers: NDArray[np.int64]) -> Kept:
    """Those of the rows that are among `numbers`."""
    wanted = np.isin(kept.numbers, numbers)
    return Kept(*(getattr(kept, field.name)[wanted] for field in fields(kept)))


def to_arrays(kept: Kept) -> dict[str, NDArray[np.generic]]:
    return {field.name: getattr(kept, field.name) for field in fields(kept)}


def from_arrays(arrays: dict[str, NDArray[np.generic]]) -> Kept:
    """Raises KeyError where one is missing."""
    return Kept(*(arrays[field.name] for field in fields(Kept)))  # pyright: ignore[reportArgumentType]
