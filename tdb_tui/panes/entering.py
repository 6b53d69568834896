"""The command line's side of the application: what becomes of a line that is typed, and what is offered for it."""

from typing import TYPE_CHECKING

from tdb_tui.files.sourcing import Block
from tdb_tui.guidance import LINE_HINTS
from tdb_tui.panes.answering import Answering

if TYPE_CHECKING:
    from tdb_tui.language.completion import Completion


class Entering(Answering, inherit_bindings=False):
    _block: Block | None = None
    "What is being typed line by line."

    def entered(self, line: str) -> None:
        if line:
            self._remember(line)
        if self._collected(line):
            return
        self._line_done()
        if not line:
            self.action_repeat()
        elif line.startswith("/"):
            self.main.look_for(line[1:])
        elif line.startswith("&"):
            self.main.keep_rows(line[1:])
        else:
            self.submit(line, typed=True)

    def _line_done(self) -> None:
        if not self.main.line_keeps:
            self.main.leave_line()

    def _remember(self, line: str) -> None:
        """Keep a line for later sessions, as long as that can be done."""
        try:
            self._typed(line)
        except OSError as error:
            self._typed = lambda line: None
            self.complain(f"lines are not kept for later: {(error.strerror or str(error)).lower()}")

    def _collected(self, line: str) -> bool:
        """Whether a line belongs to a block, `commands 1` to `end`, whose next one is then asked for."""
        block, begun = self._block, Block.begun(line)
        if block is None and begun is None:
            return False
        if block is None:
            self._block = begun
        elif block.ends(line):
            self._end_block()
            self._line_done()
            self.submit(block.text, typed=True)
            return True
        self.main.prompt.show("(com) ")
        self.main.hints.show(self._line_hints)
        return True

    @property
    def _line_hints(self) -> tuple[tuple[str, str], ...]:
        return LINE_HINTS if self._block is None else (("end", "ends the list"), *LINE_HINTS)

    def _end_block(self) -> None:
        self._block = None
        self.main.prompt.show("(tdb) ")

    def left(self) -> None:
        self._end_block()
        self.main.leave_line()

    def cancelled(self) -> None:
        self.action_cancel()

    def end_of_file(self) -> None:
        self.main.leave_line()
        self.action_quit_asking()

    def offered(self, found: "Completion | None") -> None:
        message = ""
        if found is not None and self.session is not None:
            from tdb_tui.views.candidates import described

            message = "Tab: " + "  ".join(described(self.session.snapshot, found))
        self.main.hints.show(self._line_hints, message)

    def searching(self, words: str | None, found: bool) -> None:
        where = "" if found else " (no line has that)"
        message = f"search: {words}{where}  ^R older  ⏎ run  Esc back"
        self.main.hints.show(self._line_hints, "" if words is None else message)

    def completion(self, text: str, cursor: int) -> "Completion":
        from tdb_tui.language.completion import Completion, complete

        if self.session is None:
            return Completion(cursor)
        from tdb_tui.commands import registry
        from tdb_tui.views.candidates import candidates

        snapshot = self.session.snapshot
        return complete(text, cursor, registry, lambda kind, prefix: candidates(snapshot, kind, prefix))

    def action_repeat(self) -> None:
        """What an empty line does."""
        if self._last is None:
            return
        from tdb_tui.turns import repetition

        again = repetition(self._last, self._last_line)
        if again is None:
            self.complain(f"nothing to repeat after {self._last.cmd.split()[0]!r}")
        else:
            self.submit(again)
