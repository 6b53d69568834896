"""Examples, histograms and scores as compressed bytes.  A damaged blob raises ValueError."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explanations.records import Floats, Histogram, Score

LEVEL = 6
USUAL_SCORES = (
    b',null],["absolute deviation",0.,["auc",0.,["r2",-0.,null],["detection",0.,["fuzzing",0.'
    b',{"false":1,"true":1}],{"negative":2,"quantile":4,"random":4,"top":6}],[["correlation",0.'
)
"What scores look like: a dictionary for zlib, which makes them half as long."
NO_KEY = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Examples of one component in one sampling, as arrays over the examples."""

    ordinals: NDArray[np.uint32]
    "Which sequence of the collation each is in: [example]"
    peaks: NDArray[np.uint16]
    keys: NDArray[np.uint16]
    "NO_KEY where the component is no head."
    values: Floats
    low: Floats
    "What codes 0 and 255 stand for: [example]"
    high: Floats
    codes: NDArray[np.uint8]
    "[example, pos], or [example, pair] with pairs (query, key) at query * (query + 1) / 2 + key"

    @property
    def of_pairs(self) -> bool:
        return bool(self.keys.size) and int(self.keys[0]) != NO_KEY

    def decoded(self, number: int) -> Floats:
        """The activations of one example: [pos] or [pair]."""
        return decode(self.codes[number], self.low[number], self.high[number])


def encode(activations: Floats) -> tuple[NDArray[np.uint8], np.float32, np.float32]:
    """Codes from 0 to 255 between the smallest and the largest: any shape -> the same shape."""
    low, high = activations.min(), activations.max()
    steps = (activations - low) * (np.float32(255) / (high - low) if high > low else np.float32(0))
    return np.rint(steps).astype(np.uint8), low, high


def decode(codes: NDArray[np.uint8], low: np.float32, high: np.float32) -> Floats:
    return (low + codes.astype(np.float32) * ((high - low) / np.float32(255))).astype(np.float32)


def matrix(pairs: Floats, length: int) -> Floats:
    """A lower triangle, row by row, as a matrix: [pair] -> [query, key]."""
    found = np.zeros((length, length), np.float32)
    found[np.tril_indices(length)] = pairs[: length * (length + 1) // 2]
    return found


def pack_slots(slots: Slots) -> bytes:
    count, width = slots.codes.shape
    parts = (slots.ordinals, slots.values, slots.low, slots.high, slots.peaks, slots.keys, slots.codes)
    return _pack([count, width], parts)


def unpack_slots(blob: bytes) -> Slots:
    data = zlib_bytes(blob)
    count, width = (int(number) for number in np.frombuffer(data, "<u4", 2))
    at = 8
    arrays: list[NDArray[np.generic]] = []
    for kind, size in (("<u4", 1), ("<f4", 1), ("<f4", 1), ("<f4", 1), ("<u2", 1), ("<u2", 1), ("u1", width)):
        arrays.append(np.frombuffer(data, kind, count * size, at))
        at += arrays[-1].nbytes
    ordinals, values, low, high, peaks, keys, codes = arrays
    return Slots(ordinals, peaks, keys, values, low, high, codes.reshape(count, width))  # pyright: ignore[reportArgumentType]


def pack_counts(counts: NDArray[np.int64]) -> bytes:
    """Counts of the bins between the first and the last that are not empty, byte plane by byte plane.

    The upper bytes of counts are mostly zero: lying together they take next to nothing.
    """
    used = np.flatnonzero(counts)
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
    planes = counts[first:last].astype("<i8").view("u1").reshape(-1, 8).T
    return _pack([len(counts), first, last], (np.ascontiguousarray(planes),))


def unpack_histogram(blob: bytes, edges: NDArray[np.float64]) -> Histogram:
    """Between the first and the last bin in use; `edges` are those of all bins."""
    data = zlib_bytes(blob)
    bins, first, last = (int(number) for number in np.frombuffer(data, "<u4", 3))
    if bins != len(edges) - 1:
        raise ValueError(f"a histogram of {bins} bins where {len(edges) - 1} were expected")
    planes = np.frombuffer(data, "u1", 8 * (last - first), 12).reshape(8, -1)
    counts = np.ascontiguousarray(planes.T).view("<i8").reshape(-1).astype(np.int64)
    return Histogram(edges[first : last + 1], counts)


def pack_tokens(ids: Iterable[int]) -> bytes:
    """Token ids, two bytes each where that is enough; the first byte says how many."""
    whole = np.fromiter(ids, "<u4")
    narrow = not whole.size or int(whole.max()) < 1 << 16
    return b"\2" + whole.astype("<u2").tobytes() if narrow else b"\4" + whole.tobytes()


def unpack_tokens(blob: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(blob, f"<u{blob[0]}", offset=1).tolist()) if len(blob) > 1 else ()


def pack_scores(scores: Iterable[Score]) -> bytes:
    """`[name, value, low, high, samples]` each, `null` for samples that are those of the score before."""
    rows: list[list[object]] = []
    before: dict[str, int] | None = None
    for score in scores:
        samples = dict(score.samples)
        rows.append([score.name, score.value, score.low, score.high, None if samples == before else samples])
        before = samples
    packer = zlib.compressobj(LEVEL, zdict=USUAL_SCORES)
    return packer.compress(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()) + packer.flush()


def unpack_scores(blob: bytes) -> tuple[Score, ...]:
    found: list[Score] = []
    unpacker = zlib.decompressobj(zdict=USUAL_SCORES)
    try:
        rows = json.loads(unpacker.decompress(blob) + unpacker.flush())
    except zlib.error as error:
        raise ValueError(str(error)) from error
    for name, value, low, high, samples in rows:
        found.append(Score(name, value, low, high, found[-1].samples if samples is None else samples))
    return tuple(found)


def _pack(header: list[int], arrays: tuple[NDArray[np.generic], ...]) -> bytes:
    little = [each.astype(each.dtype.newbyteorder("<"), copy=False).tobytes() for each in arrays]
    return zlib.compress(b"".join([np.asarray(header, "<u4").tobytes(), *little]), LEVEL)


def zlib_bytes(blob: bytes) -> bytes:
    try:
        return zlib.decompress(blob)
    except zlib.error as error:
        raise ValueError(str(error)) from error
