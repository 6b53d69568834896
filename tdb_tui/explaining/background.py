"""Language models asked beside a session: each question on a thread of its own while other commands go on."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from explanations.asking.marks import Spell
from explanations.records import Explanation
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.explaining.asking import Question, explanation

PATIENCE = 2.0
"Seconds that leaving waits for questions to be dropped."


@dataclass(slots=True)
class Asking:
    """A question under way."""

    question: Question
    stop: threading.Event = field(default_factory=threading.Event)
    far: str = ""
    "`12/31`"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a question."""

    question: Question
    found: Explanation | None
    complaint: str = ""
    "Why nothing came of it."


class Background:
    """Its methods may be called from any thread; `done` and `moved` are called on the threads of the questions."""

    def __init__(
        self,
        keep: Callable[[Explanation], object],
        done: Callable[[Told], object],
        moved: Callable[[], object],
    ) -> None:
        """`keep` puts an explanation away, and may raise CommandError."""
        self._keep, self._done, self._moved = keep, done, moved
        self._lock = threading.Lock()
        self._asking: dict[threading.Thread, Asking] = {}

    def ask(self, question: Question, spell: Spell) -> None:
        """Begin."""
        asking = Asking(question)
        thread = threading.Thread(target=self._ask, args=(asking, spell), name="asking", daemon=True)
        with self._lock:
            self._asking[thread] = asking
        thread.start()

    def under_way(self) -> Sequence[Asking]:
        with self._lock:
            return tuple(self._asking.values())

    def progress(self) -> str:
        """`asking 12/31`, or how many questions there are; empty where there is none."""
        asking = self.under_way()
        if not asking:
            return ""
        return f"asking {asking[0].far}".rstrip() if len(asking) == 1 else f"{len(asking)} asked"

    def stop(self) -> int:
        """Drop all questions; how many there were."""
        asking = self.under_way()
        for each in asking:
            each.stop.set()
        return len(asking)

    def close(self) -> None:
        """Drop all questions, and wait a little for their threads."""
        self.stop()
        with self._lock:
            threads = tuple(self._asking)
        for thread in threads:
            thread.join(PATIENCE)

    def _ask(self, asking: Asking, spell: Spell) -> None:
        def moved(far: str) -> None:
            if far != asking.far:
                asking.far = far
                self._moved()

        question = asking.question
        try:
            found = explanation(question, spell, asking.stop, moved)
            why = "" if found else f"{question.model} gave no answer about {question.node} that could be read"
            if found is not None:
                self._keep(found)
            told = Told(question, found, why)
        except Interrupted:
            told = Told(question, None, f"{question.node} is not explained: stopped")
        except CommandError as error:
            told = Told(question, None, str(error))
        with self._lock:
            self._asking.pop(threading.current_thread(), None)
        self._done(told)
