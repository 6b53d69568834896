"""Gendered pronouns: "Yesterday Mary said that" -> " she" rather than " he".

With the tag questions of Mathwin et al. 2023, "Identifying a preliminary circuit for predicting gendered pronouns in
GPT-2 small".  The counterfactual is about somebody of the other gender.
"""

from collections.abc import Iterator
from random import Random

from model.demo.vocabulary import MEN, WOMEN
from model.sets.generators.slots import example, known_templates, single_words
from model.sets.prompts import Example
from model.tokenizer import Tokenizer

TEMPLATES = {
    "said": "Yesterday {NAME} said that",
    "thought": "Then {NAME} thought that",
    "knew": "Today {NAME} knew that",
    "hoped": "In the evening {NAME} hoped that",
    "went": "Later {NAME} went to the store because",
    "friend": "So {NAME} is a really great friend, isn't",
    "cook": "So {NAME} is such a good cook, isn't",
    "athlete": "So {NAME} is a very good athlete, isn't",
}


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """Women and men in turn, and templates in turn for both."""
    women, men = (single_words(tokenizer, names, "names of each gender", 1) for names in (WOMEN, MEN))
    templates = known_templates(tokenizer, TEMPLATES)
    while True:
        for name, template in templates.items():
            for pronouns, own, others in (((" she", " he"), women, men), ((" he", " she"), men, women)):
                words, changed = {"NAME": rng.choice(own)}, {"NAME": rng.choice(others)}
                yield example(tokenizer, template, words, changed, pronouns[:1], pronouns[1:], name)
