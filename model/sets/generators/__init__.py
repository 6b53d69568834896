"""Prompt sets made to order, the same ones for the same seed and tokenizer."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from random import Random
from types import MappingProxyType

from model.sets.generators import agreement, docstring, greater_than, induction, ioi, pronoun
from model.sets.prompts import Example, PromptError, PromptSet, checked
from model.tokenizer import Tokenizer

TASKS: Mapping[str, Callable[[Tokenizer, Random], Iterator[Example]]] = MappingProxyType(
    {
        "ioi": ioi.examples,
        "greater-than": greater_than.examples,
        "docstring": docstring.examples,
        "pronoun": pronoun.examples,
        "agreement": agreement.examples,
        "induction": induction.examples,
    }
)


def generate(task: str, tokenizer: Tokenizer, count: int, seed: int = 0) -> PromptSet:
    """`count` examples of a task, each with roles and a counterfactual of as many tokens; a longer set begins alike.

    Words that are not single tokens of `tokenizer` are left out.  Raises PromptError for a task that is not there,
    and where too few words are left.
    """
    if task not in TASKS:
        raise PromptError(f"no task '{task}': there are {', '.join(TASKS)}")
    if count < 1:
        raise PromptError(f"{count} examples: at least 1 was expected")
    made = islice(TASKS[task](tokenizer, Random(f"{task}.{seed}")), count)
    return PromptSet(task, tuple(checked(example, tokenizer) for example in made), seed)
