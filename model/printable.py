"""Text without anything that acts on a terminal: what tokens, files and people's words may hold."""

import re
import unicodedata
from collections.abc import Mapping

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Printable by category, yet nothing shows, or the width of the neighbour changes."""


def printable(text: str, names: Mapping[str, str] | None = None) -> str:
    """`text` without anything that acts on a terminal or hides in it.

    Control characters, bidirectional and zero-width ones, lone surrogates, unassigned ones, spaces other
    than ' ', and a combining mark with nothing to sit on become `\\x1b`, `\\u202e`, ...; `names` says
    what to write for some of them instead.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_safe(text, n, names or {}) for n in range(len(text)))


def _safe(text: str, n: int, names: Mapping[str, str]) -> str:
    character = text[n]
    if character in names:
        return names[character]
    mark = unicodedata.category(character) in ("Mn", "Me")
    stranded = mark and (n == 0 or not text[n - 1].isprintable() or text[n - 1] == " ")
    if character.isprintable() and not stranded and not _INVISIBLE.match(character):
        return character
    return character.encode("unicode_escape").decode("ascii")
