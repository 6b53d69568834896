"""Which theme is behind what is drawn."""

import os
from collections.abc import Mapping
from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

from tdb_tui.errors import did_you_mean

TERMINAL_THEME = "ansi-dark"
"The terminal's own colours: nothing is sent for what has none."
OWN_THEME = "own"


def chosen_theme(name: str | None, behind: Mapping[str, str]) -> Theme:
    """The theme of that name, with other colours where some are given; the terminal's own where nothing is asked."""
    if os.environ.get("NO_COLOR"):
        return BUILTIN_THEMES[TERMINAL_THEME]
    if not behind:
        return BUILTIN_THEMES[name or TERMINAL_THEME]
    # The terminal's own colours cannot be told from each other, so that a theme with colours is what is changed.
    base = BUILTIN_THEMES["textual-dark" if name is None or name.startswith("ansi-") else name]
    return replace(base, name=OWN_THEME, **dict(behind))  # pyright: ignore[reportArgumentType]


def unknown_theme(name: str | None) -> str:
    """What is wrong with a theme's name, one sentence; empty for one that there is."""
    if name is None or name in BUILTIN_THEMES:
        return ""
    guess = did_you_mean(name, list(BUILTIN_THEMES)) or f": {', '.join(sorted(BUILTIN_THEMES))}"
    return f"no theme {name!r}{guess}"
