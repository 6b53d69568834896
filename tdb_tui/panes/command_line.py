"""The command line: history by prefix, completion, ghost text."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from textual.events import Key
from textual.suggester import Suggester
from textual.widgets import Input

if TYPE_CHECKING:
    from tdb_tui.language.completion import Completion


class History(Suggester):
    """Lines typed before, oldest first; the ghost text is the last one that begins as what is being typed."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.lines = lines

    async def get_suggestion(self, value: str) -> str | None:
        return next((line for line in reversed(self.lines) if line.startswith(value) and line != value), None)

    def add(self, line: str) -> None:
        if line.strip() and line != (self.lines or [""])[-1]:
            self.lines.append(line)

    def before(self, at: int, prefix: str) -> int | None:
        return next((n for n in range(at - 1, -1, -1) if self.lines[n].startswith(prefix)), None)

    def after(self, at: int, prefix: str) -> int | None:
        return next((n for n in range(at + 1, len(self.lines)) if self.lines[n].startswith(prefix)), None)


class Owner(Protocol):
    """Who is told what the command line has been used for."""

    def entered(self, line: str) -> None:
        """A line, perhaps empty, is to be carried out."""

    def left(self) -> None:
        """The keys go back to the panes."""

    def cancelled(self) -> None:
        """Ctrl-C with nothing typed: whatever runs is to stop."""

    def end_of_file(self) -> None:
        """Ctrl-D with nothing typed."""

    def offered(self, found: "Completion | None") -> None:
        """Several words fit; None where that is over."""

    def searching(self, words: str | None, found: bool) -> None:
        """What is looked for in the history, and whether it is there; None where that is over."""

    def completion(self, text: str, cursor: int) -> "Completion":
        """What fits before the cursor."""
        ...


ACTIONS = {
    "enter": "enter",
    "tab": "complete",
    "escape": "leave",
    "ctrl+g": "leave",
    "ctrl+c": "clear_or_cancel",
    "ctrl+d": "delete_or_quit",
    "backspace": "delete_or_leave",
    "up": "back",
    "ctrl+p": "back",
    "down": "forward",
    "ctrl+n": "forward",
    "left": "cursor_left",
    "ctrl+b": "cursor_left",
    "right": "cursor_right",
    "ctrl+f": "cursor_right",
    "alt+b": "cursor_left_word",
    "ctrl+left": "cursor_left_word",
    "alt+f": "cursor_right_word",
    "ctrl+right": "cursor_right_word",
    "home": "home",
    "ctrl+a": "home",
    "end": "end",
    "ctrl+e": "end",
    "delete": "delete_right",
    "ctrl+w": "delete_left_word",
    "alt+backspace": "delete_left_word",
    "ctrl+u": "delete_left_all",
    "ctrl+k": "delete_right_all",
    "ctrl+r": "search",
}
"Keys of the command line, and what they do to it."


