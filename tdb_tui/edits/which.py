"""Which edit a word means: `i3`, or the name that it has been given."""

import re

from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call, Word
from tdb_tui.state import Edit, State

NUMBERED = re.compile(r"[ibwd]?[0-9]+")
"How edits, stops and displays are numbered: no names."


def edit_of(state: State, word: Word) -> Edit:
    """Raises CommandError for a word that no edit has, and for a name that several have."""
    found = known_edit(state, word)
    if found is None:
        raise CommandError(f"no edit {word.text}: edits lists them", "bad-edit", col=word.col)
    return found


def known_edit(state: State, word: Word) -> Edit | None:
    """None for a word that no edit has.  Raises CommandError for a name that several have."""
    edits = state.inputs.edits
    found = [edit for edit in edits if word.text in (f"i{edit.number}", edit.name)] if word.text else []
    if len(found) > 1:
        numbers = ", ".join(f"i{edit.number}" for edit in found)
        raise CommandError(f"{word.text!r} names {numbers}: give a number", "bad-edit", col=word.col)
    return found[0] if found else None


def words_of(state: State, call: Call) -> tuple[Word, ...]:
    """A command's words, each once; all of them are one where they are an edit's name together."""
    whole = call.rest()
    if any(edit.name == whole.text for edit in state.inputs.edits):
        return (whole,)
    return tuple({word.text: word for word in call.args}.values())
