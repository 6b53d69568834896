"""Edits that wait to be run (`set autorun off`): what is answered meanwhile is of the run before them, and says so."""

from dataclasses import replace

from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply
from tdb_tui.session import Session

STALE = "stale"
"The word for it: in the title, in answers, in their JSON, and the code of the error."

NOTE = "stale: this is of the run before the edits were changed (run makes it new)"

OF_NO_RUN = frozenset(
    {
        *("help", "apropos", "history", "echo", "tutor", "quit", "save", "note", "alias", "unalias"),
        *(
            "mark",
            "view",
            "break",
            "tbreak",
            "watch",
            "clear",
            "condition",
            "ignore",
            "commands",
            "undisplay",
        ),
        *("show", "examples", "explain", "find"),
    }
)
"Commands whose answers have no number of a run."

OF_EDITS = frozenset(
    {
        *("ablate", "patch", "freeze", "steer", "edge", "undo", "redo", "reset", "delete", "restore"),
        *("edits", "name", "move", "toggle", "enable", "disable"),
    }
)
"Those that say by themselves what has not been run yet."

REFUSED = frozenset({"assert", "checkpoint", "export", "keep"})
"Those whose answer is acted on, or lasts, without its mark."


def refuse_stale(session: Session, name: str, call: Call) -> None:
    """Raises CommandError for a command that would judge by the run before, or write it down."""
    if session.snapshot.waiting is None or name in OF_NO_RUN | OF_EDITS:
        return
    if name in REFUSED or call.has("out"):
        what = f"{name} --out" if call.has("out") else name
        raise CommandError(f"edits wait to be run, {what} would be of the run before them: run first", STALE)


def marked(session: Session, name: str, reply: Reply) -> Reply:
    """The answer, marked where it is of a run that edits have left behind."""
    if session.snapshot.waiting is None or name in OF_NO_RUN | OF_EDITS:
        return reply
    return replace(reply, warnings=(NOTE, *reply.warnings), result={**reply.result, STALE: True})
