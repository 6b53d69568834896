"""Indirect object identification: "When Mary and John went to the store, John gave a drink to" -> " Mary".

Templates and roles of Wang et al. 2022, "Interpretability in the Wild", appendix E.  The counterfactual is their
ABC: the same words with three names that have nothing to do with the first two, so that nobody is named twice.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from model.demo.vocabulary import NAMES, OBJECTS, PLACES
from model.sets.generators.slots import example, known_templates, single_words
from model.sets.prompts import END, Example
from model.tokenizer import Tokenizer

TEMPLATES = {
    "went": "Then, {1} and {2} went to the {place}. {S2} gave a {object} to",
    "fun": "Then, {1} and {2} had a lot of fun at the {place}. {S2} gave a {object} to",
    "working": "Then, {1} and {2} were working at the {place}. {S2} decided to give a {object} to",
    "thinking": "Then, {1} and {2} were thinking about going to the {place}. {S2} wanted to give a {object} to",
    "argument": "Then, {1} and {2} had a long argument, and afterwards {S2} said to",
    "after": "After {1} and {2} went to the {place}, {S2} gave a {object} to",
    "got it": "When {1} and {2} got a {object} at the {place}, {S2} decided to give it to",
    "got the": "When {1} and {2} got a {object} at the {place}, {S2} decided to give the {object} to",
    "while": "While {1} and {2} were working at the {place}, {S2} gave a {object} to",
    "commuting": "While {1} and {2} were commuting to the {place}, {S2} gave a {object} to",
    "lunch": "After the lunch, {1} and {2} went to the {place}. {S2} gave a {object} to",
    "afterwards": "Afterwards, {1} and {2} went to the {place}. {S2} gave a {object} to",
    "argued": "Then, {1} and {2} had a long argument. Afterwards {S2} said to",
    "had": "The {place} {1} and {2} went to had a {object}. {S2} gave it to",
    "friends": "Friends {1} and {2} found a {object} at the {place}. {S2} gave it to",
}
ORDERS = {"ABBA": ("IO", "S1"), "BABA": ("S1", "IO")}
"Who is named first and second; the subject then acts."
NAMED: tuple[str, ...] = ("IO", "S1", "S2")
AFTER_S1 = "S1+1"
ROLES = ("IO", "S1", AFTER_S1, "S2", END)


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """Orders in turn, and templates in turn for each."""
    names = single_words(tokenizer, NAMES, "names", 5)
    nouns = {
        "place": single_words(tokenizer, PLACES, "places", 1),
        "object": single_words(tokenizer, OBJECTS, "objects", 1),
    }
    templates = known_templates(tokenizer, TEMPLATES)
    while True:
        for name, template in templates.items():
            for order, (first, second) in ORDERS.items():
                slots = template.replace("{1}", f"{{{first}}}").replace("{2}", f"{{{second}}}")
                yield _example(tokenizer, rng, f"{name} {order}", slots, names, nouns)


def _example(
    tokenizer: Tokenizer,
    rng: Random,
    name: str,
    template: str,
    names: tuple[str, ...],
    nouns: dict[str, tuple[str, ...]],
) -> Example:
    receiver, giver, *strangers = rng.sample(names, 5)
    words = {"IO": receiver, "S1": giver, "S2": giver} | {slot: rng.choice(of) for slot, of in nouns.items()}
    abc: dict[str, str] = dict(zip(NAMED, strangers, strict=True))
    made = example(tokenizer, template, words, abc, [f" {receiver}"], [f" {giver}"], name)
    found = {**made.roles, AFTER_S1: made.roles["S1"] + 1}
    return replace(made, roles={role: found[role] for role in ROLES})
