"""A typed line -> commands made of words and options.  What the words mean is for each command to say."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from model.addresses import QUOTED
from tdb_tui.errors import CommandError


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    'Without its quotes where all of it was quoted, else as typed (`L9H9@" Mary"` keeps them).'
    col: int
    "Where it begins in the line, from 0."
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """`--out FILE`, `--out=FILE`, `-n 5`, `-n5` or a flag such as `--json`."""

    name: str
    "Without its dashes."
    value: str | None
    col: int


@dataclass(frozen=True, slots=True)
class Call:
    """One command; `!python` is the command `!` with the rest of the line as its only word, as `commands`, `alias`."""

    name: Word
    args: tuple[Word, ...]
    options: tuple[Option, ...]
    text: str
    "Its own part of the line, without spaces around it."
    col: int
    places: tuple[int, ...] = ()
    "Where each column of `text`, and its end, stands in what was typed; empty where it was typed so."

    def typed(self, col: int) -> int:
        """The column in what was typed of a column here."""
        return self.places[min(max(col - self.col, 0), len(self.places) - 1)] if self.places else col

    def option(self, name: str) -> str | None:
        """The value given last for an option, None where it was not given."""
        return next((option.value for option in reversed(self.options) if option.name == name), None)

    def has(self, name: str) -> bool:
        return any(option.name == name for option in self.options)

    def rest(self, first: int = 0) -> Word:
        """What was typed from argument `first` to the end, as one word: an expression, a prompt, a note."""
        if first >= len(self.args):
            return Word("", self.col + len(self.text))
        start = self.args[first].col
        # An option before the text is an option; one after its start belongs to it only if it comes last.
        end = min((option.col for option in self.options if option.col > start), default=None)
        typed = self.text[start - self.col : None if end is None else end - self.col].rstrip()
        if len(self.args) == first + 1 and self.args[first].quoted:
            return self.args[first]
        return Word(typed, start)


TakesValue = Callable[[str, str], bool | None]
"(command as typed, option) -> whether the option takes a value; None where the command has no such option."

# A quote opens a string at the start of a word and after a sign; in `it's` it is an apostrophe.
STRING = rf"(?<!\w)(?:{QUOTED})"
_STRING = re.compile(STRING, re.DOTALL)
_PLAIN = re.compile(r"(?!;;)(?:[^\s\"']|(?<=\w)[\"'])")
_OPTION = re.compile(
    r"--(?P<long>[A-Za-z][\w-]*)(?:=(?P<value>.*))?|-(?P<short>[A-Za-z])(?P<rest>.*)", re.DOTALL
)


def parse_line(line: str, takes_value: TakesValue) -> list[Call]:
    """The commands of a line, none for a blank one or a comment.

    Raises CommandError for an unclosed quote and an option without its value.
    """
    if line.lstrip().startswith("#"):
        return []
    calls: list[Call] = []
    words: list[tuple[str, int]] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] == "!" and not words:
            calls.append(_python(line, at))
            return calls
        elif line.startswith(";;", at):
            calls += _call(line, words, takes_value)
            words, at = [], at + 2
        else:
            end = word_end(line, at)
            if not words and _takes_the_rest(line[at:end].removesuffix(":")):
                end -= line[at:end].endswith(":")
                calls.append(_with_rest(line, at, end))
                return calls
            words.append((line[at:end], at))
            at = end
    return calls + _call(line, words, takes_value)


def word_end(line: str, start: int) -> int:
    """Where the word that begins at `start` ends.  Raises CommandError for an unclosed quote."""
    at = start
    while at < len(line):
        match = _STRING.match(line, at) or _PLAIN.match(line, at)
        if match is None:
            break
        at = match.end()
    if line[at : at + 1] in ('"', "'"):
        message = f"unclosed quote: {line[at:]} needs a {line[at]} at its end"
        raise CommandError(message, code="bad-syntax", col=at)
    return at


def unquote(text: str) -> str:
    """The text that a quoted string stands for; text without quotes around it comes back as it is."""
    if not re.fullmatch(QUOTED, text, re.DOTALL):
        return text
    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[ntr\\\"'])", _unescaped, text[1:-1])


def quote(text: str) -> str:
    """A quoted string that stands for `text` and holds no control character."""
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] not in "xuU":
        return {"n": "\n", "t": "\t", "r": "\r"}.get(code, code)
    number = int(code[1:], 16)
    return match[0] if number > 0x10FFFF else chr(number)


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return f"\\{letter}" if letter in '"\\' else letter
    code = ord(letter)
    return _ESCAPES.get(letter) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _python(line: str, at: int) -> Call:
    code = line[at + 1 :]
    col = at + 1 + len(code) - len(code.lstrip())
    return Call(Word("!", at), (Word(code.strip(), col),), (), line[at:].rstrip(), at)


def _takes_the_rest(word: str) -> bool:
    """Whether a command has the rest of the line, `;;` too: `alias`, `commands` or an abbreviation of no other."""
    return word == "alias" or (len(word) >= len("comm") and "commands".startswith(word))


def pieces(text: str) -> list[tuple[str, int]]:
    """The words of one command as typed, quotes and all, and where each begins.  Raises CommandError."""
    found: list[tuple[str, int]] = []
    at = 0
    while at < len(text):
        end = at if text[at].isspace() else word_end(text, at)
        if end > at:
            found.append((text[at:end], at))
        at = max(end, at + 1)
    return found


def _with_rest(line: str, at: int, end: int) -> Call:
    """A command with the rest of the text, several lines perhaps, as its only word."""
    rest = line[end:].strip()
    col = end + len(line[end:]) - len(line[end:].lstrip())
    shown = (
        " ;; ".join(part for part in line[at:].splitlines() if part.strip()).replace(": ;; ", ": ").strip()
    )
    args = (Word(rest, col),) if rest else ()
    return Call(Word(line[at:end], at), args, (), shown, at)


def _call(line: str, words: list[tuple[str, int]], takes_value: TakesValue) -> list[Call]:
    """One call, or none where there was nothing between two `;;`."""
    if not words:
        return []
    (name, col), *others = words
    if others and (name, others[0][0]) == ("why", "not"):
        name, others = "whynot", others[1:]
    last, last_col = words[-1]
    args, options = _sorted(unquote(name), others, takes_value)
    return [Call(_word(name, col), args, options, line[col : last_col + len(last)], col)]


def _sorted(
    command: str, words: list[tuple[str, int]], takes_value: TakesValue
) -> tuple[tuple[Word, ...], tuple[Option, ...]]:
    """Words and options apart; `-1`, `-`, and `-ld` where the command has no option `-l`, are words."""
    args: list[Word] = []
    options: list[Option] = []
    left = iter(words)
    for raw, col in left:
        match = _OPTION.fullmatch(raw)
        name = (match["long"] or match["short"]) if match else ""
        takes = takes_value(command, name) if match else None
        if match is None or (match["short"] and (takes is None or (not takes and match["rest"]))):
            args.append(_word(raw, col))
            continue
        value = match["value"] if match["long"] else (match["rest"] or None)
        if takes and value is None:
            value, _ = next(left, (None, 0))
        if takes and value is None:
            dashes = raw if match["short"] else f"--{name}"
            raise CommandError(f"{dashes} needs a value after it", code="bad-syntax", col=col)
        options.append(Option(name, None if value is None else unquote(value), col))
    return tuple(args), tuple(options)


def _word(raw: str, col: int) -> Word:
    text = unquote(raw)
    return Word(text, col, quoted=re.fullmatch(QUOTED, raw, re.DOTALL) is not None)
