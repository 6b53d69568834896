"""Edits taken back, and the table of the commands that make them."""

from collections.abc import Callable
from dataclasses import replace

from tdb_tui.commands.ablating import ablations
from tdb_tui.commands.edging import edge_changes
from tdb_tui.commands.freezing import freezes
from tdb_tui.commands.patching import patches
from tdb_tui.commands.paths import path_changes
from tdb_tui.commands.steering import steers
from tdb_tui.commands.table import command
from tdb_tui.edits.editing import Changes, effect
from tdb_tui.edits.which import edit_of, words_of
from tdb_tui.errors import CommandError
from tdb_tui.language.arguments import at_most, integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session, Snapshot

EDITS: dict[str, Callable[[Snapshot, Call], Changes]] = {
    "ablate": ablations,
    "patch": patches,
    "freeze": freezes,
    "steer": steers,
    "edge": edge_changes,
    "path": path_changes,
}
"What each editing command makes of its words: for sessions that are read from a file."


@command(
    "undo",
    usage="[COUNT]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    examples=("ablate L1H3 ;; undo", "undo"),
)
def undo(session: Session, call: Call) -> Reply:
    """Take back the last change of edits, prompts or targets."""
    return _back_and_forth(session, call, "undid")


@command(
    "redo",
    usage="[COUNT]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    examples=("ablate L1H3 ;; undo ;; redo", "redo"),
)
def redo(session: Session, call: Call) -> Reply:
    """Make again what undo took back."""
    return _back_and_forth(session, call, "redid")


@command(
    "reset",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    examples=("ablate L1H3 ;; reset", "reset"),
)
def reset(session: Session, call: Call) -> Reply:
    """All edits off, in one step that undo takes back."""
    at_most(call, 0)
    inputs, before = session.decided.inputs, session.snapshot.value
    if not inputs.edits:
        return note("No edits", value=before)
    after = session.change(replace(inputs, edits=()), "reset").value
    return note(f"reset   {effect(before, after)}", value=after)


@command(
    "delete",
    usage="iN|NAME...",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("edit",),
    examples=("ablate L1H3 ;; delete i1", "delete i2"),
)
def delete(session: Session, call: Call) -> Reply:
    """Remove edits by number or by name."""
    state = session.decided
    if not call.args:
        raise CommandError("delete which edit: delete i1", code="missing-argument")
    gone = [edit_of(state, word) for word in words_of(state, call)]
    before = session.snapshot.value
    kept = tuple(edit for edit in state.inputs.edits if edit not in gone)
    after = session.change(replace(state.inputs, edits=kept), call.text).value
    return note(
        f"deleted {', '.join(f'i{edit.number}' for edit in gone)}   {effect(before, after)}", value=after
    )


def _back_and_forth(session: Session, call: Call, word: str) -> Reply:
    at_most(call, 1)
    count = integer(call.args[0], "a count", least=1) if call.args else 1
    move = session.undo if word == "undid" else session.redo
    said: list[str] = []
    for _ in range(count):
        try:
            step = move()
        except CommandError:
            if not said:
                raise
            break
        said.append(f"{word} {step.text}   {effect(None, session.snapshot.value)}")
    return Reply(
        tuple(said),
        {"undone" if word == "undid" else "redone": said, "value": session.snapshot.value},
        script=f"{'undo' if word == 'undid' else 'redo'} {len(said)}",
    )
