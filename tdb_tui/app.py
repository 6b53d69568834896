"""The terminal application: one screen, one engine thread, and lines of text between them."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import BindingType
from textual.events import Event, Key, Paste
from textual.theme import BUILTIN_THEMES, Theme

from model.components import Component
from model.printable import printable
from tdb_tui.errors import CommandError, Unconfirmed, did_you_mean
from tdb_tui.files.sourcing import Block
from tdb_tui.keymap import Keymap
from tdb_tui.keys import LINE_HINTS
from tdb_tui.palette import ERROR, WARNING
from tdb_tui.panes.diary import Diary
from tdb_tui.panes.drawing import FULL, NONE, SIXTEEN, Drawing
from tdb_tui.panes.pane import Painted
from tdb_tui.panes.screen import MainScreen
from tdb_tui.panes.terminal import Manners, Terminal
from tdb_tui.panes.title import BETWEEN
from tdb_tui.theming import Colours
from tdb_tui.worker import Job, Worker

if TYPE_CHECKING:
    from tdb_tui.commands import Done
    from tdb_tui.explaining.background import Told
    from tdb_tui.language.completion import Completion
    from tdb_tui.panes.menu import Item
    from tdb_tui.session import Session
    from tdb_tui.turns import Turn
    from tdb_tui.views.data import Look

NOT_LOADED = 3
TERMINAL_THEME = "ansi-dark"
"The terminal's own colours: nothing is sent for what has none."
OWN_THEME = "own"

PROGRESS_SECONDS = 0.3

OF_A_PAGE = (["info"], ["find"], ["explain"], ["mark"], ["note"])
"Commands that a page stays laid open for."


def chosen_theme(name: str | None, behind: Mapping[str, str]) -> Theme:
    """The theme of that name, with other colours where some are given; the terminal's own where nothing is asked."""
    if os.environ.get("NO_COLOR"):
        return BUILTIN_THEMES[TERMINAL_THEME]
    if not behind:
        return BUILTIN_THEMES[name or TERMINAL_THEME]
    # The terminal's own colours cannot be told from each other, so that a theme with colours is what is changed.
    base = BUILTIN_THEMES["textual-dark" if name is None or name.startswith("ansi-") else name]
    return replace(base, name=OWN_THEME, **dict(behind))  # pyright: ignore[reportArgumentType]


def _taken(ms: float) -> str:
    """`41 ms`, `12.3 s`."""
    return f"{ms:.0f} ms" if ms < 9999.5 else f"{ms / 1000:.1f} s"


def unknown_theme(name: str | None) -> str:
    """What is wrong with a theme's name, one sentence; empty for one that there is."""
    if name is None or name in BUILTIN_THEMES:
        return ""
    guess = did_you_mean(name, list(BUILTIN_THEMES)) or f": {', '.join(sorted(BUILTIN_THEMES))}"
    return f"no theme {name!r}{guess}"


