"""Docstring: after ":param a", ":param b" comes ":param" -> the third argument of the definition.

After Heimersheim and Janiak 2023, "A circuit for Python docstrings in a 4-layer attention-only transformer".  The
counterfactual has other names, in the definition and in the docstring, that do not match each other.
"""

from collections.abc import Iterator
from random import Random

from model.demo.vocabulary import OBJECTS
from model.sets.generators.slots import example, single_words
from model.sets.prompts import Example
from model.tokenizer import Tokenizer

TEMPLATE = '''def {function}(self, {x1}, {x2}, {A_def}, {B_def}, {C_def}, {x3}):
    """{d1} {d2} {d3}

    :param {A_doc}: {d4} {d5}
    :param {B_doc}: {d6} {d7}
    :param'''
DEFINED: tuple[str, ...] = ("A_def", "B_def", "C_def", "x1", "x2", "x3")
DESCRIBED: tuple[str, ...] = ("A_doc", "B_doc")
NOUNS = 7
"Words of description, d1 to d7."
FUNCTIONS = ("load", "save", "find", "make", "check", "draw", "send", "build", "read", "write")
ARGUMENTS = tuple(
    "name path file size text line value state index field type mode list item table key map test page node model "
    "count range image message result report group score label price event order title level code data date user "
    "host port link format target source input output offset length width height color token section window "
    "button letter card book plan box bag road door wall".split()
)


def examples(tokenizer: Tokenizer, rng: Random) -> Iterator[Example]:
    """Arguments and descriptions, drawn anew."""
    names = single_words(tokenizer, ARGUMENTS, "names of arguments", 2 * len(DEFINED) + len(DESCRIBED))
    nouns = single_words(tokenizer, OBJECTS, "nouns", NOUNS)
    while True:
        drawn = rng.sample(names, 2 * len(DEFINED) + len(DESCRIBED))
        defined, others = drawn[: len(DEFINED)], drawn[len(DEFINED) :]
        words = {"function": rng.choice(FUNCTIONS)}
        words |= {f"d{n}": noun for n, noun in enumerate(rng.sample(nouns, NOUNS), 1)}
        words |= dict(zip(DEFINED, defined, strict=True))
        words |= {"A_doc": words["A_def"], "B_doc": words["B_def"]}
        random_names = dict(zip((*DEFINED, *DESCRIBED), others, strict=True))
        answer, wrong = words["C_def"], [f" {name}" for name in defined if name != words["C_def"]]
        yield example(tokenizer, TEMPLATE, words, random_names, [f" {answer}"], wrong, "rest")
