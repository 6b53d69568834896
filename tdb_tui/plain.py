"""The same debugger a line at a time, as pdb is: nothing is drawn, so a dumb terminal, a pipe or a reader will do."""

import sys
from collections.abc import Iterable

from model.printable import printable
from tdb_tui import __version__
from tdb_tui.batch import interruptible, mark_below
from tdb_tui.commands import Done, execute, registry
from tdb_tui.commands.python import ask_python
from tdb_tui.errors import CommandError, Unconfirmed
from tdb_tui.files.output import as_text
from tdb_tui.files.sourcing import Block, ScriptLine
from tdb_tui.language.completion import complete
from tdb_tui.report import report
from tdb_tui.session import Session
from tdb_tui.turns import repetition
from tdb_tui.views.candidates import candidates

PROMPT, IN_BLOCK = "(tdb) ", "(com) "


class Plain:
    """Reads lines from standard input and answers on standard output until `q` or the end of the input."""

    def __init__(self, session: Session, at_terminal: bool) -> None:
        self.session = session
        self._at_terminal = at_terminal
        "Whether a person types; else lines are echoed, so that what is printed reads as a session."
        session.at_terminal = at_terminal
        self.code = 0
        "What a `q` said to leave with."
        self._last: Done | None = None
        self._last_line = ""
        self._found: list[str] = []
        "What Tab offers, for the library asks for one after the other."

    def run(self, script: Iterable[ScriptLine]) -> int:
        """Carry out a script, then what is typed; the exit code."""
        for line in script:
            print(f"{PROMPT}{printable(line.text)}")
            if self._carry_out(line.text):
                return self.code
        if self._at_terminal:
            self._edit_lines()
        while (line := self._read(PROMPT)) is not None:
            block = Block.begun(line)
            text = line.strip() if block is None else self._rest(block)
            if text is None:
                break
            if self._carry_out(text) and self._may_leave():
                return self.code
        return 0

    def _read(self, prompt: str) -> str | None:
        """A line, None at the end of the input; Ctrl-C begins another."""
        while True:
            try:
                line = input(prompt)
            except EOFError:
                print()
                if self._may_leave():
                    return None
            except KeyboardInterrupt:
                print("^C  (q quits)")
            else:
                if not self._at_terminal:
                    print(printable(line), flush=True)
                return line

    def _rest(self, block: Block) -> str | None:
        """The lines after `commands 1`, up to its `end`."""
        while (line := self._read(IN_BLOCK)) is not None:
            if block.ends(line):
                return block.text
        return None

    def _carry_out(self, line: str) -> bool:
        """Answer a line, an empty one by what it repeats; whether it asks to leave."""
        if not line:
            again = repetition(self._last, self._last_line)
            if again is None:
                if self._last is not None:
                    print(f"*** nothing to repeat after {self._last.cmd.split()[0]!r}")
                return False
            line = again
        self.session.engine.interrupt.clear()
        with interruptible(self.session):
            for done in execute(self.session, line):
                self._last, self._last_line = done, line
                if done.error is not None:
                    if done.error.col is not None and "\n" not in line:
                        print(mark_below(PROMPT + line, len(PROMPT) + done.error.col))
                    print(f"*** {printable(str(done.error))}", flush=True)
                    self._confirm(done.error)
                elif done.reply is not None:
                    if text := as_text(done.reply):
                        print(text, flush=True)
                    for row in done.lesson:
                        print(printable(row), flush=True)
                    if done.reply.opens_python:
                        ask_python(self.session)
                    if done.reply.quits:
                        self.code = done.reply.code
                        return True
        return False

    def _confirm(self, error: CommandError) -> None:
        """Ask what a command wants to be asked; a yes carries out what it stands for."""
        if isinstance(error, Unconfirmed) and self._at_terminal and self._yes(f"{error.question} y/n "):
            self._carry_out(error.then)

    def _may_leave(self) -> bool:
        """Whether nothing would be lost, or a yes; without a person to ask, yes."""
        if self.session.saved or not self._at_terminal:
            return True
        return self._yes("leave without saving? (save FILE keeps the session) y/n ", otherwise=True)

    def _yes(self, question: str, otherwise: bool = False) -> bool:
        """Whether a person says yes; `otherwise` where there is no answer."""
        try:
            return input(question).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            print()
            return otherwise

    def _edit_lines(self) -> None:
        """The keys of readline, with completion of what is being typed."""
        try:
            import readline
        except ImportError:  # not built everywhere; lines can then be typed, not edited
            return
        readline.set_completer_delims("")
        readline.set_completer(self._completion)
        readline.parse_and_bind("tab: complete")

    def _completion(self, text: str, at: int) -> str | None:
        if at == 0:
            snapshot = self.session.snapshot
            found = complete(
                text, len(text), registry, lambda kind, prefix: candidates(snapshot, kind, prefix)
            )
            self._found = [text[: found.start] + each for each in found.candidates]
        return self._found[at] if at < len(self._found) else None


def run_plain(session: Session, notes: Iterable[str], script: Iterable[ScriptLine]) -> int:
    """Say where the pass stands, then answer line by line; the exit code."""
    for note in notes:
        print(f"note: {printable(note)}")
    print(
        "\n".join([f"tdb-tui {__version__}: h lists commands, q quits", *report(session.snapshot)[:2]]),
        flush=True,
    )
    return Plain(session, sys.stdin.isatty()).run(script)
