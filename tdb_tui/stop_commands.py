"""The commands of a stop: written down, checked, and carried out when it has stopped the pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tdb_tui.commands.table import registry
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import parse_line
from tdb_tui.session import Session
from tdb_tui.state import Stop

SILENT, END = "silent", "end"
RESUMING = ("next", "step", "return", "continue", "until", "jump", "rn", "rs", "rc")
"Commands that move the pass: what follows them in a list is not carried out."
ENDLESS = "endless"
DEEPEST = 20
"Stops whose commands lead to each other."


@dataclass(slots=True)
class Ran:
    """What a list's commands answered."""

    lines: list[str] = field(default_factory=list[str])
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    moved: dict[str, Any] | None = None
    "What the last movement among them answered."
    quits: bool = False


def checked(lines: Sequence[str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    """Commands one by one, `silent` first if it is there, one that moves the pass last.

    What an alias among them stands for is found out when it is carried out.

    Raises CommandError for what is no command and for what would never be carried out.
    """
    found: list[str] = []
    last = ""
    for call in (call for line in lines for call in parse_line(line, registry.takes_value)):
        word = call.name.text
        if last == END or (last and word != END):
            message = f"{call.text} is never carried out: {last} ends the list"
            raise CommandError(message, "bad-syntax", col=call.col)
        if word == END:
            last = END
            continue
        if word == SILENT:
            if found:
                raise CommandError(
                    "silent comes first: commands 1: silent ;; p ld", "bad-syntax", col=call.col
                )
        elif word in aliases:
            pass
        elif (name := registry.resolve(call).name) == "commands":
            raise CommandError("a stop's commands cannot give commands to stops", "bad-syntax", col=call.col)
        elif name in RESUMING:
            last = call.text
        found.append(call.text)
    return tuple(found)


def is_silent(held: Sequence[Stop]) -> bool:
    """Whether nothing is to be said about where the pass has been stopped."""
    return bool(held) and all(stop.commands[:1] == (SILENT,) for stop in held)


def carry_out(session: Session, held: Sequence[Stop]) -> Ran:
    """Carry out the commands of stops that hold the pass, up to one that moves it.

    They are no part of the session as a script: the movement is, and brings them with it.  Raises CommandError for
    the first that fails; what was done before stands.
    """
    ran = Ran()
    if session.depth >= DEEPEST:
        name = held[0].name if held else ""
        raise CommandError(f"the commands of {name} lead back to it without end: clear them", ENDLESS)
    session.depth += 1
    done = list(session.done)
    try:
        for stop in held:
            if _carried_out(session, stop, ran):
                break
    finally:
        session.depth -= 1
        session.done[:] = done
    return ran


def _carried_out(session: Session, stop: Stop, ran: Ran) -> bool:
    """One stop's commands; whether the last of them moved the pass, or ends the session."""
    from tdb_tui.commands import calls_of, execute_call  # the table must be whole before a stop can use it

    for line in stop.commands:
        for call in () if line == SILENT else calls_of(session, line):
            done = execute_call(session, call)
            if done.error is not None:
                if done.error.code == ENDLESS:
                    raise done.error
                stands = "interrupted: what was done before stands"
                message = f"{stop.name}: {stands if done.interrupted else done.error.message}"
                raise replace(done.error, message=message, col=None, partial=True)
            if done.reply is None:
                continue
            ran.lines += done.reply.said
            ran.results.append({"stop": stop.name, "cmd": done.cmd, "result": done.reply.result})
            moves = registry.resolve(call).name in RESUMING
            ran.moved = done.reply.result if moves else ran.moved
            ran.quits = done.reply.quits
            if moves or ran.quits:
                return True
    return False
