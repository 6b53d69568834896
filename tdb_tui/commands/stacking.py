"""The edit stack: what each edit is worth, names, order, and stacks as files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tdb_tui.commands.table import command
from tdb_tui.edits.editing import NOT_RUN, effect, provided
from tdb_tui.edits.stack import Worth, changed, moved, wanted, worths
from tdb_tui.edits.which import NUMBERED, edit_of
from tdb_tui.errors import CommandError
from tdb_tui.files.edit_files import read_stack, stack_text
from tdb_tui.files.output import write_whole
from tdb_tui.formats import signed
from tdb_tui.language.arguments import at_most, file_path, integer
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.replies import Reply, columns, note
from tdb_tui.session import Session
from tdb_tui.state import LONGEST_NAME, Edit, Inputs

TURNS = ("save", "load")


@command(
    "edits",
    "stack",
    usage="[save FILE|load FILE [--add]]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    options={"add": False},
    complete=("stack", "file"),
    examples=("edits", "edits save mine.edits.json ;; edits load mine.edits.json"),
)
def edits(session: Session, call: Call) -> Reply:
    """The edits in order, with what each is worth; or the stack as a file.

    marginal   the metric with all edits minus the metric without this one
    after      the metric once this one and those above it are made

    Marginal effects need not add up: edits that work through each other share theirs.  `edits save FILE` writes the
    stack as JSON; `edits load FILE` puts it in the place of the edits there are (--add: below them), in one step
    that undo takes back.
    """
    if not call.args:
        if call.has("add"):
            raise CommandError("--add is for edits load: edits load FILE --add", code="bad-argument")
        return _listed(session)
    word = call.args[0]
    if word.text not in TURNS:
        raise CommandError(
            f"unexpected {word.text!r}: edits, edits save FILE, edits load FILE", "bad-argument", col=word.col
        )
    if len(call.args) < 2:
        example = f"edits {word.text} mine.json"
        raise CommandError(f"edits {word.text} which file: {example}", "missing-argument", col=word.col)
    at_most(call, 2)
    path = file_path(call.args[1])
    return _saved(session, path) if word.text == "save" else _loaded(session, path, call)


@command(
    "name",
    usage="iN [TEXT]",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("edit",),
    examples=("ablate L1H3 ;; name i3 the name mover", "name i1"),
)
def name(session: Session, call: Call) -> Reply:
    """Give an edit a name, which the stack shows and other commands take for it; without a text, take it away."""
    edit = edit_named(session, call, "name which edit: name i1 the name mover")
    text = call.rest(1).text.strip()
    if len(text) > LONGEST_NAME or not text.isprintable():
        message = f"a name has at most {LONGEST_NAME} characters, none of them invisible"
        raise CommandError(message, "bad-name", col=call.rest(1).col)
    if NUMBERED.fullmatch(text):
        message = f"{text} would be taken for a number: choose another name"
        raise CommandError(message, "bad-name", col=call.rest(1).col)
    inputs = session.decided.inputs
    new = changed(inputs.edits, edit, replace(edit, name=text))
    session.change(replace(inputs, edits=new), call.text)
    said = f"i{edit.number} is called {text!r}" if text else f"i{edit.number} has no name"
    return note(said, id=f"i{edit.number}", name=text)


@command(
    "move",
    usage="iN PLACE|up|down",
    group="changing",
    repeat=Repeat.NOTHING,
    stale=Stale.TOLD,
    complete=("edit", "turn"),
    examples=("ablate L1H3 ;; move i2 1", "move i1 down"),
)
def move(session: Session, call: Call) -> Reply:
    """Put an edit at another place of the stack, 1 being the first to be made.

    The order matters only where edits change the same thing, and is said to where the metric is another.
    """
    edit = edit_named(session, call, "move which edit: move i2 1, move i2 up")
    at_most(call, 2)
    inputs, before = session.decided.inputs, session.snapshot.value
    old = inputs.edits
    place = _place(old, edit, call)
    after = session.change(replace(inputs, edits=moved(old, edit, place)), call.text).value
    where = f"i{edit.number} is number {place + 1} of {len(old)}"
    if before is None or after is None:
        said = f"{where}   {effect(before, after)}"
    elif after == before:
        said = f"{where}   metric {signed(after)}, as before: the order does not matter here"
    else:
        said = f"{where}   metric {signed(before)} -> {signed(after)}: the order matters"
    return note(said, id=f"i{edit.number}", place=place + 1, before=before, after=after)


def edit_named(session: Session, call: Call, missing: str) -> Edit:
    """The edit that a command's first word names.  Raises CommandError."""
    if not call.args:
        raise CommandError(missing, code="missing-argument")
    return edit_of(session.decided, call.args[0])


