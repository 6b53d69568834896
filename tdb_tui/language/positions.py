"""Words -> token positions: `14`, `-1`, `END`, a role, `Mary`, `John#2`, `2:END`, `*`."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from model.addresses import QUOTED
from model.edits.interventions import Span
from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import unquote

BOS, SHOWN_BOS = "<|endoftext|>", "⊢"

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_OCCURRENCE = re.compile(r"(?P<text>.+?)(?:#(?P<plain>[0-9]{1,9})|(?P<small>[₀-₉]{1,9}))", re.DOTALL)
_SPAN = re.compile(rf"(?P<first>(?:{QUOTED}|[^:\"'])+):(?P<last>(?:{QUOTED}|[^:\"'])+)", re.DOTALL)


PROMPT = "the prompt"
"""What a prompt is called in what is said about it: another is `prompt B` or `example 17`."""


def resolve_span(
    text: str, tokens: Sequence[str], roles: Mapping[str, int], end: int, prompt: str = PROMPT
) -> Span | None:
    """The positions that `text` names: one, `a:b` with both ends, or `*` for all of them, given as None.

    Raises CommandError as `resolve_position` does, and for a span that runs backwards.
    """
    if text == "*":
        return None
    match = None if text in _named(tokens) else _SPAN.fullmatch(text)
    if match is None:
        at = resolve_position(text, tokens, roles, end, prompt)
        return Span(at, at)
    first, last = (
        resolve_position(side, tokens, roles, end, prompt) for side in match.group("first", "last")
    )
    if last < first:
        raise _error(f"{text!r} runs backwards: write {match['last']}:{match['first']}")
    return Span(first, last)


def resolve_position(
    text: str, tokens: Sequence[str], roles: Mapping[str, int], end: int, prompt: str = PROMPT
) -> int:
    """The position that `text` names in a prompt of `tokens`; `roles` are the user's names for positions.

    A number is an index and a word in quotes always a token's text.  Raises CommandError for an index outside
    the prompt, a word that is no token of it, and one that is several.
    """
    builtin = {"START": 0, "END": end}
    if (named := builtin.get(text, roles.get(text))) is not None:
        return _index(named, text, tokens, prompt)
    if re.fullmatch(r"-?[0-9]{1,9}", text):
        return _index(int(text), text, tokens, prompt)
    if places := _places(text, tokens):
        return _only(places, text, tokens, prompt)
    if match := _OCCURRENCE.fullmatch(text):
        number = int(match["plain"] or match["small"].translate(_SUBSCRIPTS))
        if places := _places(match["text"], tokens):
            return _occurrence(places, number, match["text"], tokens, prompt)
    raise _unknown(unquote(text), tokens, tuple(roles), tuple(builtin), prompt)


def _index(at: int, text: str, tokens: Sequence[str], prompt: str) -> int:
    if -len(tokens) <= at < len(tokens):
        return at % len(tokens)
    raise _error(f"no token {text}: {_extent(tokens, prompt)}")


def _places(text: str, tokens: Sequence[str]) -> list[int]:
    """Where a text stands in the prompt, with or without a space before it; quoted, as it is if it can."""
    wanted = BOS if text == SHOWN_BOS else unquote(text)
    exact = [at for at, token in enumerate(tokens) if token == wanted]
    if exact and wanted != text:
        return exact
    return [at for at, token in enumerate(tokens) if token in (wanted, f" {wanted}")]


def _only(places: Sequence[int], text: str, tokens: Sequence[str], prompt: str) -> int:
    if len(places) == 1:
        return places[0]
    few = [f"{text}#{number}" for number in range(1, len(places) + 1)]
    numbered = ", ".join(few) if len(few) <= 4 else f"{few[0]} to {few[-1]}"
    where = f"at {_listed(places)}{_within(prompt)}"
    raise _error(f"{_shown(places, tokens)} is {where}: write {numbered} or an index")


def _occurrence(places: Sequence[int], number: int, text: str, tokens: Sequence[str], prompt: str) -> int:
    if 1 <= number <= len(places):
        return places[number - 1]
    where = f"at {_listed(places)}{_within(prompt)}"
    raise _error(f"no {text}#{number}: {_shown(places, tokens)} is {where}")


def _unknown(
    text: str, tokens: Sequence[str], roles: Sequence[str], names: Sequence[str], prompt: str
) -> CommandError:
    """Suggests the token or the name that looks most like what was typed; else says what there is."""
    shown = {name.casefold(): repr(name) for name in (*names, *roles)}
    for at, token in enumerate(tokens):
        shown.setdefault(token.strip().casefold(), f"{token!r} ({at})")
    near = get_close_matches(text.strip().casefold(), [word for word in shown if word], n=1, cutoff=0.6)
    if near:
        return _error(f"no token {text!r} in {prompt}: did you mean {shown[near[0]]}?")
    *most, last = (*sorted(roles), *names)
    known = f"{_extent(tokens, prompt)}, roles are {', '.join(most)} and {last}"
    return _error(f"no token or role {text!r} in {prompt}: {known} (h positions)")


def _shown(places: Sequence[int], tokens: Sequence[str]) -> str:
    """The token at `places`, or what is common to them where they differ by the space before it."""
    texts = {tokens[at] for at in places}
    return repr(texts.pop() if len(texts) == 1 else tokens[places[0]].strip())


def _listed(places: Sequence[int]) -> str:
    *most, last = map(str, places)
    return f"{', '.join(most)} and {last}" if most else last


def _extent(tokens: Sequence[str], prompt: str) -> str:
    return f"{prompt} has tokens 0–{len(tokens) - 1}" if len(tokens) > 1 else f"{prompt} has only token 0"


def _within(prompt: str) -> str:
    """` in prompt B`, nothing for the one that goes without saying."""
    return "" if prompt == PROMPT else f" in {prompt}"


def _named(tokens: Sequence[str]) -> set[str]:
    """Texts with a colon in them that are tokens, and so no spans."""
    return {text for token in tokens if ":" in token for text in (token, token.strip())}


def _error(message: str) -> CommandError:
    return CommandError(message, code="bad-position")
