"""What could stand at the cursor of a command line.  What exists in this session is for `lookup` to say."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from model.addresses import QUOTED
from tdb_tui.errors import CommandError
from tdb_tui.language.registry import GLOBAL_OPTIONS, Command, Registry
from tdb_tui.language.syntax import FUNCTIONS, NAMES

Lookup = Callable[[str, str], list[str]]
"(kind, beginning) -> candidates in the order to offer them; kinds as in `Command.complete`, and `variable`."


@dataclass(frozen=True, slots=True)
class Completion:
    start: int
    "Where the text that a candidate replaces begins; it ends at the cursor."
    candidates: tuple[str, ...] = ()
    kind: str = ""
    "What they are, as `Command.complete` calls it."

    @property
    def common(self) -> str:
        """The beginning that all candidates share."""
        first, last = min(self.candidates, default=""), max(self.candidates, default="")
        length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
        return first[: min(len(first), len(last)) if length is None else length]


# As the parser's strings, but one may still be open at the cursor.
_STRING = rf"(?<!\w)(?:{QUOTED}|[\"'].*\Z)"
_WORD = re.compile(rf"(?P<chain>;;)|(?P<word>(?:{_STRING}|(?!;;)\S)+)", re.DOTALL)
_PIECE = re.compile(rf"{_STRING}|\{{[^}}]*\}}|.", re.DOTALL)


def complete(line: str, cursor: int, registry: Registry, lookup: Lookup) -> Completion:
    """Candidates for the text before `cursor`; none where nothing is known, nor after `!` or `#`."""
    before = line[:cursor]
    words = _words(before)
    first, start = words[0]
    if first.startswith(("!", "#")):
        return Completion(cursor)
    if len(words) == 1:
        return _offer(start, first, (*registry.names(), *lookup("alias", first)))
    try:
        command = registry.find(first)
    except CommandError:
        return Completion(cursor)
    return _after(command, words[1:], before, lookup)


def _words(before: str) -> list[tuple[str, int]]:
    """The words of the last command and where each begins; the last is the one at the cursor, perhaps empty."""
    words: list[tuple[str, int]] = []
    for match in _WORD.finditer(before):
        words = [] if match["chain"] else [*words, (match["word"], match.start())]
    if words and words[-1][1] + len(words[-1][0]) == len(before):
        return words
    return [*words, ("", len(before))]


def _after(command: Command, words: list[tuple[str, int]], before: str, lookup: Lookup) -> Completion:
    """Candidates for the last of the words that follow a command's name."""
    options = {**command.options, **GLOBAL_OPTIONS}
    word, start = words[-1]
    given, waiting = _arguments(words[:-1], options)
    if waiting:
        return Completion(start, tuple(lookup("file" if waiting == "out" else waiting, word)))
    if re.fullmatch(r"--[\w-]*|-", word):
        return _offer(start, word, (f"--{name}" if len(name) > 1 else f"-{name}" for name in options))
    if not command.complete:
        return Completion(start)
    last = len(command.complete) - 1
    kind = command.complete[min(len(given), last)]
    if kind == "value" and given:
        kind = f"value {given[0][0]}"
    if kind == "expr":
        # One argument of many words.
        begins = given[last][1] if len(given) > last else start
        return _expression(before[begins:], start + len(word), lookup)
    return _address("pos" if word.startswith("@") else kind, word, start, lookup)


def _arguments(
    words: list[tuple[str, int]], options: Mapping[str, bool]
) -> tuple[list[tuple[str, int]], str]:
    """The words that are neither options nor their values, and the option that waits for its value, if any."""
    given: list[tuple[str, int]] = []
    waiting = ""
    for word, col in words:
        option = word.lstrip("-") if word.startswith("-") else ""
        if waiting:
            waiting = ""
        elif option in options:
            waiting = option if options[option] else ""
        else:
            given.append((word, col))
    return given, waiting


def _address(kind: str, word: str, start: int, lookup: Lookup) -> Completion:
    """After `@`, `<` and `:` a position, after `,` another of the same kind, after `$` a variable."""
    at, sort = 0, kind
    for match in _PIECE.finditer(word):
        if match[0] in ("@", "<") or (match[0] == ":" and sort == "pos"):
            at, sort = match.end(), "pos"
        elif match[0] == ",":
            at, sort = match.end(), kind
    if word[at:].startswith("$"):
        sort = "variable"
    return Completion(start + at, tuple(lookup(sort, word[at:])), sort)


def _expression(text: str, end: int, lookup: Lookup) -> Completion:
    """Inside a function what its argument is, elsewhere names and functions; `text` stops at column `end`."""
    function, number, at = _open_call(text)
    kinds = FUNCTIONS[function].kinds if function in FUNCTIONS else ("value",)
    kind = kinds[min(number, len(kinds) - 1)]
    argument = text[at:].lstrip()
    if kind == "token":
        return Completion(end - len(argument), tuple(lookup("token", argument)))
    if kind != "value":
        return _address(kind, argument, end - len(argument), lookup)
    match = re.search(r"(?<![\w$\"'])\$?\w*\Z", text)
    word = match[0] if match else ""
    if word.startswith("$"):
        return Completion(end - len(word), tuple(lookup("variable", word)))
    known = _offer(end - len(word), word, (*NAMES, *(f"{name}(" for name in FUNCTIONS)))
    if word and word == text and not known.candidates:
        # `p` takes a node too.
        return Completion(end - len(word), tuple(lookup("node", word)))
    return known


def _open_call(text: str) -> tuple[str, int, int]:
    """The function whose parenthesis is open at the end, which of its arguments that is, and where it begins."""
    calls = [("", 0, 0)]
    for match in _PIECE.finditer(text):
        name, number, _ = calls[-1]
        if match[0] == "(":
            before = re.search(r"\w*\Z", text[: match.start()])
            calls.append((before[0] if before else "", 0, match.end()))
        elif match[0] == ")" and len(calls) > 1:
            calls.pop()
        elif match[0] == ",":
            calls[-1] = (name, number + 1, match.end())
    return calls[-1]


def _offer(start: int, beginning: str, known: Iterable[str]) -> Completion:
    return Completion(start, tuple(sorted(word for word in known if word.startswith(beginning))))
