"""The engine thread: a session is opened on it, and lines are carried out on it one after the other."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdb_tui.explaining.background import Told
    from tdb_tui.session import Session, Snapshot
    from tdb_tui.turns import Seen, Turn
    from tdb_tui.views.data import RankedView
    from tdb_tui.views.heat import HeatView


LONGEST = 16
"Letters of a command that its progress names."


@dataclass(frozen=True, slots=True)
class Job:
    """Something for the engine thread."""

    line: str | None
    "None only looks: the screen shows something else of the same."
    typed: bool = False
    "Whether it stands in the command line, to be put back there if it fails."


class Worker:
    """Its methods belong to the event loop; what they wait for happens on the thread."""

    def __init__(self, start: "Callable[[], tuple[Session, list[str]]]") -> None:
        """`start` opens the session."""
        self._start = start
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._began = 0.0
        self.took = 0.0
        "Seconds of the last job."
        self._leaving = False
        self.session: Session | None = None
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.running: Job | None = None

    async def open(
        self,
        streamed: "Callable[[RankedView | HeatView | None], object]",
        said: "Callable[[Sequence[str]], object]",
        told: "Callable[[Told], object]",
        moved: Callable[[], object],
    ) -> "tuple[Session, list[str]]":
        """Open the session; `streamed` is called with a table or a map while it is measured.

        `said` is called with the lines that a long answer has so far, `told` with what came of a question to a language
        model, and `moved` when one has come further.
        Returns it and notes for the user.  Raises CommandError.
        """
        loop = asyncio.get_running_loop()
        session, notes = await loop.run_in_executor(self._thread, self._start)
        from tdb_tui.views.look import Looker

        self._looker = looker = Looker()

        def stream(snapshot: "Snapshot") -> None:
            swept = snapshot.sweep is not session.snapshot.sweep
            view = looker.heat(snapshot) if swept else looker.ranked(snapshot)
            loop.call_soon_threadsafe(streamed, view)

        session.streamed, session.at_terminal = stream, True
        from tdb_tui.explaining.background import Background
        from tdb_tui.explaining.jobs import kept

        session.background = Background(
            lambda found: kept(session.engine.stores, found),
            lambda what: loop.call_soon_threadsafe(told, what),
            lambda: loop.call_soon_threadsafe(moved),
        )
        session.said = lambda lines: loop.call_soon_threadsafe(said, lines)
        self.session = session
        return session, notes

    async def carry_out(self, job: Job, seen: "Seen") -> "Turn":
        """Carry out a job and look at what has come of it, unless another one waits by then."""
        from tdb_tui.turns import turn

        assert self.session is not None  # jobs wait for it
        self.running, self._began = job, time.monotonic()
        args = self.session, self._looker, job.line, seen, lambda: self.jobs.empty() and not self._leaving
        done = await asyncio.get_running_loop().run_in_executor(self._thread, turn, *args)
        self.running, self.took = None, time.monotonic() - self._began
        return done

    @property
    def busy(self) -> bool:
        return self.running is not None or not self.jobs.empty()

    def progress(self, width: int) -> str:
        """`rank heads 37/144 · 4.1 s · ^C cancels`, as much of it as fits."""
        if self.running is None or self.session is None:
            return ""
        words = (self.running.line or "looking").split()
        name, short = " ".join(words[:2])[:LONGEST].rstrip(), words[0][:8]
        far, seconds = self.session.engine.progress, f"{time.monotonic() - self._began:.1f} s"
        parts = (far, seconds) if far else (seconds,)
        done = " · ".join(parts)
        said = (
            f"{name} {done} · ^C cancels",
            f"{short} {done} · ^C cancels",
            f"{short} {done}",
            f"{short} {parts[0]}",
        )
        return next((each for each in said if len(each) <= width), parts[0])

    @property
    def resting(self) -> str:
        """What the status says while no command runs."""
        asked = self.session.background.progress() if self.session and self.session.background else ""
        return asked or "idle"

    def drop(self) -> int:
        """Drop the questions to language models; how many there were."""
        return self.session.background.stop() if self.session and self.session.background else 0

    def cancel(self) -> bool:
        """Stop what runs, and forget what waits.  Returns whether something runs."""
        while not self.jobs.empty():
            self.jobs.get_nowait()
        if self.running is None or self.session is None:
            return False
        self.session.engine.interrupt.set()
        return True

    def close(self) -> None:
        self._leaving = True
        if self.session is not None and self.session.background is not None:
            self.session.background.close()
        if self.session is not None:
            self.session.engine.interrupt.set()
        self._thread.shutdown(wait=self.session is not None, cancel_futures=True)
        if self.session is not None and self.session.journal is not None:
            self.session.journal.close()
