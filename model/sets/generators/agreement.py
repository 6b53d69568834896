"""Subject-verb agreement past an attractor: "The keys to the cabinet" -> " are" rather than " is".

After Linzen et al. 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies".  The counterfactual
has the subject in the other number.  After a preposition the attractor is the last token, END.
"""

from collections.abc import Iterator
from itertools import product
from random import Random

from model.demo.agreement import SEES
from model.demo.vocabulary import PLURALS, PREPOSITIONS
from model.sets.generators.slots import example, single_words
from model.sets.prompts import Example
from model.tokenizer import Tokenizer

TEMPLATES = {
    "preposition": "The {SUBJECT} {link} the {END}",
    "that": "The {SUBJECT} that the {ATTRACTOR} {END}",
}
NUMBERS = ("singular", "plural")
VERBS = {"singular": " is", "plural": " are"}


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """Wordings, the subject's and the attractor's number in turn."""
    links = single_words(tokenizer, PREPOSITIONS, "prepositions", 1)
    known = set(single_words(tokenizer, (*PLURALS, *PLURALS.values()), "nouns", 4))
    nouns = [pair for pair in PLURALS.items() if known.issuperset(pair)]
    verbs = [pair for pair in SEES.items() if len(single_words(tokenizer, pair, "verbs", 0)) == 2]
    wordings = tuple(TEMPLATES) if verbs else ("preposition",)
    while True:
        for wording, number, attractor in product(wordings, NUMBERS, NUMBERS):
            subject, other = (dict(zip(NUMBERS, pair, strict=True)) for pair in rng.sample(nouns, 2))
            opposite = NUMBERS[number == "singular"]
            words = {"SUBJECT": subject[number]}
            if wording == "that":
                verb = dict(zip(NUMBERS, rng.choice(verbs), strict=True))[attractor]
                words |= {"ATTRACTOR": other[attractor], "END": verb}
            else:
                words |= {"link": rng.choice(links), "END": other[attractor]}
            yield example(
                tokenizer,
                TEMPLATES[wording],
                words,
                {"SUBJECT": subject[opposite]},
                [VERBS[number]],
                [VERBS[opposite]],
                f"{wording}, {number}, {attractor}",
            )
