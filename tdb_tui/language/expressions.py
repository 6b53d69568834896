"""Text -> the tree of an expression, or one sentence and the column of what is wrong."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from model.addresses import QUOTED
from tdb_tui.errors import did_you_mean
from tdb_tui.language.parsing import unquote
from tdb_tui.language.syntax import (
    BINDS,
    COMPARISONS,
    FUNCTIONS,
    NAMES,
    NOT,
    SIGN,
    Address,
    Apply,
    Base,
    Binary,
    Compare,
    Expr,
    ExpressionError,
    Name,
    Number,
    Signature,
    Text,
    Unary,
)

LONGEST = 200
"Words and signs of an expression; more could nest deeper than Python's stack."

_TOKEN = re.compile(
    rf"""\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    |(?P<name>\$?[^\W\d]\w*)
    |(?P<string>{QUOTED})
    |(?P<sign>\*\*|<=|>=|==|!=|.))?""",
    re.DOTALL | re.VERBOSE,
)
_ADDRESS = re.compile(
    rf"""\s*(?P<text>(?:(?<!\w)(?:{QUOTED})  # a token of the prompt
    |\{{[^}}]*\}}|\[[^\]]*\]  # several heads; a head as other tools write it
    |(?<=\w)'|[^,()"'])*)""",
    re.DOTALL | re.VERBOSE,
)
_NODE_LIKE = re.compile(r"L\d+(H\d+)?|(A|M|X|BA|BM)\d+|E|U|BU|WTE|WPE|[NF]\d+", re.IGNORECASE)
_INSTEAD = {"=": "'=='", "&": "'and'", "|": "'or'", "!": "'not'", "^": "'**'"}
_NEEDED = {"token": "a token", "pos": "a position", "node": "a node"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    "`number`, `name`, `string`, `sign`, or empty at the end."
    text: str
    col: int
    end: int


def parse_expression(
    text: str, names: Collection[str] = NAMES, functions: Mapping[str, Signature] = FUNCTIONS
) -> Expr:
    """The tree of `text`, such that `parse_expression(str(tree)) == tree`.  Raises ExpressionError.

    `names` and `functions` are those known where it will have its value; among `NAMES` are variables, `$x`.
    """
    if not text.strip():
        raise _error("expression is empty: write one, such as ld > 2 (h expressions)", 0)
    parser = _Parser(text, names, functions)
    tree = parser.expression()
    if (extra := parser.peek()).kind:
        closing = extra.text == ")"
        right = "no '(' is open before it" if closing else "put an operator such as + or < before it"
        raise parser.unexpected(extra, right)
    return tree


class _Parser:
    def __init__(self, text: str, names: Collection[str], functions: Mapping[str, Signature]) -> None:
        self.text, self.names, self.functions = text, names, functions
        self.at = 0
        self.count = 0
        self.last = _Token("", "", 0, 0)
        "The token taken last, for the message where the text ends too early."

    def peek(self) -> _Token:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup is None:
            return _Token("", "", len(self.text), len(self.text))
        return _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end())

    def take(self) -> _Token:
        token = self.peek()
        self.count += 1
        if self.count > LONGEST:
            raise _error(f"expression is too long: at most {LONGEST} words and signs", token.col)
        if token.kind:
            self.at, self.last = token.end, token
        return token

    def expression(self, least: int = 0) -> Expr:
        """Operands joined by operators that bind at least as tightly as `least`."""
        left = self.operand()
        while BINDS.get(op := self.peek().text, -1) >= least and self.peek().kind != "string":
            if op in COMPARISONS:
                left = Compare(left, self.comparisons())
                continue
            self.take()
            left = Binary(op, left, self.expression(SIGN if op == "**" else BINDS[op] + 1))
        return left

    def comparisons(self) -> tuple[tuple[str, Expr], ...]:
        chain: list[tuple[str, Expr]] = []
        while self.peek().text in COMPARISONS:
            op = self.take().text
            chain.append((op, self.expression(BINDS[op] + 1)))
        return tuple(chain)

    def operand(self) -> Expr:
        """What an operator applies to, its own signs before it."""
        token = self.take()
        match token.kind, token.text:
            case "number", text:
                return _number(token, float(text))
            case "string", text:
                return Text(unquote(text))
            case _, "not":
                return Unary("not", self.expression(NOT))
            case _, "-" | "+":
                return Unary(token.text, self.expression(SIGN))
            case _, "(":
                inner = self.expression()
                self.close()
                return inner
            case "name", text if text not in BINDS:
                return self.name(token)
            case "", _:
                raise self.too_early("a value after")
            case _:
                raise self.unexpected(token, "a value is missing before it")

    def name(self, token: _Token) -> Expr:
        name, called = token.text, self.peek().text == "("
        names, functions = self.names, self.functions
        if name in functions and called:
            return self.apply(token, functions[name])
        if name in functions:
            raise _error(f"{name!r} needs its argument: write {functions[name].usage}", token.col)
        if called:
            guess = _guess(name, functions) if name not in names else ": it takes no arguments"
            raise _error(f"{name!r} isn't a function{guess}", token.col)
        if name in names or (name.startswith("$") and names is NAMES):
            return Name(name)
        if names is not NAMES:
            raise _error(
                f"unknown column {name!r}{_guess(name, names) or ': ' + ', '.join(names)}", token.col
            )
        if _NODE_LIKE.fullmatch(name):
            right = f"write act({name}), norm({name}), direct({name}) or total({name})"
            raise _error(f"{name!r} is a node, not a value: {right}", token.col)
        guess = _guess(name, (*names, *functions))
        raise _error(f"unknown name {name!r} in expression{guess} (!{name} for Python)", token.col)

    def apply(self, name: _Token, signature: Signature) -> Expr:
        self.take()
        args: list[Expr] = []
        while not args or self.peek().text == ",":
            if args:
                self.take()
            if len(args) == len(signature.kinds) and not signature.more:
                raise _error(f"too many arguments: write {signature.usage}", self.peek().col)
            args.append(self.argument(signature.kinds[min(len(args), len(signature.kinds) - 1)], signature))
        self.close()
        if len(args) < signature.least:
            raise _error(f"too few arguments: write {signature.usage}", name.col)
        return Base(args[0]) if name.text == "base" else Apply(name.text, tuple(args))

    def argument(self, kind: str, signature: Signature) -> Expr:
        """Nodes and positions stay text, for the scope to resolve; a token may be a bare word."""
        token = self.peek()
        if not token.kind:
            raise self.too_early("an argument after")
        if token.text == ")":
            raise _error(f"too few arguments: write {signature.usage}", token.col)
        variable = kind != "node" and token.text.startswith("$")
        if kind == "value" or variable or (kind, token.text) == ("pos", "pos"):
            return self.expression()
        if kind == "token" and (token.kind == "string" or self.text[token.end : token.end + 1] == "("):
            return self.expression()
        return self.address(kind)

    def address(self, kind: str) -> Expr:
        match = _ADDRESS.match(self.text, self.at)
        text = match["text"].rstrip() if match else ""
        if match is None or not text:
            raise self.unexpected(self.peek(), f"{_NEEDED[kind]} is missing before it")
        self.last = _Token("address", text, match.start("text"), match.start("text") + len(text))
        self.at = match.end()
        return Text(text) if kind == "token" else Address(text)

    def close(self) -> None:
        token = self.take()
        if not token.kind:
            shown = self.text.rstrip()
            raise _error(f"expression ends too early: {shown.lstrip()!r} needs ')'", len(shown))
        if token.text != ")":
            raise self.unexpected(token, "put an operator, ',' or ')' before it")

    def too_early(self, what: str) -> ExpressionError:
        shown, last = self.text.strip(), self.last
        return _error(f"expression ends too early: {shown!r} needs {what} {last.text!r}", last.col)

    def unexpected(self, token: _Token, right: str) -> ExpressionError:
        if token.text in ('"', "'"):
            rest = self.text[token.col :]
            return _error(f"unclosed quote: {rest} needs a {token.text} at its end", token.col)
        if token.text in _INSTEAD:
            right = f"write {_INSTEAD[token.text]}"
        return _error(f"unexpected {token.text!r}: {right}", token.col)


def _number(token: _Token, value: float) -> Number:
    if math.isinf(value):
        raise _error(f"{token.text} is too large a number", token.col)
    return Number(value)


def _guess(name: str, known: Collection[str]) -> str:
    """The known name that looks most like this one, else the only one that begins like it."""
    alike = [other for other in known if other[0] == name[0]]
    return did_you_mean(name, known) or (f": did you mean {alike[0]!r}?" if len(alike) == 1 else "")


def _error(message: str, col: int) -> ExpressionError:
    return ExpressionError(message, code="bad-expression", col=col)
