"""A session whole, undoing and all, as plain values, and back again."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import tdb_tui.commands  # noqa: F401  the table comes first: its modules import the files below
from tdb_tui.files.edit_files import with_edits
from tdb_tui.files.loading import Reader, read_state
from tdb_tui.files.saved_sweeps import saved_sweep
from tdb_tui.files.saved_values import as_text, as_truth, as_whole
from tdb_tui.files.saving import inputs_dict, to_dict
from tdb_tui.session import Session, Step
from tdb_tui.state import Inputs, State


def whole(session: Session) -> dict[str, Any]:
    """All that a session's file holds, and what is there to undo and to redo."""
    return {
        **to_dict(session),
        "ran": None if session.snapshot.waiting is None else inputs_dict(session.state.inputs),
        "past": [_step(step) for step in session.past],
        "future": [_step(step) for step in session.future],
        "opening": list(session.opening),
        "done": list(session.done),
        "kept": [circuit.name for circuit in session.state.circuits if circuit.saved],
        "saved": session.savepoint().saved,
    }


def restore(session: Session, data: Mapping[str, Any]) -> None:
    """Make a session what it was.  Raises CommandError, KeyError, TypeError and ValueError."""
    session.go(replace(session.state, circuits=()))  # those of the file are the ones
    state = read_state(session, data)
    circuits = tuple(replace(each, saved=each.name in data["kept"]) for each in state.circuits)
    past, future = (
        [_read_step(session, saved, state) for saved in data[name]] for name in ("past", "future")
    )
    state, ran, sweep = replace(state, circuits=circuits), data.get("ran"), data.get("sweep")
    then = state if ran is None else replace(state, inputs=_read_inputs(session, ran, state))
    session.sweep = None if sweep is None else saved_sweep(sweep, then.inputs)
    session.go(then)
    session.decide(state)
    session.past, session.future = past, future
    session.opening = tuple(map(as_text, data["opening"]))
    session.done = list(map(as_text, data["done"]))
    session.saved = as_truth(data["saved"])


def _step(step: Step) -> dict[str, Any]:
    roles = None if step.roles is None else dict(step.roles)
    return {"text": step.text, "was": roles, **inputs_dict(step.before)}


def _read_step(session: Session, saved: Mapping[str, Any], state: State) -> Step:
    roles = (
        None
        if saved["was"] is None
        else MappingProxyType({as_text(k): as_whole(v) for k, v in saved["was"].items()})
    )
    then = state if roles is None else replace(state, roles=roles)
    return Step(as_text(saved["text"]), _read_inputs(session, saved, then), roles)


def _read_inputs(session: Session, saved: Mapping[str, Any], state: State) -> Inputs:
    """Inputs as `inputs_dict` wrote them, where positions are named as in `state`."""
    inputs = Reader(session, lenient=False).inputs(saved)
    return with_edits(session, State(inputs, roles=state.roles), saved["edits"]).inputs
