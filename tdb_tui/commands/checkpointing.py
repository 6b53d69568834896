"""Checkpoints: what decides a run, kept under a name, and gone back to."""

from collections.abc import Sequence

from tdb_tui.commands.table import command
from tdb_tui.edits.checkpoints import checked_name, checkpoint_named, with_checkpoint, without_checkpoint
from tdb_tui.edits.editing import effect
from tdb_tui.errors import CommandError
from tdb_tui.fitting import arriving
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply, columns, note
from tdb_tui.session import Session
from tdb_tui.state import Edit

SHOWN = 32
"Characters of a prompt in the list."


@command(
    "checkpoint",
    "cp",
    usage="[NAME] [--drop]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.REFUSED,
    options={"drop": False},
    complete=("checkpoint",),
    examples=("checkpoint before", "ablate L1H3 ;; cp without ;; diff base without"),
)
def checkpoint(session: Session, call: Call) -> Reply:
    """Keep prompts, targets, edits and means under a name; without a name, list what is kept.

    `restore NAME` goes back there, `diff NAME` compares with it.  A name used again is for the new ones; --drop
    forgets it.  `save` keeps checkpoints with the session.
    """
    at_most(call, 1)
    if not call.args:
        if call.has("drop"):
            raise CommandError("drop which checkpoint: checkpoint before --drop", code="missing-argument")
        rows = checkpoint_rows(session)
        return Reply(columns(rows) or ("No checkpoints: checkpoint NAME",), {"checkpoints": _listed(session)})
    word = call.args[0]
    if call.has("drop"):
        checkpoint_named(session.state, word)
        session.go(without_checkpoint(session.state, word.text))
        return note(f"dropped {word.text}", dropped=word.text, checkpoints=_listed(session))
    try:
        name = checked_name(word.text)
    except ValueError as error:
        raise CommandError(str(error), "bad-name", col=word.col) from None
    session.go(with_checkpoint(session.state, name))
    value, count = session.snapshot.now.value, _enabled(session.state.inputs.edits)
    return note(
        f"checkpoint {name}   metric {signed(value)}, {count} in force",
        name=name,
        value=value,
        checkpoints=_listed(session),
    )


@command(
    "restore",
    usage="NAME",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("checkpoint",),
    examples=("checkpoint before ;; ablate L1H3 ;; restore before", "cp a ;; restore a"),
)
def restore(session: Session, call: Call) -> Reply:
    """Go back to a checkpoint, in one step that undo takes back."""
    if not call.args:
        raise CommandError("restore which checkpoint: restore before", code="missing-argument")
    at_most(call, 1)
    found, before = checkpoint_named(session.state, call.args[0]), session.snapshot.value
    state = arriving(session.state, found.inputs, found.roles)
    after = session.change(found.inputs, call.text, state).value
    said = f"restored {found.name}   {effect(before, after)}"
    return note(said, name=found.name, before=before, value=after)


def checkpoint_rows(session: Session) -> list[tuple[str, ...]]:
    """Name, metric, edits and prompt of each checkpoint: for listings."""
    rows: list[tuple[str, ...]] = []
    for each in session.state.checkpoints:
        text = each.inputs.prompt.text
        shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 2]} …"
        value = signed(session.engine.value(each.inputs))
        rows.append((each.name, value, _enabled(each.inputs.edits), repr(shown)))
    return rows


def _listed(session: Session) -> list[dict[str, object]]:
    return [
        {
            "name": each.name,
            "value": session.engine.value(each.inputs),
            "edits": [edit.text for edit in each.inputs.edits if edit.enabled],
            "prompt": each.inputs.prompt.text,
        }
        for each in session.state.checkpoints
    ]


def _enabled(edits: Sequence[Edit]) -> str:
    count = sum(edit.enabled for edit in edits)
    return f"{count} edit{'s' * (count != 1)}"
