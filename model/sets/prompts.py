"""Prompt sets as data: a prompt, what should follow it and what should not, and which tokens play which role.

A role is a place with the same part in every example (`IO`, `S1`, `S2`, `END` of indirect object identification),
so that prompts of different length and wording can be laid over each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.metrics import Metric, Quantity
from model.tokenizer import Tokenizer
from model.vocabulary import TokenizerError

END = "END"
"The last token, which the answer follows; every prompt has it."
OTHER = "other"
"What tokens without a role are called together, and so the name of no role."


class PromptError(ValueError):
    """Prompts that cannot be used; one sentence, with file and line where there are such."""


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt of a set, in text."""

    text: str
    "Without a `<|endoftext|>` put before it."
    targets: tuple[str, ...]
    "Each a single token, with its leading space where it has one."
    distractors: tuple[str, ...] = ()
    roles: Mapping[str, int] = field(default_factory=dict, hash=False)
    "Role -> place among the text's own tokens, whatever may be put before them."
    counterfactual: str | None = None
    "The prompt without what decides the answer, to patch from or to take means over."
    template: str = ""


@dataclass(frozen=True, slots=True)
class PromptSet:
    name: str
    examples: tuple[Example, ...]
    seed: int | None = None
    "What it was drawn with; None for a set that was given."

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as the model gets it."""

    tokens: tuple[int, ...]
    targets: tuple[int, ...]
    distractors: tuple[int, ...]
    roles: Mapping[str, int] = field(hash=False)
    "Role -> position in `tokens`, END among them; no two at one token."
    counterfactual: tuple[int, ...] | None = None
    template: str = ""


def checked(example: Example, tokenizer: Tokenizer) -> Example:
    """The example with its targets and distractors spelled as the tokens they stand for (`Mary` is ` Mary`).

    Raises PromptError for an empty prompt, for an answer that is not one token, for a role that has no place.
    """
    try:
        length = len(tokenizer.encode(example.text))
        if not example.targets:
            raise PromptError("there is no target: one token or more were expected")
        targets, distractors = (
            tuple(tokenizer.resolve_single(word, after=example.text).text for word in words)
            for words in (example.targets, example.distractors)
        )
        other = example.counterfactual
        empty = not length or (other is not None and not tokenizer.encode(other))
    except TokenizerError as error:
        raise PromptError(str(error)) from None
    if empty:
        raise PromptError(f"the {'counterfactual' if length else 'prompt'} is empty: give some text")
    _check_roles(example.roles, length)
    return replace(example, targets=targets, distractors=distractors)


def _check_roles(roles: Mapping[str, int], length: int) -> None:
    taken: dict[int, str] = {}
    for role, place in roles.items():
        if role in ("", OTHER):
            raise PromptError(f"'{role}' is no name for a role: '{OTHER}' means the tokens that have none")
        if not 0 <= place < length:
            raise PromptError(f"role {role} is at token {place}: the prompt has tokens 0 to {length - 1}")
        if role == END and place != length - 1:
            raise PromptError(f"role END is at token {place}: END is the last token, {length - 1}")
        if place in taken:
            raise PromptError(f"roles {taken[place]} and {role} are both token {place}: one role a token")
        taken[place] = role


def encode(example: Example, tokenizer: Tokenizer, bos: bool = True) -> Encoded:
    """The example in tokens, `<|endoftext|>` before it if `bos` and if it is not there; roles move with it.

    The last token is END unless it has a role already.  Raises PromptError as `checked` does.
    """
    example = checked(example, tokenizer)
    tokens, before = _tokens(example.text, tokenizer, bos)
    roles = {role: place + before for role, place in example.roles.items()}
    if END not in roles and len(tokens) - 1 not in roles.values():
        roles[END] = len(tokens) - 1
    other = None if example.counterfactual is None else _tokens(example.counterfactual, tokenizer, bos)[0]
    targets, distractors = (
        tuple(tokenizer.single(word).id for word in words) for words in (example.targets, example.distractors)
    )
    return Encoded(tokens, targets, distractors, roles, other, example.template)


def encode_pairs(examples: Iterable[Example], tokenizer: Tokenizer, bos: bool = True) -> list[Encoded]:
    """Examples for a method that takes values from the counterfactual, position by position.

    Raises PromptError for the first one whose counterfactual is missing or not as long.
    """
    pairs = [encode(example, tokenizer, bos) for example in examples]
    for number, pair in enumerate(pairs, 1):
        if pair.counterfactual is None:
            raise PromptError(f"example {number} has no counterfactual: patching takes its values from one")
        if len(pair.counterfactual) != len(pair.tokens):
            lengths = f"{len(pair.tokens)} tokens and its counterfactual {len(pair.counterfactual)}"
            raise PromptError(f"example {number} has {lengths}: the same number was expected")
    return pairs


def metric_of(encoded: Encoded) -> Metric:
    """Logit difference after the last token; the targets' logit where there are no distractors."""
    quantity = Quantity.LOGIT_DIFF if encoded.distractors else Quantity.LOGIT
    return Metric(quantity, encoded.targets, encoded.distractors, len(encoded.tokens) - 1)


def roles_of(examples: Sequence[Encoded]) -> tuple[str, ...]:
    """Every role that occurs, in order of first appearance."""
    return tuple(dict.fromkeys(role for example in examples for role in example.roles))


def _tokens(text: str, tokenizer: Tokenizer, bos: bool) -> tuple[tuple[int, ...], int]:
    """The tokens, and how many were put before the text's own."""
    ids = tokenizer.encode(text)
    if not bos or tokenizer.eos is None or ids[:1] == [tokenizer.eos]:
        return tuple(ids), 0
    return (tokenizer.eos, *ids), 1
