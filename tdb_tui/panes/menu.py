"""`?`: every key and command in one list.  Typing filters it, Enter runs what is selected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar

from rich.cells import set_cell_size
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tdb_tui import keys
from tdb_tui.guidance import PANES
from tdb_tui.keymap import Keymap
from tdb_tui.language.registry import Command

WIDTH = 76
"As in app.tcss."


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the menu and what it stands for."""

    shown: str
    name: str
    help: str
    key: str = ""
    "The key to press, for a key."
    command: str = ""
    "The text to put into the command line, for a command."

    def named(self, words: Sequence[str]) -> bool:
        """Whether it is the command that the first of some words begins: that one comes first."""
        return bool(words) and self.command.startswith(words[0])

    @property
    def text(self) -> str:
        if not (self.key or self.command):
            return self.help
        return set_cell_size(f"{self.shown:<6} {self.name:<12} {self.help}", WIDTH - 2).rstrip()


def key_items(pane: str, keymap: Keymap) -> list[Item]:
    """Every key, those that are worth most in the pane first."""
    listed = [(key, group) for group, found in keys.by_group(keymap.keys) for key in found]
    here = keymap.useful(pane)
    first = sorted((pair for pair in listed if pair[0] in here), key=lambda pair: here.index(pair[0]))
    rest = [pair for pair in listed if pair[0] not in here]
    return [
        *(Item(key.shown, "this pane", key.help, key=key.keys[0]) for key, _ in first),
        *(Item(key.shown, group, key.help, key=key.keys[0]) for key, group in rest),
    ]


def pane_items(pane: str, keymap: Keymap) -> list[Item]:
    """What a pane shows, line by line, then its own keys."""
    said = [Item("", pane, line) for line in wrap(" ".join(PANES.get(pane, "").split()), WIDTH - 2)]
    return [*said, *(item for item in key_items(pane, keymap) if item.name == "this pane")]


def command_items(commands: Iterable[Command]) -> list[Item]:
    return [
        Item(":", each.name, f"{each.summary}  {each.usage}".rstrip(), command=each.name) for each in commands
    ]


class Menu(ModalScreen[Item | None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+g,ctrl+c", "close", show=False),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
    ]

    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__()
        self._items = tuple(items)
        self._found = self._items

    def compose(self) -> ComposeResult:
        words = Input(
            placeholder="type to filter; Enter runs, Esc closes", compact=True, select_on_focus=False
        )
        words.cursor_blink = False
        yield words
        yield OptionList(*self._options(), markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.query_one(OptionList).highlighted = 0

    def on_input_changed(self, event: Input.Changed) -> None:
        words = event.value.lower().split()
        found = [item for item in self._items if all(word in item.text.lower() for word in words)]
        self._found = tuple(sorted(found, key=lambda item: not item.named(words)))
        options = self.query_one(OptionList)
        options.set_options(self._options())
        options.highlighted = 0 if self._found else None

    def on_input_submitted(self) -> None:
        at = self.query_one(OptionList).highlighted
        self.dismiss(None if at is None else self._found[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index])

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if self._found:
            options.highlighted = max(0, min((options.highlighted or 0) + by, len(self._found) - 1))

    def action_close(self) -> None:
        self.dismiss(None)

    def _options(self) -> list[Option]:
        return [Option(Text(item.text)) for item in self._found]
