"""Edits as JSON, each as the command that makes it, and read back by carrying that out."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tdb_tui.commands.changing import EDITS
from tdb_tui.commands.table import registry
from tdb_tui.edits.editing import Changes, provided
from tdb_tui.errors import CommandError
from tdb_tui.files.saved_values import as_name, as_text, as_truth, as_whole, read_json
from tdb_tui.files.saving import as_saved, weights_hash
from tdb_tui.fitting import refuse_unfit
from tdb_tui.language.parsing import parse_line
from tdb_tui.session import Session, Snapshot
from tdb_tui.state import LONGEST_NAME, Edit, Inputs, State

SCHEMA = "tdb-edits/1"
_SEED = re.compile(r"(\bseed[ =])\d+")
InputsFor = Callable[[Snapshot, Changes], Inputs]


def stack_text(session: Session) -> str:
    """The stack as its file holds it.  Raises CommandError where the model's files are gone."""
    model = {"name": session.engine.info.name, "hash": weights_hash(session)}
    data = {"schema": SCHEMA, "model": model, "edits": as_saved(session.decided.inputs.edits)}
    return json.dumps(data, indent=1) + "\n"


def read_stack(snapshot: Snapshot, path: Path) -> tuple[Edit, ...]:
    """The edits of a file, numbered as new ones.  Raises CommandError where one cannot be made here."""
    data, following = read_json(path, "edit stack", SCHEMA), snapshot.state.next_edit
    found: list[Edit] = []
    try:
        for place, saved in enumerate(data["edits"]):
            try:
                edit = edit_of(snapshot, saved, provided)
                found.append(replace(edit, number=following + place))
            except CommandError as error:
                raise CommandError(f"{path}: {saved['command']}: {error.message}", error.code) from None
    except KeyError as error:
        raise CommandError(f"{path} is damaged: it has no {error.args[0]}", code="bad-file") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise CommandError(f"{path} is damaged: {error}", code="bad-file") from None
    return tuple(found)


def with_edits(
    session: Session, state: State, saved: Iterable[Mapping[str, Any]], lenient: bool = False
) -> State:
    """The state with its edits read back; where `lenient`, those that this model can make.

    Raises CommandError, KeyError, TypeError and ValueError.
    """
    snapshot = Session(session.engine, state).snapshot
    edits: list[Edit] = []
    for each in saved:
        try:
            edits.append(edit_of(snapshot, each))
        except CommandError:
            if not lenient:
                raise
    return replace(state, inputs=replace(state.inputs, edits=tuple(edits)))


def reseeded(snapshot: Snapshot, seed: int) -> tuple[Edit, ...]:
    """The edits of a session, what they draw drawn by another seed.  Raises CommandError."""
    found: list[Edit] = []
    for edit in snapshot.state.inputs.edits:
        text = _SEED.sub(rf"\g<1>{seed}", edit.text)
        found.append(edit)
        if text != edit.text:
            (call,) = parse_line(text, registry.takes_value)
            found[-1] = replace(edit, changes=EDITS[call.name.text](snapshot, call), text=text)
    return tuple(found)


def edit_of(snapshot: Snapshot, saved: Mapping[str, Any], inputs_for: InputsFor | None = None) -> Edit:
    """An edit read back from its command; `inputs_for` gives what it takes from elsewhere, else the session has it.

    Raises CommandError, KeyError, TypeError and ValueError.
    """
    (call,) = parse_line(as_text(saved["command"]), registry.takes_value)
    if call.name.text not in EDITS:
        raise ValueError(f"{call.name.text!r} is no edit")
    changes = EDITS[call.name.text](snapshot, call)
    called = as_name(saved.get("name", ""), LONGEST_NAME)
    edit = Edit(as_whole(saved["number"]), changes, saved["command"], as_truth(saved["enabled"]), called)
    inputs = snapshot.state.inputs if inputs_for is None else inputs_for(snapshot, changes)
    refuse_unfit(replace(inputs, edits=(edit,)), snapshot.info)
    return edit
