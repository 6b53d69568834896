"""The little language of `p`, `display`, `watch` and conditions: its tree, whose `str` parses back to it.

Closed, so that a script from elsewhere is safe to run: no attribute, no assignment, no name but those below.
Operators, their precedence and chained comparisons are Python's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tdb_tui.errors import CommandError
from tdb_tui.language.parsing import quote

NAMES = ("ld", "dld", "final", "line", "kind", "layer", "pos")


@dataclass(frozen=True, slots=True)
class Signature:
    usage: str
    kinds: tuple[str, ...]
    "What each argument is: a `token`, a `pos`, a `node` or a `value`."
    least: int = 1
    more: bool = False
    "Whether the last one may be followed by others like it."


FUNCTIONS: Mapping[str, Signature] = {
    "p": Signature("p(TOKEN)", ("token",)),
    "logit": Signature("logit(TOKEN)", ("token",)),
    "rank": Signature("rank(TOKEN)", ("token",)),
    "top": Signature("top(N)", ("value",)),
    "attn": Signature("attn(QUERY, KEY[, HEAD])", ("pos", "pos", "node"), least=2),
    "act": Signature("act(NODE)", ("node",)),
    "norm": Signature("norm(NODE) or norm(resid)", ("node",)),
    "direct": Signature("direct(NODE)", ("node",)),
    "total": Signature("total(NODE)", ("node",)),
    "cos": Signature("cos(NODE, NODE)", ("node", "node"), least=2),
    "base": Signature("base(X)", ("value",)),
    "abs": Signature("abs(X)", ("value",)),
    "min": Signature("min(X, ...)", ("value",), more=True),
    "max": Signature("max(X, ...)", ("value",), more=True),
}

COMPARISONS = ("<", "<=", "==", "!=", ">", ">=")
BINDS: Mapping[str, int] = {
    "or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "**": 8,
}  # fmt: skip
"How tightly an operator holds its operands."
NOT, SIGN, LEAF = 3, 7, 9


class ExpressionError(CommandError):
    """An expression that cannot be read or has no value; `col` counts from its own beginning."""


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    "Never negative: a minus is an operator."

    def __str__(self) -> str:
        return str(int(self.value)) if self.value.is_integer() and self.value < 1e15 else repr(self.value)


@dataclass(frozen=True, slots=True)
class Text:
    value: str

    def __str__(self) -> str:
        return quote(self.value)


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    "One of `NAMES`, or a variable with its `$`."

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Address:
    """A node or a position as typed, for the scope to resolve."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Apply:
    function: str
    args: tuple["Expr", ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.args))})"


@dataclass(frozen=True, slots=True)
class Base:
    """Its operand in the run without interventions."""

    operand: "Expr"

    def __str__(self) -> str:
        return f"base({self.operand})"


@dataclass(frozen=True, slots=True)
class Unary:
    op: str
    "`-`, `+` or `not`."
    operand: "Expr"

    def __str__(self) -> str:
        return f"{self.op}{' ' if self.op == 'not' else ''}{_within(self.operand, _precedence(self))}"


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    left: "Expr"
    right: "Expr"

    def __str__(self) -> str:
        binds = BINDS[self.op]
        # `**` groups to the right and takes a sign there, but none on its left: -2 ** 2 is -(2 ** 2).
        left, right = (LEAF, SIGN) if self.op == "**" else (binds, binds + 1)
        return f"{_within(self.left, left)} {self.op} {_within(self.right, right)}"


@dataclass(frozen=True, slots=True)
class Compare:
    """A chain: `0 < ld <= 2` holds where each neighbouring pair does."""

    first: "Expr"
    rest: tuple[tuple[str, "Expr"], ...]

    def __str__(self) -> str:
        tighter = _precedence(self) + 1
        return _within(self.first, tighter) + "".join(f" {op} {_within(x, tighter)}" for op, x in self.rest)


Expr = Number | Text | Name | Address | Apply | Base | Unary | Binary | Compare


def _precedence(expr: Expr) -> int:
    match expr:
        case Binary(op):
            return BINDS[op]
        case Compare():
            return BINDS["<"]
        case Unary(op):
            return NOT if op == "not" else SIGN
        case _:
            return LEAF


def _within(expr: Expr, least: int) -> str:
    """In parentheses where it holds its parts less tightly than its place demands."""
    return str(expr) if _precedence(expr) >= least else f"({expr})"
