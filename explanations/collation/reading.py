"""A corpus as numbered rows of tokens: from its beginning, or from where an earlier run stood."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from explanations.collation.corpus import Row
from model.documents import CorpusError, documents, readable
from model.vocabulary import TokenizerError

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place to read on from.  What comes before it is read again, and not tokenised."""

    file: int = 0
    document: int = 0
    piece: int = 0
    "The next one of the document."
    number: int = 0
    "Of the next row."
    start: int = 0
    "Its first token, counted over its document."
    held: tuple[int, ...] = ()
    "Tokens of the document that are in no row yet."
    characters: int = 0
    "That have been tokenised."


class Rows(Iterator[Row]):
    """Rows of `length` tokens or fewer, in order.  Raises CorpusError."""

    def __init__(
        self, paths: Sequence[Path], field: str, encode: Encode, length: int, mark: Mark = Mark()
    ) -> None:
        self._paths, self._field, self._encode, self._length = paths, field, encode, length
        self.mark = mark
        "Before the text of the row that came last; a few rows come again."
        self._rows = self._read(mark)

    def __next__(self) -> Row:
        return next(self._rows)

    def _read(self, first: Mark) -> Iterator[Row]:
        for file, path in enumerate(self._paths[first.file :], first.file):
            with readable(path):
                for document, pieces in enumerate(documents(path, self._field)):
                    before = first.document if file == first.file else 0
                    if document < before:
                        deque(pieces, maxlen=0)
                        continue
                    same = (file, document) == (first.file, first.document)
                    fresh = Mark(file, document, number=self.mark.number, characters=self.mark.characters)
                    yield from self._document(first if same else fresh, pieces, path)

    def _document(self, mark: Mark, pieces: Iterable[str], path: Path) -> Iterator[Row]:
        """The last tokens of a document stay together."""
        self.mark, length = mark, self._length
        for number, piece in enumerate(pieces):
            if number < mark.piece:
                continue
            held = [*self.mark.held, *self._encoded(piece, path, mark.document)]
            count = max(0, (len(held) - 1) // length)
            at = self.mark
            for row in range(count):
                yield self._row(at, row, held[row * length : (row + 1) * length])
            self.mark = Mark(
                at.file,
                at.document,
                number + 1,
                at.number + count,
                at.start + count * length,
                tuple(held[count * length :]),
                at.characters + len(piece),
            )
        if self.mark.held:
            yield self._row(self.mark, 0, self.mark.held)
            at = self.mark
            self.mark = Mark(at.file, at.document + 1, number=at.number + 1, characters=at.characters)

    def _row(self, mark: Mark, row: int, tokens: Sequence[int]) -> Row:
        start = mark.start + row * self._length
        return Row(mark.number + row, tuple(tokens), mark.file, mark.document, start)

    def _encoded(self, piece: str, path: Path, document: int) -> list[int]:
        try:
            return self._encode(piece)
        except TokenizerError as error:
            raise CorpusError(f"{path}, document {document}: {error}") from error
