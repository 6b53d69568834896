"""What the screen shows of its own accord: written to the journal whenever it changes, and taken up again from it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tdb_tui.panes.heatmap import HeatMap
from tdb_tui.panes.moves import ORDER, Moves
from tdb_tui.panes.pane import Pane
from tdb_tui.panes.screen import MainScreen

if TYPE_CHECKING:
    from tdb_tui.journal.writing import Journal
    from tdb_tui.session import Session


OF_THE_SIZE = ("token_rows", "other", "heads")
"Wishes that follow from the prompt and the model."


class Diary:
    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen
        self._journal: Journal | None = None
        self._last: Mapping[str, Any] | None = None
        "What was written down last."
        self._due = False
        "Whether it is yet to be taken up."

    def go_on(self, session: "Session") -> None:
        """Show what a journal says of before."""
        from tdb_tui.journal.resuming import answers

        self._journal = session.journal
        kept = None if self._journal is None else self._journal.kept
        if kept is None:
            return
        log = self._screen.log_pane
        for line, said in answers(kept):
            log.echo(" ;; ".join(line.splitlines()))
            for done in said:
                self._screen.write(done)
        log.update()
        self._last, self._due = kept.screen, kept.screen is not None

    def take_up(self) -> bool:
        """Where a session goes on, show what was shown; whether the head that is seen is that under the cursor."""
        if not self._due or self._last is None:
            return False
        self._due = False
        take_up(self._screen, self._last)
        return self._last.get("looked") is True

    def write_down(self, looked: bool) -> None:
        """Keep in the journal what the screen shows now, and whether the head seen is that under the cursor."""
        if self._journal is None or self._due or self._screen.look is None:
            return
        now = posture(self._screen) | {"looked": looked}
        if now != self._last:
            self._last = now
            self._journal.show(now)


def posture(screen: Moves) -> dict[str, Any]:
    """Which panes are in view, which of them has the keys, and where their cursors are."""
    cursors = {pane.id: _cursor(pane) for pane in screen.query(Pane) if pane.id != "log"}
    return {
        "wishes": {name: wish for name, wish in asdict(screen.wishes).items() if name not in OF_THE_SIZE},
        "active": screen.active,
        "reading": screen.log_pane.reading,
        "cursors": {name: at for name, at in cursors.items() if any(at)},
        "filters": {pane.id: pane.words for pane in screen.query(Pane) if pane.words},
    }


def take_up(screen: Moves, saved: Mapping[str, Any]) -> None:
    """Show again what `posture` wrote down, as far as it is still there."""
    known = asdict(screen.wishes)
    screen.log_pane.reading = saved.get("reading") is True
    screen.wish(**{name: wish for name, wish in dict(saved.get("wishes", {})).items() if name in known})
    if saved.get("active") in ORDER:
        screen.activate(saved["active"])
    cursors, words = saved.get("cursors", {}), saved.get("filters", {})
    for pane in screen.query(Pane):
        if pane.filters and isinstance(words.get(pane.id), str):
            pane.keep(words[pane.id])
        if pane.id in cursors:
            _put(pane, [int(at) for at in cursors[pane.id]])


def _cursor(pane: Pane) -> list[int]:
    return [pane.cursor, pane.top, *([pane.column] if isinstance(pane, HeatMap) else [])]


def _put(pane: Pane, at: list[int]) -> None:
    cursor, top, *column = at
    if isinstance(pane, HeatMap) and column:
        pane.move_column(column[0] - pane.column)
    pane.top = max(top, 0)
    pane.move_to(cursor)
