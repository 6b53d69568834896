"""What can go wrong in a command, as one sentence for the person who typed it."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(eq=False)
class CommandError(Exception):
    """A mistake that the user can mend.  The session stays as it was."""

    message: str
    "What is wrong, then what would be right; no full stop, no leading ***."
    code: str = "bad-argument"
    hint: str = ""
    col: int | None = None
    "Column of the bad word in the line, from 0."

    partial: bool = False
    "Whether what was done before the failure stands (a script's earlier lines)."

    def __str__(self) -> str:
        return self.message

    @property
    def exit_code(self) -> int:
        return 5 if self.code == "assertion" else 1


@dataclass(eq=False)
class Unconfirmed(CommandError):
    """What is done only after a yes, and by a script only where it says so."""

    code: str = "unconfirmed"
    question: str = ""
    "For a person who can answer."
    then: str = ""
    "The command that a yes stands for."


class ComputeFailed(CommandError):
    """Memory, a lost device, numbers that are not finite: the previous result is kept."""

    @property
    def exit_code(self) -> int:
        return 4


class NotLoaded(CommandError):
    """The model, its tokenizer or the device cannot be had."""

    @property
    def exit_code(self) -> int:
        return 3


class Interrupted(Exception):
    """The user stopped a run; raised inside a hook and caught where commands are executed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`: did you mean 'ablate'?`, or nothing where no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""
