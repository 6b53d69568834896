"""JSON from elsewhere: each value is what its format says, or PublishedError says where it is not."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explanations.published.records import Passage, PublishedError
from explanations.records import Floats
from model.printable import printable

LARGEST = 64 << 20
"Bytes of a file that are read; published ones have at most a few million."
LONGEST = 4096
"Tokens of a passage."
WORDS = 2000
"Characters of an explanation that are kept."


def parsed(data: bytes, where: str) -> dict[str, Any]:
    """The object that a file holds."""
    if len(data) > LARGEST:
        raise PublishedError(f"{where} is larger than {LARGEST >> 20} MB: no published record is")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, json.JSONDecodeError) else "damaged"
        raise PublishedError(f"{where} is not JSON ({reason})") from error
    return an_object(found, "it", where)


def an_object(value: object, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PublishedError(f"{where}: {name} is {_kind(value)} where an object was expected")
    return value


def a_list(value: object, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PublishedError(f"{where}: {name} is {_kind(value)} where a list was expected")
    return value


def member(found: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    """The value under the first of these spellings."""
    for name in names:
        if name in found:
            return found[name]
    raise PublishedError(f"{where} has no {names[0]}")


def number_or_nan(value: object) -> float:
    """nan for what was not computed: null, NaN, a word."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def an_index(value: object, name: str, where: str) -> int:
    """A number from 0 on, also one that was written as a string."""
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise PublishedError(f"{where}: {name} is {_kind(value)} where a number from 0 on was expected")
    return int(text)


def a_text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise PublishedError(f"{where}: {name} is {_kind(value)} where a text was expected")
    return value


def a_sentence(value: object, name: str, where: str) -> str:
    """An explanation, on one line and not without end; what a terminal must not see is escaped."""
    return printable(" ".join(a_text(value, name, where).split())[:WORDS])


def tokens_of(value: object, name: str, where: str) -> tuple[str, ...]:
    found = a_list(value, name, where)
    if not 1 <= len(found) <= LONGEST:
        raise PublishedError(
            f"{where}: {name} has {len(found):,} tokens where 1 to {LONGEST:,} were expected"
        )
    return tuple(a_text(each, name, where) for each in found)


def floats_of(value: object, name: str, where: str) -> Floats:
    """[number], each finite also as a float32."""
    found = a_list(value, name, where)
    if not all(type(each) in (int, float) for each in found):
        raise PublishedError(f"{where}: {name} holds something that is no number")
    with np.errstate(over="ignore"):
        numbers = np.array(found, dtype=np.float64).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise PublishedError(f"{where}: {name} holds a number that is not finite")
    return numbers


def passage(tokens: tuple[str, ...], numbers: Floats, pairs: bool, where: str) -> Passage:
    """Raises PublishedError where there are not as many numbers as tokens, or pairs of them."""
    count = len(tokens)
    if not pairs:
        if len(numbers) != count:
            raise PublishedError(f"{where} has {count} tokens and {len(numbers)} activations")
        return Passage(tokens, numbers)
    return Passage(tokens, square(numbers, count, where))


def square(numbers: Floats, count: int, where: str) -> Floats:
    """A lower triangle row by row, whose rows may end at some length: [pair] -> [query, key].

    Rows that end have the first so many tokens as keys (TDB's `attention_utils.py`).
    """
    missing = count * (count + 1) // 2 - len(numbers)
    short = (int(np.sqrt(8 * missing + 1)) - 1) // 2 if missing >= 0 else -1
    if missing < 0 or short * (short + 1) // 2 != missing or short >= count:
        raise PublishedError(f"{where} has {count} tokens and {len(numbers)} activations of pairs of them")
    query, key = np.tril_indices(count)
    kept = key < count - short
    found = np.zeros((count, count), np.float32)
    found[query[kept], key[kept]] = numbers
    return found


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return kinds.get(type(value), "a number that is not finite or not whole")
