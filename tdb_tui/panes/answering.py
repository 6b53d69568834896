"""The engine's side of the application: jobs go to its thread one after the other, and answers onto the screen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tdb_tui.errors import CommandError, Unconfirmed
from tdb_tui.palette import ERROR, WARNING
from tdb_tui.panes.application import Application
from tdb_tui.panes.title import BETWEEN
from tdb_tui.worker import Job

if TYPE_CHECKING:
    from tdb_tui.commands import Done
    from tdb_tui.explaining.background import Told
    from tdb_tui.turns import Turn
    from tdb_tui.views.data import Look

PROGRESS_SECONDS = 0.3


class Answering(Application, inherit_bindings=False):
    def on_mount(self) -> None:
        self._clock = self.set_interval(PROGRESS_SECONDS, self._progress, pause=True)
        self.call_after_refresh(self.run_worker, self._serve(), group="engine")

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
        if turn.other_head:
            self._head = None
        if turn.look is not None:
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

    def action_cancel(self) -> None:
        """Stop what runs and forget what waits; else clear what is typed."""
        if self.worker.cancel() or self.worker.drop():
            return
        if self.main.line.value:
            self.main.line.clear()
        else:
            self.main.show_hints("nothing is running: q quits")


def _taken(ms: float) -> str:
    """`41 ms`, `12.3 s`."""
    return f"{ms:.0f} ms" if ms < 9999.5 else f"{ms / 1000:.1f} s"
