"""The value of an expression in a scope.  The scope knows the run; here are operators and their types."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tdb_tui.language.syntax import (
    Address,
    Apply,
    Base,
    Binary,
    Compare,
    Expr,
    ExpressionError,
    Name,
    Number,
    Text,
    Unary,
)

Value = float | bool | str


class NodeText(str):
    """A node or a position as typed, for the scope to resolve."""


class Scope(Protocol):
    def name(self, name: str, /) -> Value:
        """What a name or a `$variable` stands for.  Raises KeyError where there is none."""
        ...

    def call(self, function: str, args: tuple[Value, ...], /) -> Value:
        """A function of the run; nodes and positions come as NodeText.  Raises CommandError."""
        ...

    def baseline(self) -> "Scope":
        """The same place in the run without interventions."""
        ...


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OWN: Mapping[str, Callable[[Sequence[float]], float]] = {
    "abs": lambda values: abs(values[0]),
    "min": min,
    "max": max,
}


def evaluate(expr: Expr, scope: Scope) -> Value:
    """Raises ExpressionError where types do not fit or there is no number for an answer."""
    match expr:
        case Number(value) | Text(value):
            return value
        case Address(text):
            return NodeText(text)
        case Name(name):
            return _named(name, scope)
        case Base(operand):
            return evaluate(operand, scope.baseline())
        case Apply(function, args) if function in _OWN:
            return _OWN[function]([_number(arg, scope, function) for arg in args])
        case Apply(function, args):
            return scope.call(function, tuple(_whole(evaluate(arg, scope)) for arg in args))
        case Unary("not", operand):
            return not _truth(operand, scope, "not")
        case Unary(op, operand):
            value = _number(operand, scope, op)
            return -value if op == "-" else value
        case Binary("and", left, right):
            return _truth(left, scope, "and") and _truth(right, scope, "and")
        case Binary("or", left, right):
            return _truth(left, scope, "or") or _truth(right, scope, "or")
        case Binary():
            return _arithmetic(expr, scope)
        case Compare():
            return _holds(expr, scope)


def _named(name: str, scope: Scope) -> Value:
    try:
        return scope.name(name)
    except KeyError:
        raise _error(f"no variable {name}: give it a value with 'set {name} VALUE'") from None


def _whole(value: Value) -> Value:
    """Positions and ranks are whole numbers, though arithmetic is not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _arithmetic(expr: Binary, scope: Scope) -> float:
    # In floats throughout: 10 ** 10 ** 10 in whole numbers would run for hours.
    left, right = (float(_number(side, scope, expr.op)) for side in (expr.left, expr.right))
    try:
        value = _ARITHMETIC[expr.op](left, right)
    except ZeroDivisionError:
        raise _error(f"division by zero: {expr} has no value") from None
    except OverflowError:
        raise _error(f"{expr} is too large a number") from None
    if isinstance(value, complex):
        raise _error(f"{expr} has no real value: {left:g} is negative")
    return value


def _holds(expr: Compare, scope: Scope) -> bool:
    """Left to right, and no further than the first pair that fails."""
    left = expr.first
    value = evaluate(left, scope)
    for op, right in expr.rest:
        other = evaluate(right, scope)
        if not _compared(op, (left, value), (right, other)):
            return False
        left, value = right, other
    return True


def _compared(op: str, left: tuple[Expr, Value], right: tuple[Expr, Value]) -> bool:
    a, b = left[1], right[1]
    if op in _ORDER:
        for side, value in (left, right):
            if isinstance(value, bool | str):
                raise _error(f"{op!r} compares numbers: {side} is {_sort(value)}")
        return _ORDER[op](float(a), float(b))
    if _sort(a) != _sort(b):
        raise _error(f"{op!r} compares like with like: {left[0]} is {_sort(a)} and {right[0]} is {_sort(b)}")
    return a == b if op == "==" else a != b


def _number(expr: Expr, scope: Scope, user: str) -> float:
    value = evaluate(expr, scope)
    if isinstance(value, bool | str):
        raise _error(f"{user!r} needs a number: {expr} is {_sort(value)}")
    return value


def _truth(expr: Expr, scope: Scope, user: str) -> bool:
    value = evaluate(expr, scope)
    if not isinstance(value, bool):
        raise _error(f"{user!r} needs true or false: {expr} is {_sort(value)}")
    return value


def _sort(value: Value) -> str:
    match value:
        case bool():
            return "true or false"
        case str():
            return "text"
        case _:
            return "a number"


def _error(message: str) -> ExpressionError:
    return ExpressionError(message, code="bad-expression")
