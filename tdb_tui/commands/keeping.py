"""Sessions, scripts and exports as files."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, Unconfirmed
from tdb_tui.files.loading import from_json, read_session
from tdb_tui.files.output import write_whole
from tdb_tui.files.saving import to_json
from tdb_tui.files.sourcing import ScriptLine, blocks, script_lines
from tdb_tui.language.arguments import at_most, file_path
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Repeat, Stale
from tdb_tui.machine.trust import is_trusted, trust
from tdb_tui.replies import Reply, note
from tdb_tui.session import Session

SESSION_FILE = "session.json"


@command(
    "save",
    usage="[FILE]",
    group="keeping",
    repeat=Repeat.NOTHING,
    stale=Stale.OF_NO_RUN,
    complete=("file",),
    examples=("save", "save ioi.json"),
)
def save(session: Session, call: Call) -> Reply:
    """Keep the session in a file: prompts, targets, edits, stops, displays, cursors, and which model they are for.

    It is JSON, and `load` takes it up; `export` writes scripts, pages and tables.
    """
    at_most(call, 1)
    path = file_path(call.args[0]) if call.args else Path(SESSION_FILE)
    _refuse_exports(path, call)
    write_whole(path, to_json(session) + "\n")
    session.keep()
    trust(path)  # it is the user's own
    return note(f"saved {path}", file=str(path))


def _refuse_exports(path: Path, call: Call) -> None:
    """Raises CommandError for a suffix that says that something else than a session is wanted."""
    from tdb_tui.files.exporting import EXPORTS  # the table must be whole before its answers can be exported

    if path.suffix in EXPORTS and path.suffix != ".json":
        message = f"save writes a session, which is .json: export {path} writes a {path.suffix}"
        raise CommandError(message, "bad-file", col=call.args[0].col)


@command(
    "load",
    usage="FILE [--force] [--trust]",
    group="keeping",
    repeat=Repeat.NOTHING,
    options={"force": False, "trust": False},
    complete=("file",),
    examples=("save ;; load session.json", "load ioi.json --force"),
)
def load(session: Session, call: Call) -> Reply:
    """Take up a saved session, its last sweep included.

    Another model than the one it was saved with is refused without --force.  A file that runs Python at its stops or by
    its aliases, and was not saved here, is taken up only once it is trusted.
    """
    if not call.args:
        raise CommandError("load which file: load session.json", code="missing-argument")
    path = file_path(call.args[0])
    data: dict[str, Any] = read_session(path)
    at_most(call, 1)
    _refuse_foreign(path, data, call)
    loaded = from_json(session, data, path, force=call.has("force"))
    session.sweep = loaded.sweep
    session.change(loaded.state.inputs, call.text, loaded.state, at_once=True)
    session.opening, session.done = loaded.script, []
    return note(f"loaded {path}   metric {session.snapshot.now.value:+.2f}", value=session.snapshot.now.value)


def _refuse_foreign(path: Path, data: dict[str, Any], call: Call) -> None:
    """Raises Unconfirmed for a file that may run Python and has not been agreed to; --trust agrees."""
    if call.has("trust"):
        trust(path)
    elif runs_python(data) and not is_trusted(path):
        question = f"{path} runs Python at its stops or by its aliases: trust it?"
        message = f"{path} runs Python and is not trusted: look at it, then load {path} --trust"
        raise Unconfirmed(message, question=question, then=f"{call.text} --trust")


def runs_python(data: Any) -> bool:
    """Whether a session's stops or aliases hold what may run Python."""
    stops, aliases = data.get("stops"), data.get("aliases")
    told = (
        [each.get("commands") for each in stops if isinstance(each, dict)] if isinstance(stops, list) else []
    )
    bodies = list(aliases.values()) if isinstance(aliases, dict) else []
    # a damaged file is read like any other: what it holds is text, and whether it fits is asked later
    return any(_PYTHON.search(str(text)) for text in (*told, *bodies))


_PYTHON = re.compile(r"!|\b(py|interact|source|load)\b")


@command(
    "source",
    usage="FILE [--echo]",
    group="keeping",
    repeat=Repeat.NOTHING,
    options={"echo": False},
    complete=("file",),
    examples=("source ioi.tdb", "export ioi.tdb ;; source ioi.tdb --echo"),
)
def source(session: Session, call: Call) -> Reply:
    """Run a file of commands, up to the first that fails; with --echo each stands above what it answers."""
    if not call.args:
        raise CommandError("source which file: source ioi.tdb", code="missing-argument")
    at_most(call, 1)
    path = file_path(call.args[0])
    if str(path) == "-":
        raise CommandError("source reads a file: -x - reads standard input", "bad-file", col=call.args[0].col)
    if path.resolve() in session.scripts:
        raise CommandError(f"{path} is running already: a script cannot run itself", code="bad-file")
    session.scripts.append(path.resolve())
    try:
        return _sourced(session, blocks(script_lines(path)), echo=call.has("echo"))
    finally:
        session.scripts.pop()


def _sourced(session: Session, script: Iterable[ScriptLine], echo: bool) -> Reply:
    """Carry out a script's lines; what they print, where `echo` each below its command."""
    from tdb_tui.commands import carry_out  # the table must be whole before a script can use it

    said: list[str] = []
    for line in script:
        for done in carry_out(session, line.text):
            said += [*([f"(tdb) {done.cmd}"] if echo else []), *(done.reply.said if done.reply else ())]
            if done.error is not None:
                stands = "interrupted: the lines before it stand"
                message = f"{line.where}: {stands if done.interrupted else done.error.message}"
                raise CommandError(message, done.error.code, done.error.hint, partial=True)
            if done.reply is not None and done.reply.quits:
                return Reply(tuple(said), quits=True, code=done.reply.code)
    return Reply(tuple(said), {"value": session.snapshot.now.value})


@command(
    "export",
    usage="FILE.(html|md|txt|tdb|py|json|jsonl|csv|svg|dot)",
    group="keeping",
    repeat=Repeat.NOTHING,
    stale=Stale.REFUSED,
    complete=("file",),
    examples=("export ioi.tdb", "export report.md"),
)
def export(session: Session, call: Call) -> Reply:
    """Write the session as a page (.html), a report (.txt, .md), a script (.tdb), or its ranked nodes (.json, .csv).

    A .html stands alone: prompt, trail, edits, tables, sweep, attention maps, circuit, notes, commands.  A .jsonl has
    the ranked nodes too; a .svg the last sweep, else the head's attention; a .dot the circuit, else the tree upstream.
    A .py is a Python script on the libraries alone: it loads the model, makes the edits one by one and prints the
    metric after each.
    """
    if not call.args:
        raise CommandError(
            "export to which file: export ioi.tdb, report.md, ranked.csv", code="missing-argument"
        )
    path = file_path(call.args[0])
    from tdb_tui.files.exporting import exported  # the table must be whole before its answers can be exported

    try:
        text = exported(session, path)
    except CommandError as error:
        error.col = call.args[0].col
        raise
    write_whole(path, text)
    return note(f"wrote {path}", file=str(path))