def measured(session: Session, inputs: Inputs) -> tuple[Worth, ...]:
    """What each edit of a stack is worth, run by run from the first layer that differs."""
    engine, needed = session.engine, list(dict.fromkeys(wanted(inputs)))
    try:
        for done, each in enumerate(needed):
            engine.progress = f"{done}/{len(needed)}"
            engine.value(each)
    finally:
        engine.progress = ""
    return worths(inputs, engine.value)


def _place(old: Sequence[Edit], edit: Edit, call: Call) -> int:
    """Where an edit is to stand, from 0.  Raises CommandError."""
    now = next(at for at, each in enumerate(old) if each is edit)
    if len(call.args) < 2:
        raise CommandError(
            f"move i{edit.number} where: move i{edit.number} 1, up or down", code="missing-argument"
        )
    word = call.args[1]
    if word.text in ("up", "down"):
        place = now + (-1 if word.text == "up" else 1)
        if not 0 <= place < len(old):
            end = "first" if place < 0 else "last"
            raise CommandError(f"i{edit.number} is the {end} already", "bad-argument", col=word.col)
        return place
    place = integer(word, "a place (1 is the first), up or down", least=1)
    if place > len(old):
        raise CommandError(f"no place {place}: the stack has {len(old)}", "bad-argument", col=word.col)
    return place - 1


def _listed(session: Session) -> Reply:
    inputs, base = session.decided.inputs, session.snapshot.base.value
    waits = session.snapshot.waiting is not None
    found = worths(inputs, session.engine.known_value) if waits else measured(session, inputs)
    rows: list[dict[str, Any]] = [
        {
            "id": f"i{edit.number}",
            "name": edit.name,
            "enabled": edit.enabled,
            "command": edit.text,
            "marginal": worth.marginal,
            "cumulative": worth.cumulative,
        }
        for edit, worth in zip(inputs.edits, found, strict=True)
    ]
    result = {"base": base, "value": session.snapshot.value, "rows": rows}
    if not rows:
        return Reply((f"No edits   metric {signed(base)}",), result)
    return Reply((*_table(rows, base), *([NOT_RUN] if waits else [])), result)


def _table(rows: Sequence[dict[str, Any]], base: float) -> tuple[str, ...]:
    named = any(row["name"] for row in rows)
    cells = [["", "", "marginal", "after", *(["name"] if named else []), "command"]]
    cells.append(["", "", "", signed(base), *([""] if named else []), "(no edit)"])
    for row in rows:
        marginal, after = ("" if row[key] is None else signed(row[key]) for key in ("marginal", "cumulative"))
        on = "*" if row["enabled"] else "-"
        cells.append([row["id"], on, marginal, after, *([row["name"]] if named else []), row["command"]])
    return columns(cells, "--rr")


def _saved(session: Session, path: Path) -> Reply:
    write_whole(path, stack_text(session))
    count = len(session.decided.inputs.edits)
    return replace(note(f"wrote {_many(count)} to {path}", file=str(path), edits=count), script="")


def _loaded(session: Session, path: Path, call: Call) -> Reply:
    state, before = session.decided, session.snapshot.value
    planned = session.snapshot.planned
    found = read_stack(planned, path)
    kept = state.inputs.edits if call.has("add") else ()
    inputs = provided(planned, tuple(change for edit in found for change in edit.changes))
    inputs = replace(inputs, edits=(*kept, *found))
    after = session.change(inputs, call.text, replace(state, next_edit=state.next_edit + len(found))).value
    said = f"loaded {_many(len(found))} from {path}   {effect(before, after)}"
    return note(said, file=str(path), edits=len(found), value=after)


def _many(count: int) -> str:
    return f"{count} edit{'s' * (count != 1)}"
