"""Edits, stops and displays switched off and on."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tdb_tui.commands.stops import described, numbered_display, numbered_stop
from tdb_tui.commands.table import command
from tdb_tui.edits.editing import effect
from tdb_tui.edits.which import NUMBERED, edit_of, known_edit, words_of
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session
from tdb_tui.state import Display, Edit, Stop

Each = TypeVar("Each", Edit, Stop, Display)


@command(
    "disable",
    usage="NUM|NAME...",
    group="stops",
    stale=Stale.TOLD,
    complete=("stop",),
    examples=("b A1 ;; disable 1", "disable i1"),
)
def disable(session: Session, call: Call) -> Reply:
    """Switch off stops (`b1`, `w2` or a bare number), displays (`d1`) or edits (`i3`, or their name), keeping them."""
    return _switch(session, call, on=False)


@command(
    "enable",
    usage="NUM|NAME...",
    group="stops",
    stale=Stale.TOLD,
    complete=("stop",),
    examples=("b A1 ;; disable 1 ;; enable 1", "enable i1"),
)
def enable(session: Session, call: Call) -> Reply:
    """Switch stops, displays or edits on again."""
    return _switch(session, call, on=True)


@command(
    "toggle",
    usage="iN|NAME|bN|wN|dN...",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("stop",),
    examples=("ablate L1H3 ;; toggle i3", "toggle i1 b1"),
)
def toggle(session: Session, call: Call) -> Reply:
    """Switch edits, stops and displays off where they are on and on where they are off; undo takes the edits back."""
    if not call.args:
        raise CommandError("toggle which edit or stop: toggle i1, toggle b2", code="missing-argument")
    edits, stops, displays = _meant(session, call)
    before = session.snapshot.value
    _set(session, call, (edits, stops, displays), lambda each: not each.enabled)
    after = session.snapshot.value
    names = [*(f"i{edit.number}" for edit in edits), *(each.name for each in (*stops, *displays))]
    said = ", ".join(
        f"{name} {'off' if each.enabled else 'on'}"
        for name, each in zip(names, (*edits, *stops, *displays), strict=True)
    )
    return note(f"{said}   {effect(before, after)}" if edits else said, before=before, after=after)


def _switch(session: Session, call: Call, on: bool) -> Reply:
    """Edits rerun, as one step that undo takes back."""
    if not call.args:
        raise CommandError("Breakpoint number expected", code="bad-stop")
    edits, stops, displays = _meant(session, call)
    snapshot, word = session.snapshot, "Enabled" if on else "Disabled"
    _set(session, call, (edits, stops, displays), lambda each: on)
    value = session.snapshot.value
    said = [f"{word} {described(snapshot, stop)}" for stop in stops]
    said += [f"{word} display {each.number}: {each.expression}" for each in displays]
    said += [f"{word} i{edit.number} ({edit.text})   {effect(None, value)}" for edit in edits]
    return Reply(tuple(said), {"value": value})


def _meant(session: Session, call: Call) -> tuple[list[Edit], list[Stop], list[Display]]:
    """Raises CommandError for a word that is none of them."""
    state = session.decided
    edits: list[Edit] = []
    stops: list[Stop] = []
    displays: list[Display] = []
    for word in words_of(state, call):
        edit = known_edit(state, word)
        if edit is not None:
            edits.append(edit)
        elif not NUMBERED.fullmatch(word.text):
            message = f"no edit, stop or display {word.text!r}: edits, b and display list them"
            raise CommandError(message, "bad-stop", col=word.col)
        elif word.text.startswith("i"):
            edits.append(edit_of(state, word))  # which there is not, and is said
        elif word.text.startswith("d"):
            displays.append(numbered_display(state, word))
        else:
            stops.append(numbered_stop(session.snapshot, word))
    return edits, stops, displays


def _set(
    session: Session,
    call: Call,
    chosen: tuple[list[Edit], list[Stop], list[Display]],
    on: Callable[[Edit | Stop | Display], bool],
) -> None:
    """Switch what is chosen, and rerun where edits are among it."""

    def switched(every: tuple[Each, ...], some: list[Each]) -> tuple[Each, ...]:
        return tuple(replace(each, enabled=on(each)) if each in some else each for each in every)

    edits, stops, displays = chosen
    state = session.decided
    new = replace(state, stops=switched(state.stops, stops), displays=switched(state.displays, displays))
    if edits:
        inputs = replace(state.inputs, edits=switched(state.inputs.edits, edits))
        session.change(inputs, call.text, new)
    else:
        session.decide(new)
