"""The one screen, and what keys do on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.events import Key as KeyPressed
from textual.events import MouseDown

from tdb_tui.guidance import LINE_HINTS
from tdb_tui.keys import Key
from tdb_tui.panes.arrangement import VIEWS
from tdb_tui.panes.attention import Attention
from tdb_tui.panes.command_line import CommandLine
from tdb_tui.panes.log import EVERY, FIRST, LAST, Log
from tdb_tui.panes.moves import ORDER, Moves
from tdb_tui.panes.pane import Pane
from tdb_tui.panes.strips import Strips

if TYPE_CHECKING:
    from tdb_tui.commands import Done
    from tdb_tui.replies import Reply

FRAME = "frame"
"What a reply about another frame says: whichever of these is in view shows it."
OF_A_FRAME = ("rank", "tree", "strips")


MOST_ROWS = 1000
"Of a pane that are copied as a table."


class MainScreen(Moves, inherit_bindings=False):
    typing = ""
    "The text for the page's component that is being typed."
    question: Callable[[], object] | None = None
    "What a yes to the question in the hint bar does."
    line_keeps = False
    "Whether the command line keeps the keys after Enter."

    def _on_timer_update(self) -> None:
        """Draw, unless the terminal is behind: the next frame then has all that has changed until it is not.

        The library would queue thirty frames, and then hold the event loop, and the keys with it.
        """
        if not self.owner.terminal.behind:
            super()._on_timer_update()

    async def take(self, event: KeyPressed) -> None:
        """Do what a key does, here or in the command line, before the next one is looked at."""
        if self.focused is not None:
            self.line.take(event)
            self._try(self.line.value if self.focused is not None else "")
            return
        if self.question is not None:
            self._answered(yes=event.character in ("y", "Y"))
            return
        key = self.keymap.find(event.key, event.character)
        if key is not None:
            await self.act(key)
        elif event.is_printable and event.character is not None:
            self.open_line(event.character)

    def _try(self, line: str) -> None:
        """Show on the page what its component does on the text of `info NODE TEXT`, while that is typed."""
        words = line.split(maxsplit=2)
        here = self.wishes.zoom == "page" and words[:2] == ["info", self.page.view.node]
        text = words[2] if here and len(words) == 3 else ""
        if text != self.typing:
            self.typing = text
            self.owner.wanted()

    async def act(self, key: Key) -> None:
        """Do what a key stands for."""
        if key.opens is not None:
            self.with_fields(key.opens, self.open_line)
        elif key.command:
            self.with_fields(key.command, self.owner.submit)
        else:
            here = hasattr(self, f"action_{key.does.partition('(')[0]}")
            await self.app.run_action(key.does, self if here else self.app)

    def ask(self, question: str, then: Callable[[], object]) -> None:
        """Ask in the hint bar; `y` is yes, every other key no."""
        self.leave_line()
        self.question = then
        self.show_hints(f"{question} y/n")

    def _answered(self, yes: bool) -> None:
        then, self.question = self.question, None
        self.show_hints()
        if yes and then is not None:
            then()
        if self.line_keeps:
            self.open_line()

    def open_line(self, text: str = "", cursor: int | None = None) -> None:
        """Give the command line the keys; without text it keeps what it has."""
        if text:
            self.line.fill(text, cursor)
        self.set_focus(self.line, scroll_visible=False)
        self.hints.always = ()
        self.hints.show(LINE_HINTS)

    def leave_line(self) -> None:
        self.set_focus(None)
        self.show_hints()

    def paste(self, text: str) -> None:
        """Pasted text goes into the command line, whoever has the keys."""
        self.open_line()
        self.line.paste(text)

    # What has been answered.

    def write(self, done: "Done") -> None:
        """Put an answer in the log: what a pane shows is not said again there."""
        view = done.reply.view if done.reply is not None else None
        self.log_pane.answer(done, LAST if view in VIEWS else FIRST if view == FRAME else EVERY)

    def bring_answer(self, reply: "Reply", first: int) -> None:
        """Make the pane visible that shows an answer, or lay the log open where it has one that is long."""
        if reply.view == FRAME:
            if not any(map(self.in_view, OF_A_FRAME)):
                self.bring("rank")
        elif reply.view == "page":
            self.open_page()
        elif reply.view in VIEWS:
            self.bring(reply.view)
        elif len(reply.lines) > max(self.log_pane.rows_shown, 2):
            self.read_log(first)

    def action_copy(self) -> None:
        self.with_fields("{node}", lambda node: self.owner.copy(node, node))

    def action_copy_table(self) -> None:
        """The rows of the active pane, their columns parted by tabs."""
        pane = self.pane("log" if self.log_pane.reading else self.active)
        kept = pane.kept()
        rows = ["\t".join(pane.cells(at)) for at in kept[:MOST_ROWS]]
        more = f", the first of {len(kept):,}" if len(kept) > len(rows) else ""
        self.owner.copy("\n".join(rows) + "\n", f"{len(rows)} rows of pane {pane.number}{more}")

    def action_redraw(self) -> None:
        self.refresh(layout=True)

    def action_find(self) -> None:
        self.open_line("/")

    def action_filter(self) -> None:
        self.open_line("&")

    def on_mouse_down(self, event: MouseDown) -> None:
        widget, region = self.get_widget_at(int(event.screen_x), int(event.screen_y))
        if isinstance(widget, CommandLine):
            self.open_line()
        elif isinstance(widget, Pane) and widget.id in ORDER:
            self.leave_line()
            self.activate(widget.id)
            row = widget.top + int(event.screen_y) - region.y - 1 - widget.header_rows
            if not isinstance(widget, (Attention, Strips, Log)) and row >= widget.top:
                rows = widget.kept()
                if row < len(rows):
                    widget.move_to(rows[row])
                    self._moved(widget.id)
