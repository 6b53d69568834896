"""Templates with named slots -> examples, each slot found again in the tokens, byte by byte.

A slot that begins with a capital is a role and must be one token; the rest are only words.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from string import Formatter

from model.printable import printable
from model.sets.prompts import END, Example, PromptError
from model.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Filled:
    text: str
    spans: Mapping[str, tuple[int, int]]
    "Slot -> its first byte and the one after its last."


def fill(template: str, words: Mapping[str, str]) -> Filled:
    """A template such as "Then, {IO} and {S1} went to the {place}" in words."""
    text, spans = "", {}
    for literal, slot, _, _ in Formatter().parse(template):
        text += literal
        if slot is not None:
            start = len(text.encode())
            text += words[slot]
            spans[slot] = start, len(text.encode())
    return Filled(text, spans)


def places(tokenizer: Tokenizer, filled: Filled) -> dict[str, int]:
    """Role -> token, END included.  PromptError where a role is not a token by itself (but for a leading space)."""
    tokens = [tokenizer.token_bytes(id) for id in tokenizer.encode(filled.text)]
    ends = list(accumulate(map(len, tokens)))
    found: dict[str, int] = {}
    for slot, (start, end) in filled.spans.items():
        if not slot[0].isupper():
            continue
        word = filled.text.encode()[start:end]
        if end not in ends or tokens[ends.index(end)].removeprefix(b" ") != word:
            said = printable(word.decode())
            raise PromptError(f"{slot} is '{said}': one token of this tokenizer was expected")
        found[slot] = ends.index(end)
    return found | {END: len(tokens) - 1}


def example(
    tokenizer: Tokenizer,
    template: str,
    words: Mapping[str, str],
    changed: Mapping[str, str],
    targets: Sequence[str],
    distractors: Sequence[str],
    name: str,
) -> Example:
    """An example, its counterfactual being the template with some slots `changed`.

    Raises PromptError where the counterfactual's tokens are not as many, or its roles elsewhere.
    """
    filled, other = fill(template, words), fill(template, {**words, **changed})
    roles = places(tokenizer, filled)
    lengths = [len(tokenizer.encode(each.text)) for each in (filled, other)]
    if lengths[0] != lengths[1] or places(tokenizer, other) != roles:
        raise PromptError(f"the counterfactual of '{printable(filled.text)}' does not have the same tokens")
    return Example(filled.text, tuple(targets), tuple(distractors), roles, other.text, name)


def single_words(tokenizer: Tokenizer, words: Iterable[str], what: str, needed: int) -> tuple[str, ...]:
    """Those of `words` that are one token after a space; PromptError where fewer than `needed` are."""
    given = tuple(words)
    found = tuple(word for word in given if is_single(tokenizer, f" {word}"))
    if len(found) < needed:
        known = f"only {len(found)} of {len(given)} are single tokens of this tokenizer"
        raise PromptError(f"these prompts need {needed} {what}: {known}")
    return found


def is_single(tokenizer: Tokenizer, text: str) -> bool:
    return len(tokenizer.encode(text)) == 1


def known_templates(tokenizer: Tokenizer, templates: Mapping[str, str]) -> dict[str, str]:
    """Those whose own words are each one token: a vocabulary made of other texts knows others badly."""
    known = {
        name: template
        for name, template in templates.items()
        if all(is_single(tokenizer, word) for word in _own_words(template))
    }
    if not known:
        count = f"none of the {len(templates)} templates is"
        raise PromptError(f"{count} made of single tokens of this tokenizer: one is needed")
    return known


def _own_words(template: str) -> list[str]:
    """What a template says between its slots, word by word, as far as a space stands before it."""
    return [word for literal, *_ in Formatter().parse(template) for word in re.findall(" [A-Za-z]+", literal)]
