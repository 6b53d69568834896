"""Commands without a screen: the same session, answered on standard output."""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.cells import cell_len

from model.printable import printable
from tdb_tui.commands import Done, execute
from tdb_tui.errors import CommandError
from tdb_tui.exits import INTERRUPTED
from tdb_tui.files.output import as_json, as_text
from tdb_tui.files.sourcing import ScriptLine
from tdb_tui.lesson import STEPS
from tdb_tui.lesson import line as lesson_line
from tdb_tui.session import Session


def run_batch(session: Session, script: Iterable[ScriptLine], json: bool, keep_going: bool) -> int:
    """Carry out a script up to its first failing command (all of it with `keep_going`); the exit code.

    Text or JSON lines go to standard output, complaints to standard error.
    """
    code = number = 0
    with interruptible(session):
        for line in script:
            for done in execute(session, line.text):
                number += 1
                _print(done, number, line, json)
                if done.error is not None:
                    code = code or (INTERRUPTED if done.interrupted else done.error.exit_code)
                if done.reply is not None and done.reply.quits:
                    return code or done.reply.code
            if code == INTERRUPTED or (code and not keep_going):
                return code
            if session.engine.interrupt.is_set():  # during a command that had nothing to stop
                complain("interrupted", line.where)
                return INTERRUPTED
    return code


def play_lesson(session: Session) -> int:
    """Carry out what each step of the lesson asks for; 1 where one does not do what it should."""
    with interruptible(session):
        for number in range(len(STEPS) + 1):
            line = "tutor restart" if number == 0 else lesson_line(session)
            for done in execute(session, line):
                _print(done, number, ScriptLine(line, ""), json=False)
                if done.error is not None:
                    return INTERRUPTED if done.interrupted else done.error.exit_code
            if session.state.lesson is None or session.state.lesson.step != number:
                complain(f"step {number} of the lesson: {line} does not do it")
                return 1
    return 0


def complain(error: CommandError | str, where: str = "", mark: str = "***") -> None:
    """One sentence on standard error."""
    said = f"{where}: {mark} {error}" if where else f"{mark} {error}"
    print(printable(said), file=sys.stderr)


def caret(line: str, error: CommandError) -> tuple[str, ...]:
    """The line and a mark below its bad word, where that is known."""
    if error.col is None or "\n" in line:
        return ()
    return f"    {printable(line)}", f"    {mark_below(line, error.col)}"


def mark_below(line: str, col: int) -> str:
    """A mark to stand below a column of a line."""
    return f"{' ' * cell_len(printable(line[:col]))}^"


@contextmanager
def interruptible(session: Session) -> Iterator[None]:
    """Ctrl-C stops the command under way and leaves the session as it was before it; twice, the program."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if session.engine.interrupt.is_set():
            raise KeyboardInterrupt
        session.engine.interrupt.set()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _print(done: Done, number: int, line: ScriptLine, json: bool) -> None:
    if json:
        print(as_json(number, done.cmd, done.ms, done.reply, done.error), flush=True)
    elif done.reply is not None:
        text = as_text(done.reply)
        print(f"(tdb) {printable(done.cmd)}" + (f"\n{text}" if text else ""), flush=True)
        for row in done.lesson:
            print(printable(row), flush=True)
    if done.error is not None:
        if not json:
            for row in caret(line.text, done.error):
                print(row, file=sys.stderr)
        complain(done.error, line.where)
