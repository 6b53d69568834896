"""Edits that wait to be run (`set autorun off`): what is answered meanwhile is of the run before them, and says so."""

from dataclasses import replace

from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call
from tdb_tui.language.registry import Command, Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session

STALE = "stale"
"The word for it: in the title, in answers, in their JSON, and the code of the error."

NOTE = "stale: this is of the run before the edits were changed (run makes it new)"

UNMARKED = (Stale.TOLD, Stale.OF_NO_RUN)


def refuse_stale(session: Session, command: Command, call: Call) -> None:
    """Raises CommandError for a command that would judge by the run before, or write it down."""
    if session.snapshot.waiting is None or command.stale in UNMARKED:
        return
    if command.stale is Stale.REFUSED or call.has("out"):
        what = f"{command.name} --out" if call.has("out") else command.name
        raise CommandError(f"edits wait to be run, {what} would be of the run before them: run first", STALE)


def marked(session: Session, command: Command, reply: Reply) -> Reply:
    """The answer, marked where it is of a run that edits have left behind."""
    if session.snapshot.waiting is None or command.stale in UNMARKED:
        return reply
    return replace(reply, warnings=(NOTE, *reply.warnings), result={**reply.result, STALE: True})
