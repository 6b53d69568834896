"""`[theme]` of the configuration: other colours for what is drawn, and for the screen behind it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tdb_tui.errors import CommandError, did_you_mean

DRAWN: Mapping[str, tuple[int, ...]] = {
    "positive": (25, 32, 39, 81),
    "negative": (94, 166, 208, 215),
    "arrow": (220,),
    "edited": (177,),
    "error": (203,),
    "warning": (214,),
}
"What is drawn, and its usual entries of the 256-colour table; values have four strengths, stops and marks error's."

BEHIND = ("background", "foreground", "primary", "accent", "surface", "panel")
"Colours of the screen itself, by the names that themes have for them."

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Colours:
    drawn: Mapping[str, str] = field(default_factory=dict[str, str])
    "`color(25)` -> what is drawn in its place."
    behind: Mapping[str, str] = field(default_factory=dict[str, str])
    "Names in BEHIND -> `#101010`."


def colours(theme: Mapping[str, Any]) -> Colours:
    """The colours that a table names.  Raises CommandError, one sentence, for what is none."""
    drawn, behind = dict[str, str](), dict[str, str]()
    for name, value in theme.items():
        if name in BEHIND:
            behind[name] = _colour(name, value)
        elif name in DRAWN:
            usual = DRAWN[name]
            given = value if isinstance(value, list) else [value] * len(usual)
            if len(given) != len(usual):
                message = (
                    f"[theme] {name} has {len(given)} colours: write one, or {len(usual)} from weak to strong"
                )
                raise CommandError(message, code="bad-theme")
            drawn |= {f"color({at})": _colour(name, each) for at, each in zip(usual, given, strict=True)}
        else:
            known = (*DRAWN, *BEHIND)
            guess = did_you_mean(name, known) or f": {', '.join(known)}"
            raise CommandError(f"[theme] has no {name!r}{guess}", code="bad-theme")
    return Colours(drawn, behind)


def _colour(name: str, value: object) -> str:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise CommandError(f'[theme] {name} is {value!r}: write a colour, as in "#0087d7"', code="bad-theme")
    return value.lower()
