"""Going on where a journal ends: its lines are carried out again, except that no file is written twice."""

import math

from tdb_tui.commands import Done, execute
from tdb_tui.errors import CommandError
from tdb_tui.files.output import nothing_written
from tdb_tui.journal.records import SLOW_MS, Executed, Kept, Said
from tdb_tui.journal.whole import restore
from tdb_tui.replies import Reply
from tdb_tui.session import Session

TOLERANCE = 1e-4
"Relative; what two devices make of the same sum in float32."


def replay(session: Session, kept: Kept) -> list[str]:
    """Bring a fresh session to where a journal ends; what came out differently, in a sentence each.

    Files that were written then are not written again.  Lines that changed nothing are carried out too, for what `$_`
    and the caches hold, unless they were slow or failed.
    """
    notes: list[str] = []
    session.cells = kept.cells
    last_sweep = max((at for at, each in enumerate(kept.lines) if "sweep" in each.changed), default=-1)
    with nothing_written():
        for at, executed in enumerate(kept.lines):
            if executed.state is None and _for_nothing(executed, superseded=at < last_sweep):
                session.history.extend(executed.history)
                session.done.extend(executed.script)
            else:
                complaint = _again(session, executed)
                notes += [complaint] if complaint and not notes else []  # the first explains the others
    return notes


def answers(kept: Kept) -> list[tuple[str, list[Done]]]:
    """Each line and what it was answered, as it was shown then."""
    return [(each.line, [_done(said) for said in each.said]) for each in kept.lines]


def _done(said: Said) -> Done:
    reply = Reply(said.lines, {}, said.warnings, said.view) if said.error is None else None
    return Done(said.cmd, reply, None if said.error is None else CommandError(said.error), said.ms)


def _for_nothing(executed: Executed, superseded: bool) -> bool:
    """Whether carrying a line out again would change nothing that can be seen later."""
    if not executed.changed:
        return not executed.worked or executed.ms > SLOW_MS
    return executed.changed == {"sweep"} and superseded


def _again(session: Session, executed: Executed) -> str:
    """Carry a line out again, or put in the place of that what came of it; a complaint where it came out otherwise."""
    try:
        if executed.state is not None:
            session.history.extend(executed.history)
            restore(session, executed.state)
        else:
            session.pointed = executed.pointed
            execute(session, executed.line)
    except (CommandError, KeyError, TypeError, ValueError) as error:
        return f"{executed.line!r} could not be resumed: {error}"
    now = session.snapshot.now.value
    if executed.value is None or math.isclose(now, executed.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        return ""
    return f"after {executed.line!r} the metric is {now:+.6g}, it was {executed.value:+.6g}"
