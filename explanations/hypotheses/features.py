"""What can be read off a text at each token, or at each pair of tokens: one number a place, the key of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.int64]
NONE = -1
"There is nothing to read: no token before the first."
SHIFT = 20
"Two tokens in one key: the first times 2^20, and the second."

POSITIONS = (1, 2, 3, 4, 8, 16, 32)
"Where the bins of positions end; the last has no end."


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    "The explanation's method."
    says: str
    "The sentence, with `{}` for the keys where the component is active."
    of: Callable[[Sequence[int]], Keys]
    "Tokens -> [place]"
    word: Callable[[int, Callable[[int], str]], str]
    "A key in words; the second argument spells a token."


def token(tokens: Sequence[int]) -> Keys:
    return np.array(tokens, dtype=np.int64)


def preceding(tokens: Sequence[int]) -> Keys:
    return np.array([NONE, *tokens[:-1]], dtype=np.int64)


def following(tokens: Sequence[int]) -> Keys:
    return np.array([*tokens[1:], NONE], dtype=np.int64)


def bigram(tokens: Sequence[int]) -> Keys:
    return _both(preceding(tokens), token(tokens))


def position(tokens: Sequence[int]) -> Keys:
    return _bins(np.arange(len(tokens)))


def repeat(tokens: Sequence[int]) -> Keys:
    """1 where the token has come before in the sequence."""
    return np.asarray(_earlier(token(tokens)).any(axis=1), dtype=np.int64)


def after_repeat(tokens: Sequence[int]) -> Keys:
    """1 where the token before has come before: where an induction head has something to say."""
    return np.concatenate([[0], repeat(tokens)[:-1]]).astype(np.int64)


def one_of(chosen: frozenset[int]) -> Callable[[Sequence[int]], Keys]:
    """1 where one of these tokens comes next."""
    return lambda tokens: np.isin(following(tokens), list(chosen)).astype(np.int64)


def key_token(tokens: Sequence[int]) -> Keys:
    return _pairs(np.broadcast_to(token(tokens)[None, :], (len(tokens),) * 2))


def query_token(tokens: Sequence[int]) -> Keys:
    return _pairs(np.broadcast_to(token(tokens)[:, None], (len(tokens),) * 2))


def both_tokens(tokens: Sequence[int]) -> Keys:
    return _pairs(_both(token(tokens)[:, None], token(tokens)[None, :]))


def before_key(tokens: Sequence[int]) -> Keys:
    return _pairs(np.broadcast_to(preceding(tokens)[None, :], (len(tokens),) * 2))


def distance(tokens: Sequence[int]) -> Keys:
    at = np.arange(len(tokens))
    return _bins(_pairs(at[:, None] - at[None, :]))


RELATIONS = (
    "",
    "the first token",
    "the token itself",
    "the token before",
    "an earlier copy of the token",
    "the token after an earlier copy",
)


def relation(tokens: Sequence[int]) -> Keys:
    """A place in `RELATIONS`; where several hold, the last."""
    ids, at = token(tokens), np.arange(len(tokens))
    offset = at[:, None] - at[None, :]
    same = _earlier(ids)
    shifted = np.zeros_like(same)
    shifted[:, 1:] = same[:, :-1]  # the key before is a copy of the query
    found = np.zeros(offset.shape, dtype=np.int64)
    for number, holds in enumerate((at[None, :] == 0, offset == 0, offset == 1, same, shifted), start=1):
        found[np.broadcast_to(holds, found.shape)] = number
    return _pairs(found)


def _bins(numbers: Keys) -> Keys:
    return np.digitize(numbers, POSITIONS).astype(np.int64)


def _earlier(ids: Keys) -> NDArray[np.bool_]:
    """Which earlier tokens are the same: [pos, earlier pos]."""
    return np.tril(ids[:, None] == ids[None, :], -1)


def _both(first: Keys, second: Keys) -> Keys:
    joined: Keys = (first << SHIFT) | np.maximum(second, 0)
    joined[np.broadcast_to((first == NONE) | (second == NONE), joined.shape)] = NONE
    return joined


def _pairs(values: Keys) -> Keys:
    return values[np.tril_indices(len(values))]
