"""Inputs kept under a name, to go back to and to compare with.  Pure."""

import re
from dataclasses import replace

from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.parsing import Word
from tdb_tui.state import LONGEST_NAME, Checkpoint, State

NAME = rf"[A-Za-z][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}"
"What a checkpoint may be called, as a regular expression."
TAKEN = ("A", "B", "base", "now")
"What else `diff` calls by name."


def checked_name(name: str) -> str:
    """The name, where a checkpoint may have it.  Raises ValueError."""
    if name in TAKEN:
        raise ValueError(f"{name} is taken: choose another name")
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} is no name: letters, digits, _ . and -, {LONGEST_NAME} at most")
    return name


def with_checkpoint(state: State, name: str) -> State:
    """The state with its inputs kept under `name`, in the place of what was."""
    kept = {each.name: each for each in state.checkpoints}
    kept[name] = Checkpoint(name, state.inputs, state.roles)
    return replace(state, checkpoints=tuple(kept.values()))


def without_checkpoint(state: State, name: str) -> State:
    return replace(state, checkpoints=tuple(each for each in state.checkpoints if each.name != name))


def checkpoint_named(state: State, word: Word) -> Checkpoint:
    """The checkpoint that a word names.  Raises CommandError."""
    names = [each.name for each in state.checkpoints]
    if word.text not in names:
        right = did_you_mean(word.text, names) or (
            f": {', '.join(names)}" if names else ": checkpoint NAME makes one"
        )
        raise CommandError(f"no checkpoint {word.text!r}{right}", "no-checkpoint", col=word.col)
    return state.checkpoints[names.index(word.text)]
