"""What would a component do on this text, going by an explanation of it?  Asked of a language model.

Two ways to ask for all tokens at once: numbers with their log-probabilities, where the endpoint offers these, of
which the expectation is taken (Bills et al. 2023); else a JSON object to fill in (TDB).  For a head a pair of tokens is
asked about, and answered with 0 or 1.  An answer that does not fit is asked for again, and never becomes zeros.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from explanations.asking.marks import LEVELS, Spell, shown, with_pair
from explanations.asking.requests import Answer, BadAnswer, Message, Request
from explanations.records import Example, Floats

VERSION = "simulate-1"
DIGITS = 9
"The largest number of the way with log-probabilities: one token each, whatever the tokenizer."
LIKELY = 20
TOKENS_A_LINE = 8

NUMBERS = (
    "We study neurons in a language model.  You get what a neuron looks for, and a text, one token a line.  Repeat "
    f"every line, then a tab, then how active the neuron is at that token: a whole number from 0 to {DIGITS}.  "
    "Most are 0."
)
FILLED = (
    "We study neurons in a language model.  You get a JSON object with what a neuron looks for, a document, and its "
    f"tokens.  Fill in every null with how active the neuron is at that token: a whole number from 0 to {LEVELS}.  "
    "Most are 0.  Answer with a JSON object with the key activations, the list of all the numbers and nothing else: "
    "as many as there are tokens."
)
PAIR = (
    "We study attention heads in a language model.  You get what a head does, and a text in which one token is marked "
    "**so** and the same or an earlier one [[so]].  Does the head move information from [[the second]] to **the "
    "first**?  Answer 1 for yes or 0 for no, and nothing else."
)


@dataclass(frozen=True, slots=True)
class Way:
    """How activations are asked for."""

    logprobs: bool


def simulate_request(text: str, tokens: Sequence[int], spell: Spell, way: Way) -> Request:
    """How active a component described by `text` is at each of the tokens."""
    words = [shown(token, spell) for token in tokens]
    limit = TOKENS_A_LINE * len(words) + 50
    if way.logprobs:
        question = f"The neuron looks for: {text}\n\n" + "\n".join(words)
        return Request((Message("system", NUMBERS), Message("user", question)), limit, logprobs=LIKELY)
    filled = {
        "to_find": text,
        "document": "".join(words),
        "activations": [{"token": word, "activation": None} for word in words],
    }
    question = json.dumps(filled, ensure_ascii=False)
    return Request((Message("system", FILLED), Message("user", question)), limit, json=True)


def pair_request(text: str, example: Example, query: int, key: int, spell: Spell) -> Request:
    """Whether a head described by `text` moves something from key to query."""
    question = f"The head: {text}\n\n{with_pair(example, query, key, spell)}"
    return Request((Message("system", PAIR), Message("user", question)), 1, logprobs=LIKELY)


def read_activations(answer: Answer, count: int, way: Way) -> Floats:
    """[pos], each from 0 to 10.  Raises BadAnswer for another number of them, or anything that is no number."""
    return _expected(answer, count) if way.logprobs and answer.tokens else _filled(answer, count)


def read_pair(answer: Answer) -> Floats:
    """P(1) / (P(0) + P(1)), or 0 or 1 where there are no log-probabilities: [1].  Raises BadAnswer."""
    if answer.tokens:
        likely = answer.tokens[0].likely
        yes, no = (
            sum(math.exp(value) for text, value in likely.items() if text.strip() == digit)
            for digit in ("1", "0")
        )
        if yes + no > 0:
            return np.array([yes / (yes + no)], dtype=np.float32)
    if answer.text.strip()[:1] not in ("0", "1"):
        raise BadAnswer("the answer is neither 0 nor 1")
    return np.array([answer.text.strip()[0]], dtype=np.float32)


def _expected(answer: Answer, count: int) -> Floats:
    """The expectation of the number that ends each line: it follows a tab."""
    numbers = [
        _expectation(here.likely)
        for before, here in pairwise(answer.tokens)
        if before.text.endswith("\t") and here.text.strip().isdigit()
    ]
    if len(numbers) != count:
        raise BadAnswer(f"{count} lines with a number were asked for and {len(numbers)} came")
    return np.array(numbers, dtype=np.float32) * (LEVELS / DIGITS)


def _expectation(likely: Mapping[str, float]) -> float:
    chances = {
        int(text): math.exp(value) for text, value in likely.items() if text.isdigit() and int(text) <= DIGITS
    }
    whole = sum(chances.values())
    if whole <= 0:
        raise BadAnswer("a number has no log-probabilities")
    return sum(number * chance for number, chance in chances.items()) / whole


def _filled(answer: Answer, count: int) -> Floats:
    try:
        found = json.loads(answer.text)
    except ValueError as error:
        raise BadAnswer("the answer is not JSON") from error
    values = _listed(found)
    if len(values) != count:
        raise BadAnswer(f"{count} activations were asked for and {len(values)} came")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise BadAnswer("an activation is not a number")
    if not all(0 <= value <= LEVELS for value in values):
        raise BadAnswer(f"an activation is not from 0 to {LEVELS}")
    return np.array(values, dtype=np.float32)


def _listed(found: Any) -> list[Any]:
    """The numbers, which may come one by one or each with its token."""
    listed = found.get("activations") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise BadAnswer("the list activations is missing")
    return [each.get("activation") if isinstance(each, dict) else each for each in listed]
