"""What kind of token it is and whether it stands there for the first time: features that need the tokens' texts."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from explanations.hypotheses.features import Feature, Keys, repeat

Spell = Callable[[int], str]
SHAPES = (
    ("numbers", re.compile(r"\s*\d+")),
    ("capitalised words", re.compile(r"\s*[^\W\d_a-z][^\W\d_]*")),
    ("words", re.compile(r"\s[^\W\d_]+")),
    ("pieces of words", re.compile(r"[^\W\d_]+")),
    ("spaces", re.compile(r"\s+")),
    ("punctuation", re.compile(r".*", re.DOTALL)),
)
"The first that a whole token matches."
ONCE, AGAIN, ITSELF = 0, 1, 2
WHEN = {ONCE: " that occur once so far", AGAIN: " that have come before", ITSELF: ""}
TIMES = len(WHEN)


def shapes(spell: Spell) -> tuple[Feature, Feature]:
    """One feature for tokens, one for pairs of tokens."""
    known: dict[int, int] = {}

    def shape(token: int) -> int:
        if token not in known:
            text = spell(token)
            known[token] = next(at for at, (_, pattern) in enumerate(SHAPES) if pattern.fullmatch(text))
        return known[token]

    def kinds(tokens: Sequence[int]) -> Keys:
        return np.array([shape(token) for token in tokens], dtype=np.int64)

    def of_token(tokens: Sequence[int]) -> Keys:
        return kinds(tokens) * TIMES + repeat(tokens)

    def of_pair(tokens: Sequence[int]) -> Keys:
        """The kind of the key, and whether it is the query, or occurs once or more often up to that."""
        times = occurrences(tokens)
        when = np.where(times > 1, AGAIN, ONCE)
        np.fill_diagonal(when, ITSELF)
        pairs = kinds(tokens)[None, :] * TIMES + when
        return pairs[np.tril_indices(len(tokens))]

    return (
        Feature("kind of token", "active on {}", of_token, word),
        Feature("kind of key", "attends to {}", of_pair, word_of_pair),
    )


def occurrences(tokens: Sequence[int]) -> Keys:
    """How often the key's token stands in the text up to the query: [query, key]"""
    ids = np.array(tokens, dtype=np.int64)
    return np.cumsum(ids[:, None] == ids[None, :], axis=0).astype(np.int64)


def word(key: int, spell: Spell) -> str:
    kind, when = SHAPES[key // TIMES][0], key % TIMES
    return f"{kind} that are new in the text" if when == ONCE else f"{kind}{WHEN[when]}"


def word_of_pair(key: int, spell: Spell) -> str:
    kind, when = SHAPES[key // TIMES][0], key % TIMES
    return f"the token itself where it is one of {kind}" if when == ITSELF else f"{kind}{WHEN[when]}"
