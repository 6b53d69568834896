"""A person's sentence as a prediction, without a language model: the tokens that it names, and where they count.

It is read as the sentences of `wording` are: `active right after ' gave'`, `attends to the first token`.  Tokens in
quotation marks are meant; where none are, every word of the sentence that is a token.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from explanations.hypotheses import features
from explanations.hypotheses.features import RELATIONS, Keys
from explanations.records import Floats

Of = Callable[[Sequence[int]], Keys]
QUOTED = re.compile(r"(?<!\w)'([^']+)'(?!\w)|\"([^\"]+)\"|`([^`]+)`")
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SPAN = re.compile(r"\b(\d+)(?: to (\d+)| (and up))?")
SMALL = frozenset(
    "a active after an and are as at attends back before by comes fires for from head in is it of on or right that the "
    "to token tokens what when where which with word words".split()
)
"Words of a sentence that name no token unless they are quoted."


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Active where a feature of the text has one of some keys."""

    of: Of
    keys: frozenset[int]
    words: tuple[str, ...]
    "What was understood, in words."

    def predict(self, tokens: Sequence[int]) -> Floats:
        """1 where it is said to be active, else 0: [place]"""
        return np.isin(self.of(tokens), list(self.keys)).astype(np.float32)


def read(text: str, pairs: bool, spelled: Mapping[int, str]) -> Reading:
    """What a sentence predicts; `spelled` is the text of every token, `pairs` whether it is about a head.

    Raises ValueError, one sentence, where it names nothing that can be looked for.
    """
    found = _relation(text) if pairs else _place(text)
    if found is not None:
        return found
    tokens = named(text, spelled)
    if not tokens:
        example = "attends to ' Mary'" if pairs else "active right after ' gave'"
        raise ValueError(f"nothing in it is a token of this model: quote some, as in {example}")
    words = tuple(dict.fromkeys(spelled[token] for token in sorted(tokens)))
    return Reading(_feature(text.casefold(), pairs), tokens, words)


def named(text: str, spelled: Mapping[int, str]) -> frozenset[int]:
    """The tokens that a sentence names, whatever their capitals and the space before them."""
    quotes = ["".join(parts) for parts in QUOTED.findall(text)]
    words = quotes or [word for word in WORD.findall(text) if word.casefold() not in SMALL]
    wanted = {_bare(word) for word in words} - {""}
    return frozenset(token for token, each in spelled.items() if _bare(each) in wanted)


def _bare(text: str) -> str:
    return text.strip().casefold()


def _feature(text: str, pairs: bool) -> Of:
    """Which token of a place a sentence is about."""
    if pairs:
        if "right after" in text:
            return features.before_key
        return features.query_token if "back from" in text else features.key_token
    if "right after" in text or "follow" in text:
        return features.preceding
    return features.following if "right before" in text else features.token


def _place(text: str) -> Reading | None:
    """Sentences about where in a text: its positions, and whether a token came before."""
    folded = text.casefold()
    if "position" in folded and (span := SPAN.search(folded)):
        first, last, up = span.groups()
        end = 10**6 if up else int(last or first)
        return Reading(
            _positions, frozenset(range(int(first), min(end, 10**5) + 1)), (f"positions {span[0]}",)
        )
    after = "right after" in folded
    for key, words in ((1, ("came before", "repeated")), (0, ("is new", "new in the text"))):
        if any(each in folded for each in words):
            return Reading(features.after_repeat if after else features.repeat, frozenset({key}), (words[0],))
    return None


def _positions(tokens: Sequence[int]) -> Keys:
    return np.arange(len(tokens), dtype=np.int64)


def _relation(text: str) -> Reading | None:
    """Sentences about where a head looks, whatever the tokens are."""
    folded = text.casefold()
    known = [at for at in range(1, len(RELATIONS)) if RELATIONS[at] in folded]
    longest = max(known, key=lambda at: len(RELATIONS[at]), default=None)
    if longest is None:
        return None
    return Reading(features.relation, frozenset({longest}), (RELATIONS[longest],))