class CommandLine(Input):
    """Takes keys from `take`, one after the other: what is typed behind a line is not lost while that is read."""

    def __init__(self, name: str, history: list[str], owner: Owner) -> None:
        self.history = History(history)
        super().__init__(id=name, compact=True, select_on_focus=False, suggester=self.history)
        self.cursor_blink = False
        self._owner = owner
        self._offering = False
        "Whether candidates are being shown."
        self._at: int | None = None
        "Which line of the history is shown, None for what is being typed."
        self._typed = ""
        self._search: str | None = None
        "What is looked for in the history, None where nothing is."
        self._cycle: tuple[str, Completion, int, str] | None = None
        "Text before the word, what fits, which of them is in, text after the word."

    def take(self, event: Key) -> None:
        """Do what a key does."""
        if self._offering and event.key != "tab":
            self._offer(None)
        if self._search is not None and self._searched(event):
            return
        if event.is_printable and event.character is not None:
            self._at = None
            self.insert_text_at_cursor(event.character)
        elif (action := ACTIONS.get(event.key)) is not None:
            getattr(self, f"action_{action}")()

    def fill(self, text: str, cursor: int | None = None) -> None:
        """Put text in, the cursor behind it or at a column."""
        self.value = text
        self.cursor_position = len(text) if cursor is None else min(cursor, len(text))

    def action_back(self) -> None:
        self._recall(self.history.before)

    def action_forward(self) -> None:
        self._recall(self.history.after)

    def _recall(self, find: Callable[[int, str], int | None]) -> None:
        if self._at is None:
            self._typed = self.value
        at = find(len(self.history.lines) if self._at is None else self._at, self._typed)
        if at is None and find == self.history.before:
            return
        self._at = at
        self.fill(self._typed if at is None else self.history.lines[at])

    def action_search(self) -> None:
        """Look for a line that has what is typed from now on; again, for an older one."""
        if self._search is None:
            self._typed, self._search, self._at = self.value, "", None
        elif self._search:
            self._find(len(self.history.lines) if self._at is None else self._at)
            return
        self._owner.searching(self._search, True)

    def _searched(self, event: Key) -> bool:
        """Whether a key belongs to the search; any other ends it, the line found staying."""
        assert self._search is not None  # the caller has looked
        if event.is_printable and event.character is not None:
            self._search += event.character
        elif event.key == "backspace":
            self._search = self._search[:-1]
        elif event.key == "ctrl+r":
            self.action_search()
            return True
        else:
            back = event.key in ("escape", "ctrl+g", "ctrl+c")
            self._search, self._at = None, None
            self._owner.searching(None, True)
            if back:
                self.fill(self._typed)
            return back
        self._find(len(self.history.lines))
        return True

    def _find(self, before: int) -> None:
        """The last line before one that has the words."""
        words, lines = self._search or "", self.history.lines
        at = next((n for n in range(before - 1, -1, -1) if words in lines[n]), None)
        self._owner.searching(words, at is not None)
        if at is not None:
            self._at = at
            self.fill(lines[at], lines[at].index(words) + len(words))

    def action_end(self, select: bool = False) -> None:
        """To the end; there, the ghost text is taken."""
        if self.cursor_at_end:
            self.action_cursor_right(select)
        super().action_end(select)

    def action_complete(self) -> None:
        """The beginning that all candidates share, then each of them in turn."""
        if self._cycle is not None and self.value == self._cycled(self._cycle):
            before, found, at, after = self._cycle
            self._cycle = before, found, (at + 1) % len(found.candidates), after
            self._put(self._cycle)
            return
        cursor = self.cursor_position
        found = self._owner.completion(self.value, cursor)
        typed, after = self.value[found.start : cursor], self.value[cursor:]
        self._offer(found if len(found.candidates) > 1 else None)
        if not found.candidates:
            return
        if len(found.common) > len(typed) or len(found.candidates) == 1:
            word = found.common + (
                " " if len(found.candidates) == 1 and not found.common.endswith(("(", "/")) else ""
            )
            self.fill(self.value[: found.start] + word + after, found.start + len(word))
            return
        self._cycle = self.value[: found.start], found, 0, after
        self._put(self._cycle)

    def _offer(self, found: "Completion | None") -> None:
        self._offering = found is not None
        self._owner.offered(found)

    def _cycled(self, cycle: "tuple[str, Completion, int, str]") -> str:
        before, found, at, after = cycle
        return before + found.candidates[at] + after

    def _put(self, cycle: "tuple[str, Completion, int, str]") -> None:
        self.fill(self._cycled(cycle), len(cycle[0]) + len(cycle[1].candidates[cycle[2]]))

    def action_enter(self) -> None:
        line = self.value.strip()
        self.history.add(line)
        self._at, self._cycle = None, None
        self.clear()
        self._owner.entered(line)

    def action_leave(self) -> None:
        self._owner.left()

    def action_clear_or_cancel(self) -> None:
        if self.value:
            self.clear()
        else:
            self._owner.cancelled()

    def action_delete_or_quit(self) -> None:
        if self.value:
            self.action_delete_right()
        else:
            self._owner.end_of_file()

    def action_delete_or_leave(self) -> None:
        if self.value:
            self.action_delete_left()
        else:
            self._owner.left()

    def paste(self, text: str) -> None:
        """Several lines become one, to be looked at before Enter."""
        self.insert_text_at_cursor(" ;; ".join(line.strip() for line in text.splitlines() if line.strip()))
