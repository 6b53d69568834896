"""`tutor`: the lesson, step by step."""

from dataclasses import replace

from tdb_tui import lesson
from tdb_tui.commands.table import command
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.language.arguments import at_most, integer
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Stale
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.state import Lesson

ACTS = ("skip", "back", "hint", "stop", "restart")


@command(
    "tutor",
    usage="[skip|back|hint|stop|restart|STEP]",
    group="help",
    stale=Stale.OF_NO_RUN,
    complete=("lesson",),
    examples=("tutor", "tutor 3"),
)
def tutor(session: Session, call: Call) -> Reply:
    """A lesson that waits for you: an investigation of this prompt in steps, from the logits to a circuit.

    Each step names a command; any that does the same goes on to the next, keys too.  `tutor` begins, or goes on where
    it was left; `tutor skip` and `tutor back` turn pages, `tutor 3` goes to one, `tutor hint` helps, `tutor stop`
    leaves and `tutor restart` begins again.  `tdb-tui --tutor` starts with it.
    """
    at_most(call, 1)
    before = session.state.lesson or lesson.begin(session)
    if not call.args:
        return _go(session, replace(before, on=True))
    word = call.args[0]
    match word.text:
        case "skip":
            return _go(session, replace(before, on=True, step=min(before.step + 1, len(lesson.STEPS))))
        case "back":
            return _go(session, replace(before, on=True, step=max(before.step - 1, 0)))
        case "restart":
            return _go(session, lesson.begin(session))
        case "stop":
            session.go(replace(session.state, lesson=replace(before, on=False)))
            return Reply(
                (f"left at step {before.step + 1} of {len(lesson.STEPS)}: tutor goes on from there",)
            )
        case "hint":
            session.go(replace(session.state, lesson=before))
            return Reply((lesson.hint(session),))
        case _:
            return _go(session, replace(before, on=True, step=_step(word)))


def _go(session: Session, to: Lesson) -> Reply:
    session.go(replace(session.state, lesson=to))
    return Reply(
        lesson.page(session), {"step": to.step + 1, "of": len(lesson.STEPS), "try": lesson.line(session)}
    )


def _step(word: Word) -> int:
    if not word.text.isdecimal():
        right = did_you_mean(word.text, ACTS) or f": {', '.join(ACTS)}, or a step's number"
        raise CommandError(f"tutor has no {word.text!r}{right}", "bad-argument", col=word.col)
    step = integer(word, "a step", least=1)
    if step > len(lesson.STEPS):
        raise CommandError(
            f"no step {step}: the lesson has {len(lesson.STEPS)}", "bad-argument", col=word.col
        )
    return step - 1
