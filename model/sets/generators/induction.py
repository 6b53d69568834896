"""Induction: a list of random words told again; each is followed by what followed it before.

Olsson et al. 2022, "In-context Learning and Induction Heads".  Roles: A, the last word as it was told first; B, what
followed it; END, the last word.  The counterfactual tells other words first, so that nothing is told again.
"""

from collections.abc import Iterator
from random import Random

from model.demo.vocabulary import LISTED
from model.sets.generators.slots import example, single_words
from model.sets.prompts import Example
from model.tokenizer import Tokenizer

LENGTH = 8


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """Words and the place where the second telling stops, drawn anew."""
    listed = single_words(tokenizer, LISTED, "words", 2 * LENGTH)
    while True:
        drawn = rng.sample(listed, 2 * LENGTH)
        words, others = drawn[:LENGTH], drawn[LENGTH:]
        last = rng.randrange(1, LENGTH - 1)
        first = [f"w{n}" for n in range(LENGTH)]
        first[last], first[last + 1] = "A", "B"
        again = [f"again{n}" for n in range(last)] + ["END"]
        template = "Words: " + " ".join(f"{{{slot}}}" for slot in (*first, *again))
        told = dict(zip((*first, *again), (*words, *words[: last + 1]), strict=True))
        answer, *wrong = words[last + 1], *(word for word in words if word != words[last + 1])
        targets, distractors = [f" {answer}"], [f" {word}" for word in wrong]
        changed = dict(zip(first, others, strict=True))
        yield example(tokenizer, template, told, changed, targets, distractors, f"{last + 1} again")
