"""Which key stands for what: the table of keys, after the user's own choices."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.guidance import ALWAYS, USEFUL
from tdb_tui.keys import KEYS, Key

OTHERS = "row-down=down find next-view next quit"
"What is useful in a pane that the table of the useful does not name."

NEEDED = ("quit", "line")
"What must keep a key: the way out, and the way to everything else."

SAME = {"ctrl+m": "enter", "ctrl+i": "tab", "ctrl+h": "backspace", "ctrl+j": "enter", "ctrl+[": "escape"}
"What terminals send as another key."

NAMES = frozenset(
    "space enter tab shift+tab escape backspace delete home end up down left right pageup pagedown".split()
)
SHOWN = {"space": "Space", "enter": "⏎", "tab": "Tab", "shift+tab": "⇧Tab", "escape": "Esc", "backspace": "⌫"}
SHOWN |= {"up": "↑", "down": "↓", "left": "←", "right": "→", "pageup": "PgUp", "pagedown": "PgDn"}
_OTHER = re.compile(r"f([1-9]|1[0-2])|(ctrl|alt)\+[a-z]|(ctrl|shift)\+(up|down|left|right|home|end)")

CHARACTERS = {
    **{
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "left_curly_bracket": "{",
        "right_curly_bracket": "}",
    },
    "ampersand": "&",
    **{"left_parenthesis": "(", "right_parenthesis": ")", "semicolon": ";", "slash": "/", "full_stop": "."},
    **{
        "comma": ",",
        "plus": "+",
        "underscore": "_",
        "colon": ":",
        "exclamation_mark": "!",
        "question_mark": "?",
    },
}
"Signs that the terminal library has words for."


@dataclass(frozen=True)
class Keymap:
    keys: tuple[Key, ...] = KEYS

    @cached_property
    def by_key(self) -> Mapping[str, Key]:
        return {name: key for key in self.keys for name in key.keys}

    @cached_property
    def by_id(self) -> Mapping[str, Key]:
        return {key.id: key for key in self.keys}

    def find(self, name: str, character: str | None) -> Key | None:
        """What a key does, by the name that the terminal library gives it or by what it types."""
        return self.by_key.get(name) or self.by_key.get(character or "")

    def hints(self, pane: str = "code") -> tuple[tuple[str, str], ...]:
        """What the hint bar shows in key mode: keys, and a word for each."""
        found = (each.partition("=") for each in USEFUL.get(pane, OTHERS).split())
        keys = ((self.by_id[id], word) for id, _, word in found)
        return tuple((key.shown, word or key.hint) for key, word in keys if key.keys)

    def useful(self, pane: str) -> list[Key]:
        """The keys worth showing in a pane, the most useful first."""
        found = (self.by_id[each.partition("=")[0]] for each in USEFUL.get(pane, OTHERS).split())
        return [key for key in found if key.keys]

    @property
    def always(self) -> tuple[tuple[str, str], ...]:
        found = ((self.by_id[id], word) for id, word in ALWAYS.items())
        return tuple((key.shown, word) for key, word in found if key.keys)


def remapped(chosen: Mapping[str, str]) -> Keymap:
    """The table with other keys: `{"next": "n", "find": "/ ctrl+f", "redraw": ""}`.

    A chosen key is taken from whatever had it; an empty text leaves nothing.  Raises CommandError, one sentence, for
    what cannot be.
    """
    wanted = {id: _keys(id, text) for id, text in chosen.items()}
    taken: dict[str, str] = {}
    for id, names in wanted.items():
        for name in names:
            if taken.setdefault(name, id) != id:
                raise CommandError(
                    f"[keys] {taken[name]} and {id} both want {name!r}: give it to one", "bad-key"
                )
    keys = tuple(_given(key, wanted.get(key.id), taken) for key in KEYS)
    for key in keys:
        if key.id in NEEDED and not key.keys:
            raise CommandError(
                f'[keys] leaves no key for {key.id}: give it one, as in {key.id} = "ctrl+q"', "bad-key"
            )
    return Keymap(keys)


def _given(key: Key, names: tuple[str, ...] | None, taken: Mapping[str, str]) -> Key:
    """A row of the table with the keys that are chosen for it, or those of its own that are left."""
    left = names if names is not None else tuple(name for name in key.keys if _typed(name) not in taken)
    if left == key.keys:
        return key
    return replace(key, keys=left, shown=" ".join(SHOWN.get(name, _short(name)) for name in left))


def _keys(id: str, text: str) -> tuple[str, ...]:
    """Names of keys, by spaces.  Raises CommandError."""
    known = [key.id for key in KEYS]
    if id not in known:
        guess = did_you_mean(id, known) or ": 'tdb-tui docs keys' lists them"
        raise CommandError(f"[keys] has no {id!r}{guess}", "bad-key")
    return tuple(_name(id, word) for word in text.split())


def _name(id: str, word: str) -> str:
    if word in SAME:
        raise CommandError(f"[keys] {id}: terminals send {word} as {SAME[word]}, choose another", "bad-key")
    if len(word) == 1 or word in NAMES or _OTHER.fullmatch(word):
        return word
    example = "a letter or sign, ctrl+letter, f1 to f12, space, enter, tab, up, pageup"
    raise CommandError(f"[keys] {id}: no key is called {word!r}: write {example}", "bad-key")


def _typed(name: str) -> str:
    """A key's name as a configuration has it: `/`, where the terminal library says `slash`."""
    return CHARACTERS.get(name, name)


def _short(name: str) -> str:
    """`^F` for `ctrl+f`."""
    name = _typed(name)
    if name.startswith("ctrl+"):
        return f"^{name[5:].upper()}"
    return name.upper() if re.fullmatch(r"f\d+", name) else name