class TdbApp(App[int], inherit_bindings=False):
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False

    def __init__(
        self,
        start: "Callable[[], tuple[Session, list[str]]]",
        prompt: str,
        name: str,
        commands: Sequence[str] = (),
        history: Sequence[str] = (),
        ascii_only: bool = False,
        typed: Callable[[str], object] = lambda line: None,
        keymap: Keymap | None = None,
        theme: str | None = None,
        columns: int = 3,
        colours: Colours | None = None,
        manners: Manners | None = None,
    ) -> None:
        """`start` loads the model and runs the prompt; it is called on the engine thread, after the first frame.

        `name` says what is being loaded; `commands` are carried out first; `history` are lines typed earlier, and
        `typed` is called with each that is typed.
        """
        colours = colours or Colours()
        look = chosen_theme(theme, colours.behind)
        # Before the library's own __init__, which makes its colour filters from it.
        super().__init__(ansi_color=look.name.startswith("ansi-"))
        if look.name == OWN_THEME:
            self.register_theme(look)
        self.theme = look.name
        self.animation_level = "none"
        Painted.drawing = Drawing(ascii_only, self._colors(), self.current_theme.dark, colours.drawn)
        self.terminal = Terminal(self, manners or Manners())
        self._commands, self._typed = tuple(commands), typed
        opening, shown = f"loading {printable(name)} …", printable(prompt)
        self.main = MainScreen(opening, shown, list(history), self, keymap or Keymap())
        self.main.wishes = replace(self.main.wishes, columns=columns)
        self.worker = Worker(start)
        self.diary = Diary(self.main)
        self._head: Component | None = None
        "The head under the cursor of the ranked components, where that was moved last."
        self._last: Done | None = None
        self._last_line = ""
        self.failure: BaseException | None = None
        "The defect that has ended the program."
        self._block: Block | None = None
        "What is being typed line by line."

    def _colors(self) -> str:
        if os.environ.get("NO_COLOR"):
            return NONE
        return SIXTEEN if self.console.color_system in (None, "standard", "windows") else FULL

    @property
    def session(self) -> "Session | None":
        """None until it is open."""
        return self.worker.session

    def get_default_screen(self) -> MainScreen:
        return self.main

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _: self.main.refresh(layout=True))
        self._clock = self.set_interval(PROGRESS_SECONDS, self._progress, pause=True)
        for number in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._ended, 128 + number)
        self.call_after_refresh(self.run_worker, self._serve(), group="engine")

    # The engine's side: one job after the other.

    async def _serve(self) -> None:
        try:
            session, notes = await self.worker.open(self.main.stream, self._said, self._told, self._moved)
        except CommandError as error:
            self.exit(error.exit_code, error.exit_code, message=f"*** {error}")
            return
        self.main.log_pane.write(notes, WARNING)
        self.main.log_pane.show_from(0)
        self.diary.go_on(session)
        await self._carry_out(Job(None))  # shown before anything long begins
        for line in self._commands:
            self.worker.jobs.put_nowait(Job(line))
        while True:
            await self._carry_out(await self.worker.jobs.get())

    async def _carry_out(self, job: Job) -> None:
        from tdb_tui.turns import Seen

        if job.line is not None:
            self.main.log_pane.echo(" ;; ".join(job.line.splitlines()))
        self._clock.reset()
        self._clock.resume()
        seen = Seen(self._head, self.main.seen(), self.main.pointed(), self.main.selected(), self.main.typing)
        done = await self.worker.carry_out(job, seen)
        self._clock.pause()
        self.terminal.finished(self.worker.took)
        self._answer(job, done)
        if self.main.in_view("inspect") and done.look is not None and self.main.selected() != seen.node:
            self.wanted()  # the cursor has gone with what it follows
        self.main.status.show(self.worker.resting)
        self.main.wish(working=False)

    def _said(self, lines: Sequence[str]) -> None:
        """An answer as far as it has come."""
        if self.worker.running is not None:
            self.main.log_pane.say(lines)

    def _told(self, told: "Told") -> None:
        """What a language model has said of a component, while other things were done."""
        node, found = told.question.node, told.found
        self._moved()
        if found is None:
            self.complain(told.complaint)
            return
        score = "" if found.score is None else f"{found.score:.2f}  "
        self.main.log_pane.write([f"{node}  {score}{found.text}  ({found.model})"])
        self.main.log_pane.update()
        if self.main.page.view.node == node:
            self.submit(f"info {node}")
        else:
            self.wanted()

    def _moved(self) -> None:
        """A question to a language model has come further."""
        if self.worker.running is None:
            self.main.status.show(self.worker.resting)

    def _answer(self, job: Job, turn: "Turn") -> None:
        """Put a turn on the screen."""
        self.main.log_pane.say(())
        first = self.main.log_pane.count() - 1
        for done in turn.done:
            self.main.write(done)
            if done.lesson:
                first = self.main.log_pane.count()
                self.main.log_pane.write(done.lesson, WARNING)
        if turn.complaint:
            self.main.log_pane.write([f"*** {turn.complaint}"], ERROR)
        if turn.look is not None:
            if (
                turn.done
                and self.main.look is not None
                and turn.look.attention.head != self.main.look.attention.head
            ):
                self._head = None
            self.main.show(turn.look)
            self._follow(turn.look)
            if self.diary.take_up():
                self.looked(self.main.ranked.head())
        if turn.done:
            self.main.status.took = _taken(sum(done.ms for done in turn.done))
            self._last, self._last_line = turn.done[-1], job.line or ""
            self._after(job, turn.done[-1], first)
        if self.worker.jobs.empty():
            self.main.log_pane.update()
        self.diary.write_down(self._head is not None)

    def _follow(self, look: "Look") -> None:
        """What the session's settings say of the screen, and the window's title."""
        assert self.session is not None  # something is shown
        settings = self.session.state.settings
        self.terminal.follow(settings, self.main)
        self.terminal.name(f"tdb: {look.title.model} {look.title.value}{look.title.mark}")
        keeps = settings.get("mode") == "line"
        if keeps != self.main.line_keeps:
            self.main.line_keeps = keeps
            (self.main.open_line if keeps else self.main.leave_line)()

    def _after(self, job: Job, last: "Done", first: int) -> None:
        """What an answer does beyond being written: leave, show its pane, lay a long one open, mend the line."""
        if isinstance(last.error, Unconfirmed):
            then = last.error.then
            self.main.ask(last.error.question, lambda: self.submit(then))
            return
        if last.error is not None:
            self.main.close()
            if job.typed and job.line is not None and not last.interrupted and not self.main.line.value:
                self.main.open_line(" ;; ".join(job.line.splitlines()), last.error.col)
            return
        assert last.reply is not None  # it did not fail
        if last.reply.quits:
            self.action_quit_asking(last.reply.code)
        elif last.reply.opens_python:
            self._give_python()
        elif last.lesson:
            self.main.read_log(first)
        else:
            self.main.bring_answer(last.reply, first)

    def _give_python(self) -> None:
        """Python in the terminal, the screen put away: nothing else runs meanwhile."""
        from tdb_tui.commands.python import ask_python

        assert self.session is not None  # it answered
        with self.suspend(), self.batch_update():
            ask_python(self.session)
        self.main.refresh(layout=True)
        self.wanted()

    def _progress(self) -> None:
        if self.worker.running is not None:
            self.main.log_pane.update()
            self.main.wish(working=True)
            room = self.main.arranged(self.main.size).boxes.get("status", (0, 0, 0, 1))[2]
            self.main.status.show(self.worker.progress(room - len(BETWEEN) + 1))

    # The user's side.

    async def on_event(self, event: Event) -> None:
        """Keys are dealt with here and now, in the order pressed, unless the menu is open."""
        if not isinstance(event, Key | Paste) or event.is_forwarded or self.screen is not self.main:
            await super().on_event(event)
        elif isinstance(event, Key):
            await self.main.take(event)
            self.diary.write_down(self._head is not None)
        else:
            self.main.paste(event.text)

    def submit(self, line: str, typed: bool = False) -> None:
        """Carry out a line after those already waiting."""
        if not (self.main.wishes.zoom == "page" and line.split(maxsplit=1)[:1] in OF_A_PAGE):
            self.main.close()
        self.worker.jobs.put_nowait(Job(line, typed))

    def complain(self, sentence: str) -> None:
        self.main.log_pane.write([f"*** {sentence}"], ERROR)
        self.main.log_pane.update()

    def looked(self, head: Component | None) -> None:
        if head is not None and head != self._head:
            self._head = head
            self.worker.jobs.put_nowait(Job(None))

    def copy(self, text: str, said: str) -> None:
        from tdb_tui.machine.clipboard import copy

        where = copy(text, lambda asking: self._driver.write(asking) if self._driver else None)
        self.main.log_pane.write([f"copied {said}: {where}"])
        self.main.log_pane.update()

    def action_picture(self) -> None:
        """The screen as an SVG file, in the directory where the program was started."""
        from tdb_tui.files.output import write_whole

        name = next(name for n in count(1) if not (name := Path(f"tdb-tui-{n}.svg")).exists())
        try:
            write_whole(name, self.export_screenshot(title="tdb-tui"))
        except CommandError as error:
            self.complain(str(error))
        else:
            self.main.log_pane.write([f"the screen is in {name}"])
            self.main.log_pane.update()

    def wanted(self) -> None:
        self.worker.jobs.put_nowait(Job(None))

    # What the command line says.

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

    def action_cancel(self) -> None:
        """Stop what runs and forget what waits; else clear what is typed."""
        if self.worker.cancel() or self.worker.drop():
            return
        if self.main.line.value:
            self.main.line.clear()
        else:
            self.main.show_hints("nothing is running: q quits")

    def action_escape(self) -> None:
        if self.worker.running is not None and self.worker.running.line is not None:
            self.action_cancel()
        elif not self.main.close() and not self.main.unfilter():
            self.main.show_hints()
            if self.main.look is not None and self.main.look.marks:
                self.submit("mark --clear")

    def action_leave(self) -> None:
        if not self.main.close():
            self.action_quit_asking()

    def action_quit_asking(self, code: int = 0) -> None:
        """Leave; where that would lose something, only after a yes."""
        if self.session is not None and self.worker.busy:
            self.main.ask("leave while commands are running?", lambda: self.exit(code, code))
        elif self.session is not None and not self.session.saved:
            self.main.ask(
                "leave without saving? (save FILE keeps the session)", lambda: self.exit(code, code)
            )
        else:
            self.exit(code, code)

    def action_menu(self) -> None:
        from tdb_tui.panes.menu import Menu, command_items, key_items

        items = key_items(self.main.active, self.main.keymap)
        if self.session is not None:
            from tdb_tui.commands import registry

            items += command_items(registry)
        self.push_screen(Menu(items), self._chosen)

    def action_menu_of_pane(self) -> None:
        from tdb_tui.panes.menu import Menu, pane_items

        self.push_screen(Menu(pane_items(self.main.active, self.main.keymap)), self._chosen)

    async def _chosen(self, item: "Item | None") -> None:
        if item is None or not (item.command or item.key):
            return
        if item.command:
            self.main.open_line(f"{item.command} ")
        else:
            await self.main.act(self.main.keymap.by_key[item.key])

    def _ended(self, code: int) -> None:
        """The terminal has gone, or somebody ends the program: the journal has it all, so nothing is asked."""
        if code == 128 + signal.SIGHUP:
            self.terminal.hung_up()
        self.exit(code, code)

    def _handle_exception(self, error: Exception) -> None:
        """A defect of ours: leave, and let whoever started the screen say so."""
        self.failure = self.failure or getattr(error, "error", error)  # of a task, what it failed with
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """The library would print every local variable, the user's texts among them."""
        self._close_messages_no_wait()

    async def on_unmount(self) -> None:
        self.terminal.leave()
        self.worker.close()
