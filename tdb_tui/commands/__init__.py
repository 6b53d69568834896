"""Text -> command -> reply: the one path that keys, typed lines, scripts, JSON and tests take."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.printable import printable
from tdb_tui.commands import (
    ablating,
    aligning,
    asserting,
    attending,
    changing,
    checkpointing,
    circuits,
    comparing,
    describing,
    differing,
    drafting,
    edging,
    estimating,
    exampling,
    explaining,
    feeding,
    finding,
    flipping,
    folding,
    freezing,
    generating,
    heads,
    helping,
    inspecting,
    keeping,
    latents,
    looking,
    marking,
    naming,
    noting,
    over,
    patching,
    paths,
    predicting,
    prompting,
    python,
    ranking,
    repairing,
    roles,
    running,
    setting,
    short_ranks,
    stacking,
    steering,
    stops,
    strips,
    sweeping,
    switching,
    targeting,
    tokens,
    tracing,
    tutoring,
    verifying,
)
from tdb_tui.commands.table import registry
from tdb_tui.errors import CommandError, ComputeFailed, Interrupted
from tdb_tui.files.output import result_json, write_reply
from tdb_tui.language.arguments import file_path
from tdb_tui.language.expansion import unaliased
from tdb_tui.language.parsing import Call, Word, parse_line
from tdb_tui.lesson import followed
from tdb_tui.machine.devices import ComputeError, compute_errors
from tdb_tui.names import answered, spelled_out
from tdb_tui.replies import Reply
from tdb_tui.session import Session
from tdb_tui.waiting import marked, refuse_stale

MODULES = (
    running,
    stops,
    switching,
    asserting,
    inspecting,
    describing,
    looking,
    predicting,
    generating,
    tokens,
    heads,
    ranking,
    short_ranks,
    comparing,
    differing,
    strips,
    tracing,
    circuits,
    folding,
    attending,
    flipping,
    feeding,
    finding,
    estimating,
    exampling,
    explaining,
    repairing,
    roles,
    verifying,
    prompting,
    over,
    marking,
    ablating,
    patching,
    freezing,
    steering,
    aligning,
    changing,
    edging,
    paths,
    stacking,
    checkpointing,
    sweeping,
    targeting,
    setting,
    latents,
    drafting,
    noting,
    naming,
    keeping,
    python,
    helping,
    tutoring,
)
"Imported for the commands they add."

JOURNALED = ("quit", "save", "keep", "load", "source", "export", "help", "apropos", "history", "info", "show")
"Commands that are no part of the session as a script, when saved."

_HARMLESS = re.compile("[ -~→⊢↵⇥·ΔΣ█▒–]*")
"Most lines: told at a glance, where `printable` looks at every character."

INTERRUPTED = "interrupted"
"The code of the error."


@dataclass(frozen=True, slots=True)
class Done:
    """One executed command and what came of it."""

    cmd: str
    reply: Reply | None
    error: CommandError | None
    ms: float
    interrupted: bool = False
    name: str = ""
    "The command's own, however it was called."
    lesson: tuple[str, ...] = ()
    "The next page of the lesson, where the line has led to it."

    @property
    def ok(self) -> bool:
        return self.reply is not None


def execute(session: Session, line: str) -> list[Done]:
    """Carry out a line's commands in order, up to the first that fails.  A failed one leaves the session as it was."""
    session.engine.interrupt.clear()
    if session.journal is None or not line.strip():
        return _taught(session, line)
    return session.journal.carried_out(session, line, _taught)


def _taught(session: Session, line: str) -> list[Done]:
    """`carry_out`, and the next page of the lesson where one is being read."""
    done = carry_out(session, line)
    if session.state.lesson is not None and done and done[-1].reply is not None:
        page = followed(session, [each.name for each in done], done[-1].reply.result)
        done[-1] = replace(done[-1], lesson=page)
    return done


def carry_out(session: Session, line: str) -> list[Done]:
    """`execute` for a line that belongs to a longer whole: an interrupt that has come already still holds."""
    if line.strip():
        session.history.append(line.strip())
    done: list[Done] = []
    try:
        for call in calls_of(session, line):
            done.append(execute_call(session, call))
            if not done[-1].ok:
                break
    except CommandError as error:
        error.message = printable(error.message)
        done.append(Done(line.strip(), None, error, 0.0))
    return done


def calls_of(session: Session, line: str) -> Iterator[Call]:
    """The commands of a line one after the other, aliases as they are by then.  Raises CommandError."""
    for call in parse_line(line, registry.takes_value):
        yield from unaliased(call, session.state.aliases, registry.takes_value)


def execute_call(session: Session, call: Call) -> Done:
    """Carry out one command.  Only a defect of ours raises."""
    began = time.perf_counter()
    reply, error, interrupted, name = None, None, False, ""
    before, typed = session.savepoint(), call.text
    try:
        if session.engine.interrupt.is_set():
            raise Interrupted
        command = registry.resolve(call)
        name = command.name
        call = spelled_out(session, command, call, registry.takes_value)
        refuse_stale(session, command, call)
        with compute_errors():
            reply = marked(session, command, _safe(command.act(session, call)))
        answered(session, reply.result)
        for option in call.options:
            if option.name == "out":
                write_reply(reply, file_path(Word(option.value or "", option.col)))
        if call.has("json"):
            reply = replace(reply, lines=(result_json(reply),))
        if command.name not in JOURNALED and reply.script != "":
            session.done.append(reply.script or call.text)
    except CommandError as failed:
        error, interrupted = failed, failed.code == INTERRUPTED
        error.message = printable(error.message)
        col = _col(call, error) if error.col is None else error.col
        error.col = None if col is None else call.typed(col)
    except Interrupted:
        error, interrupted = CommandError("interrupted: nothing was changed", code=INTERRUPTED), True
    except ComputeError as failed:
        error = ComputeFailed(f"rerun failed: {failed}; previous result kept", code="compute")
    if error is not None:
        reply = None
        if not error.partial:
            session.back_to(before)
    return Done(typed, reply, error, (time.perf_counter() - began) * 1000, interrupted, name)


def _col(call: Call, error: CommandError) -> int | None:
    """Where the word stands that a complaint names, None where it names none, or complains of what is not there."""
    if error.code in ("missing-argument", "assertion"):
        return None
    words = [word for word in call.args if re.search(r"[^\W\d]", word.text)]
    for quote in ("'", ""):
        for word in words:
            if re.search(rf"(?<!\w){quote}{re.escape(word.text)}{quote}(?!\w)", error.message):
                return word.col
    return None


def _safe(reply: Reply) -> Reply:
    """The reply without control characters, which prompts, files and scripts may hold."""
    lines, warnings = (tuple(map(_safe_text, texts)) for texts in (reply.lines, reply.warnings))
    return replace(reply, lines=lines, warnings=warnings)


def _safe_text(text: str) -> str:
    return text if _HARMLESS.fullmatch(text) else printable(text)


__all__ = ["ComputeFailed", "Done", "carry_out", "execute", "execute_call", "registry"]
