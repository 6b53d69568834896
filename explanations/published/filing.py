"""Published records into a store: their tokens as those of the model, everything else as a collation leaves it."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from explanations import bins
from explanations.blobs import NO_KEY, Slots, encode, pack_tokens
from explanations.collation.corpus import Row
from explanations.collation.wording import Texts, words
from explanations.published.records import Passage, Published, PublishedError
from explanations.questions import places
from explanations.records import Origin, Sampling
from explanations.records import Sequence as Tokens
from explanations.schema import StoreError
from explanations.writing import (
    FROM,
    Collated,
    Family,
    begin_collation,
    drop_component,
    put_component,
    put_explanations,
    put_sequences,
)
from model.tokenizer import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"Stands in published texts for bytes that are no character by themselves; which bytes, is lost."
NOTHING = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Spelling:
    """The published spelling of each token -> its id."""

    ids: Mapping[str, int]
    tokenizer: Tokenizer

    def id_of(self, text: str, where: str) -> int:
        """Raises PublishedError for what is no token of this model."""
        found = self.ids.get(text)
        if found is None and REPLACEMENT in text:
            found = self.ids.get(REPLACEMENT)
        if found is None:
            said = self.tokenizer.display(text[:40])
            raise PublishedError(f"{where}: '{said}' is no token of this model: it is about another one")
        return found


def spelling(tokenizer: Tokenizer) -> Spelling:
    """By their texts, as OpenAI and Neuronpedia publish them, and as the vocabulary writes them (`Ġthe`)."""
    from model.vocabulary import BYTE_OF

    letters = {byte: letter for letter, byte in BYTE_OF.items()}
    raw = {"".join(letters[byte] for byte in token): id for id, token in tokenizer.tokens.items()}
    texts: dict[str, int] = {}
    for id, token in sorted(tokenizer.tokens.items()):
        text = token.decode("utf-8", errors="replace")
        if text.encode() == token:
            texts[text] = id
    return Spelling(raw | texts, tokenizer)


def file_away(
    connection: sqlite3.Connection, origin: Origin, found: Iterable[Published], spelled: Spelling
) -> int:
    """Put what was published into a store, in the caller's transaction; how many components that were.

    What the store has of a component from the same publisher and is not in `found` stays.  Raises PublishedError and
    StoreError.
    """
    count = 0
    for each in found:
        if any(each.passages.values()) or each.promoted or each.suppressed or each.density is not None:
            _file(connection, origin, each, spelled)
        put_explanations(connection, each.explanations)
        count += 1
    return count


def family_of(node: str) -> str:
    """What collated components are called together, `N` or `Fm8`."""
    return node.partition(".")[0] if node.startswith("F") else node[0]


def _file(connection: sqlite3.Connection, origin: Origin, each: Published, spelled: Spelling) -> None:
    family, source = f"{family_of(each.node)}{FROM}{origin.name}", f"{origin.name}, {each.node}"
    held = connection.execute("SELECT family FROM components WHERE node = ?", (each.node,)).fetchone()
    if held is not None and FROM not in held[0]:
        raise StoreError(
            f"{each.node} was collated into this store: give published records one of their own, with --store"
        )
    promoted, suppressed = (
        tuple(spelled.id_of(text, each.node) for text in texts) for texts in (each.promoted, each.suppressed)
    )
    if held is not None and held[0] == family and not any(each.passages.values()):
        return _add(connection, each, promoted, suppressed)
    drop_component(connection, each.node)
    number = _collation(connection, origin, family)
    connection.execute("DELETE FROM sequences WHERE collation = ? AND source = ?", (number, source))
    first = connection.execute(
        "SELECT coalesce(max(ordinal), -1) + 1 FROM sequences WHERE collation = ?", (number,)
    ).fetchone()[0]
    texts = _Texts(each.node, spelled)
    samples = {sampling: texts.slots(found, first) for sampling, found in each.passages.items() if found}
    said = ("", "", "")
    if top := samples.get(Sampling.TOP):
        own = replace(top, ordinals=top.ordinals - first)
        said = words(own, texts.rows, promoted, Texts(spelled.tokenizer, NOTHING))
    put_sequences(connection, number, (Tokens(row.tokens, source) for row in texts.rows), first)
    counts = np.zeros(bins.COUNT, np.int64)
    kept = Collated(
        each.node, each.moments, each.peak, each.density, counts, samples, promoted, suppressed, said
    )
    put_component(connection, family, kept)


def _add(
    connection: sqlite3.Connection, each: Published, promoted: tuple[int, ...], suppressed: tuple[int, ...]
) -> None:
    """What is new of a component whose examples are kept: its density, its promoted tokens."""
    told = [pack_tokens(ids) if ids else None for ids in (promoted, suppressed)]
    connection.execute(
        "UPDATE components SET density = coalesce(?, density), promoted = coalesce(?, promoted), "
        "suppressed = coalesce(?, suppressed) WHERE node = ?",
        (each.density, *told, each.node),
    )


def _collation(connection: sqlite3.Connection, origin: Origin, family: str) -> int:
    """The number of the collation that stands for what this publisher says of a family, made where it is new."""
    found = connection.execute("SELECT collation FROM families WHERE name = ?", (family,)).fetchone()
    if found is not None:
        return int(found[0])
    return begin_collation(connection, {"published": asdict(origin)}, {"files": []}, (0, 0), [Family(family)])


class _Texts:
    """A component's passages as rows of token ids, each counted from 0 in the order in which they come."""

    def __init__(self, node: str, spelled: Spelling) -> None:
        self.rows: list[Row] = []
        self._node, self._spelled = node, spelled

    def slots(self, found: Sequence[Passage], first: int) -> Slots:
        """Examples whose ordinals begin at `first` for the first row of all."""
        start = first + len(self.rows)
        for each in found:
            ids = tuple(self._spelled.id_of(text, self._node) for text in each.tokens)
            self.rows.append(Row(len(self.rows), ids, 0, 0, 0))
        return _slots(found, np.arange(start, start + len(found), dtype=np.uint32))


def _slots(found: Sequence[Passage], ordinals: NDArray[np.uint32]) -> Slots:
    flat = [places(each.activations) for each in found]
    codes = np.zeros((len(found), max(map(len, flat))), np.uint8)
    low, high = np.zeros(len(found), np.float32), np.zeros(len(found), np.float32)
    for at, acts in enumerate(flat):
        codes[at, : len(acts)], low[at], high[at] = encode(acts)
    ends = [np.unravel_index(int(each.activations.argmax()), each.activations.shape) for each in found]
    peaks = np.array([end[0] for end in ends], np.uint16)
    keys = np.array([end[1] if len(end) == 2 else NO_KEY for end in ends], np.uint16)
    return Slots(ordinals, peaks, keys, np.array([each.peak for each in found], np.float32), low, high, codes)
