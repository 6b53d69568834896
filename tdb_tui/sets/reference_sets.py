"""Prompts named by words, for means, resampling and directions: the set that is loaded, a generator, a file.

set | ioi:100:7 | ioi.jsonl [-n 20] | prompts.txt     the set; examples made to order; a file of examples or lines
... counterfactuals                                   each example's counterfactual instead of its prompt
... per template | per role                           how tokens are matched with those of the prompt
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.sets.prompts import Example
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import file_path, integer
from tdb_tui.language.parsing import Word, quote
from tdb_tui.session import Snapshot
from tdb_tui.sets.prompt_sets import FILES, TASKS, load_examples, loaded, prompt_of
from tdb_tui.state import Examples, Means, Prompt
from tdb_tui.texts import Knows, read_prompt

PER = ("template", "role", "position")


@dataclass(frozen=True, slots=True)
class Named:
    """Prompts with the words that name them again."""

    text: str
    prompts: tuple[Prompt, ...]


def means_named(snapshot: Snapshot, words: Sequence[Word]) -> Means:
    """`ioi:100:7 counterfactuals per template` -> reference prompts.  Raises CommandError."""
    left, per = list(words), ""
    if len(left) > 1 and left[-2].text == "per":
        word = left[-1]
        if word.text not in PER:
            suggestion = did_you_mean(word.text, PER) or f": {', '.join(PER)}"
            raise CommandError(f"no means per {word.text!r}{suggestion}", "bad-argument", col=word.col)
        per = "" if word.text == "position" else word.text
        left = left[:-2]
    found = prompts_named(snapshot, left)
    if per and not any(each.template if per == "template" else each.roles for each in found.prompts):
        message = f"{found.text} has no {per}s: per position"
        raise CommandError(message, "bad-argument", col=words[-1].col)
    return Means(f"{found.text} per {per}" if per else found.text, found.prompts, per)


def prompts_named(snapshot: Snapshot, words: Sequence[Word]) -> Named:
    """`ioi:100:7 counterfactuals` -> those prompts.  Raises CommandError, also where there is none."""
    if not words:
        raise CommandError("which prompts: set, ioi:50, FILE.jsonl, FILE.txt", code="missing-argument")
    first, rest, bos = words[0], list(words[1:]), snapshot.state.inputs.prompt.bos
    other = bool(rest) and rest[-1].text == "counterfactuals"
    rest = rest[:-1] if other else rest
    count = None
    if len(rest) == 2 and rest[0].text == "-n":
        count, rest = integer(rest[1], "a number of prompts", least=1), []
    if rest:
        expected = "counterfactuals, per template, per role"
        raise CommandError(f"unexpected {rest[0].text!r}: {expected}", "bad-argument", col=rest[0].col)
    found = _examples(snapshot, first, count, bos)
    if found is None:
        if other:
            raise CommandError(f"{first.text} has no counterfactuals", "bad-argument", col=words[-1].col)
        return Named(quote(first.text), _lines(snapshot, first, bos))
    prompts = reference_prompts(snapshot, found.prompts.examples, bos, other)
    return Named(f"{found.text} counterfactuals" if other else found.text, prompts)


def _examples(snapshot: Snapshot, word: Word, count: int | None, bos: bool) -> Examples | None:
    """A set of examples; None for a file of plain lines."""
    if word.text == "set" and not word.quoted:
        return loaded(snapshot.state)
    if Path(word.text).suffix.lower() in FILES or word.text.split(":")[0] in TASKS:
        try:
            return load_examples(snapshot, word.text, count, None, bos)
        except CommandError as error:
            raise CommandError(error.message, error.code, error.hint, word.col) from None
    return None


def reference_prompts(
    knows: Knows, examples: Sequence[Example], bos: bool, other: bool = False
) -> tuple[Prompt, ...]:
    """The prompts of a set, or its counterfactuals, each with its number, template and roles.

    Raises CommandError where one has no counterfactual.
    """
    for number, example in enumerate(examples, 1):
        if other and example.counterfactual is None:
            raise CommandError(f"example {number} has no counterfactual", code="bad-prompts")
    return tuple(prompt_of(knows, example, number, bos, other) for number, example in enumerate(examples, 1))


def example_prompt(snapshot: Snapshot, number: int) -> Prompt:
    """One of the set that is loaded.  Raises CommandError."""
    examples = loaded(snapshot.state).prompts.examples
    if not 1 <= number <= len(examples):
        raise CommandError(f"no example {number}: the set has 1 to {len(examples)}", code="bad-prompts")
    return prompt_of(snapshot, examples[number - 1], number, snapshot.state.inputs.prompt.bos)


def _lines(snapshot: Snapshot, word: Word, bos: bool) -> tuple[Prompt, ...]:
    """A file of prompts, one a line, numbered.  Raises CommandError."""
    path = file_path(word)
    try:
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise CommandError(
            f"cannot read {path}: {(error.strerror or 'it is no text file').lower()}", code="no-file"
        ) from None
    except UnicodeDecodeError:
        raise CommandError(f"cannot read {path}: it is no text file", code="no-file") from None
    if not found:
        raise CommandError(f"{path} holds no prompts: one a line was expected", code="no-file")
    return tuple(
        replace(read_prompt(snapshot, line, bos), example=number) for number, line in enumerate(found, 1)
    )


def described(means: Means | None, prompt: Prompt) -> str:
    """What means are taken over, in the prompt as it is."""
    if means is None:
        return "nothing: mean ablation is off"
    if not means.prompts:
        return f"the tokens of the prompt itself{', without the first' if prompt.bos else ''}"
    count = f"{len(means.prompts)} prompts"
    same = {len(each.tokens) for each in means.prompts} == {len(prompt.tokens)}
    if means.per == "role":
        return f"{count}, role by role, other tokens together"
    if not means.per:
        return f"{count}, {'position by position' if same else 'all their tokens together'}"
    own = [each for each in means.prompts if prompt.template and each.template == prompt.template]
    if not own:
        return f"{count}, none of which has this one's template: prompts use N"
    same = {len(each.tokens) for each in own} == {len(prompt.tokens)}
    how = "position by position" if same else "role by role"
    return f"the {len(own)} of {count} with template {prompt.template!r}, {how}"
