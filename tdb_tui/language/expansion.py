"""Aliases and variables in a typed command -> the command that they stand for."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import STRING, Call, TakesValue, parse_line, pieces

DEEPEST = 20
"Aliases that stand for each other."

_PARAMETER = re.compile(r"%([1-9*])")
_NAMED = re.compile(rf"{STRING}|(?P<name>\$[^\W\d]\w*)|(?P<row>(?<![^\s,])\.(?=[\s,@<]|$))", re.DOTALL)

Value = Callable[[str, str], str | None]
"(`$name` or `.`, the character before it) -> what is to stand there; None leaves it."


def unaliased(call: Call, aliases: Mapping[str, str], takes_value: TakesValue) -> Iterator[Call]:
    """The commands that a command stands for: itself where it is no alias.

    `%1` to `%9` in an alias are the words after it, `%*` is all of them.  Raises CommandError.
    """
    yield from _unaliased(call, aliases, takes_value, 0)


def with_values(call: Call, value: Value, takes_value: TakesValue, first: int = 1) -> Call:
    """The command with `$name` and `.` replaced, outside quotes and from word `first` on.  Raises CommandError."""
    words = pieces(call.text)
    if not ({"$", "."} & set(call.text)) or len(words) <= first:
        return call
    at = words[first][1]
    text, places = call.text[:at], list(range(call.col, call.col + at))
    for match in _NAMED.finditer(call.text, at):
        name = match["name"] or match["row"]
        new = value(name, call.text[match.start() - 1]) if name else None
        if new is None:
            continue
        text += call.text[at : match.start()] + new
        places += range(call.col + at, call.col + match.start())
        places += [call.col + match.start()] * len(new)
        at = match.end()
    if text == call.text[:at]:
        return call
    text += call.text[at:]
    places += range(call.col + at, call.col + len(call.text) + 1)
    return _again(text, tuple(map(call.typed, places)), takes_value)[0]


def _unaliased(call: Call, aliases: Mapping[str, str], takes_value: TakesValue, depth: int) -> Iterator[Call]:
    name = call.name.text
    if name not in aliases:
        yield call
        return
    if depth == DEEPEST:
        message = f"alias {name!r} leads back to itself: {DEEPEST} aliases deep (unalias {name})"
        raise CommandError(message, "bad-alias", col=call.typed(call.col))
    text = _filled(call, aliases[name])
    here = call.typed(call.col)
    for each in _again(text, (here,) * (len(text) + 1), takes_value):
        yield from _unaliased(each, aliases, takes_value, depth + 1)


def _filled(call: Call, body: str) -> str:
    """An alias's text with the words of the command in it, as pdb does it.  Raises CommandError."""
    name, words = call.name.text, pieces(call.text)[1:]
    named = {found for found in _PARAMETER.findall(body)}
    most = max((int(each) for each in named if each != "*"), default=0)
    if most > len(words):
        message = f"Not enough arguments for alias {name!r}: it takes {most}"
        raise CommandError(message, "bad-alias", col=call.typed(call.col))
    if "*" not in named and len(words) > most:
        message = f"Too many arguments for alias {name!r}: it takes {most or 'none'}"
        raise CommandError(message, "bad-alias", col=call.typed(call.col + words[most][1]))
    every = call.text[words[0][1] :] if words else ""
    return _PARAMETER.sub(lambda found: every if found[1] == "*" else words[int(found[1]) - 1][0], body)


def _again(text: str, places: tuple[int, ...], takes_value: TakesValue) -> list[Call]:
    """The commands of a text that stands for something typed.  Raises CommandError, marking what was typed."""
    try:
        calls = parse_line(text, takes_value)
    except CommandError as error:
        raise replace(error, col=None if error.col is None else places[error.col]) from None
    return [replace(call, places=places[call.col :]) for call in calls]
