"""`where`: an expression over the columns of a table, its truth found for all rows at once.

The language is that of `p` and conditions with columns for names.  A row is kept where the expression is true; one
for which it has no value (not measured, no layer, a division by zero) is not.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdb_tui.language.expressions import parse_expression
from tdb_tui.language.syntax import (
    FUNCTIONS,
    Apply,
    Binary,
    Compare,
    Expr,
    ExpressionError,
    Name,
    Number,
    Text,
    Unary,
)

COLUMNS = (
    "total", "direct", "measured", "patched", "norm", "act", "attn", "layer", "index", "pos", "key", "kind", "count",
)  # fmt: skip
OWN = {name: FUNCTIONS[name] for name in ("abs", "min", "max")}

Bools = NDArray[np.bool_]
Array = NDArray[Any]
"Of float64, bool or str."

_ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_COMPARED: Mapping[str, Callable[[Array, Array], Bools]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One value a row, all numbers, all truths or all texts."""

    values: Array
    known: Bools | np.bool_ = np.True_
    "Where there is a value."


def parse_filter(text: str) -> Expr:
    """Raises ExpressionError, with the column, for what cannot be read, and for what is neither true nor false."""
    expr = parse_expression(text, COLUMNS, OWN)
    nothing = {name: np.zeros(0, dtype=np.str_ if name == "kind" else np.float64) for name in COLUMNS}
    matching(expr, nothing)
    return expr


def names_in(expr: Expr) -> set[str]:
    """The columns that an expression reads."""
    match expr:
        case Name(name):
            return {name}
        case Apply(_, args):
            return set[str]().union(*map(names_in, args))
        case Unary(_, operand):
            return names_in(operand)
        case Binary(_, left, right):
            return names_in(left) | names_in(right)
        case Compare(first, rest):
            return names_in(first).union(*(names_in(right) for _, right in rest))
        case _:
            return set()


def matching(expr: Expr, columns: Mapping[str, Array]) -> Bools:
    """Of which rows it is true: [row].  Numbers that are NaN are not known.  Raises ExpressionError for types."""
    with np.errstate(all="ignore"):
        found = _truth(expr, columns, "where")
    rows = len(next(iter(columns.values())))
    return np.broadcast_to(found.values & found.known, (rows,)).astype(bool)


def _evaluated(expr: Expr, columns: Mapping[str, Array]) -> Column:
    match expr:
        case Number(value):
            return Column(np.array(value))
        case Text(value):
            return Column(np.array(value, dtype=np.str_))
        case Name(name):
            values = columns[name]
            return Column(values, ~np.isnan(values) if values.dtype.kind == "f" else np.True_)
        case Apply(function, args):
            return _applied(function, [_number(arg, columns, function) for arg in args])
        case Unary("not", operand):
            found = _truth(operand, columns, "not")
            return Column(~found.values, found.known)
        case Unary(op, operand):
            found = _number(operand, columns, op)
            return Column(-found.values if op == "-" else found.values, found.known)
        case Binary("and" | "or" as op, left, right):
            return _joined(op, _truth(left, columns, op), _truth(right, columns, op))
        case Binary(op, left, right):
            return _arithmetic(op, _number(left, columns, op), _number(right, columns, op))
        case Compare():
            return _holds(expr, columns)
        case _:
            raise ExpressionError(f"{expr} is no column: {', '.join(COLUMNS)}", code="bad-expression")


def _applied(function: str, args: Sequence[Column]) -> Column:
    values = [arg.values for arg in args]
    if function == "abs":
        return Column(np.abs(values[0]), args[0].known)
    known = np.logical_and.reduce(np.broadcast_arrays(*(arg.known for arg in args)))
    chosen = np.broadcast_arrays(*values)
    return Column(np.minimum.reduce(chosen) if function == "min" else np.maximum.reduce(chosen), known)


def _joined(op: str, left: Column, right: Column) -> Column:
    """Left to right: what the left side settles needs no right side."""
    if op == "and":
        return Column(left.values & right.values, left.known & (~left.values | right.known))
    return Column(left.values | right.values, left.known & (left.values | right.known))


def _arithmetic(op: str, left: Column, right: Column) -> Column:
    known, values = left.known & right.known, _ARITHMETIC[op](left.values, right.values)
    if op == "/":
        known = known & (right.values != 0)
    if op == "**":
        known = known & np.isfinite(values)
    return Column(values, known)


def _holds(expr: Compare, columns: Mapping[str, Array]) -> Column:
    """A chain, as neighbouring pairs joined by `and`."""
    left, value = expr.first, _evaluated(expr.first, columns)
    found: Column | None = None
    for op, right in expr.rest:
        other = _evaluated(right, columns)
        _comparable(op, (left, value), (right, other))
        pair = Column(_COMPARED[op](value.values, other.values), value.known & other.known)
        found = pair if found is None else _joined("and", found, pair)
        left, value = right, other
    assert found is not None  # the parser makes no chain of one
    return found


def _comparable(op: str, left: tuple[Expr, Column], right: tuple[Expr, Column]) -> None:
    sorts = [_sort(column) for _, column in (left, right)]
    if op in ("==", "!="):
        if sorts[0] != sorts[1]:
            said = f"{left[0]} is {sorts[0]} and {right[0]} is {sorts[1]}"
            raise ExpressionError(f"{op!r} compares like with like: {said}", code="bad-expression")
        return
    for (expr, _), sort in zip((left, right), sorts, strict=True):
        if sort != "a number":
            raise ExpressionError(f"{op!r} compares numbers: {expr} is {sort}", code="bad-expression")


def _number(expr: Expr, columns: Mapping[str, Array], user: str) -> Column:
    return _of_sort("a number", expr, columns, user)


def _truth(expr: Expr, columns: Mapping[str, Array], user: str) -> Column:
    return _of_sort("true or false", expr, columns, user)


def _of_sort(sort: str, expr: Expr, columns: Mapping[str, Array], user: str) -> Column:
    found = _evaluated(expr, columns)
    if _sort(found) != sort:
        raise ExpressionError(f"{user!r} needs {sort}: {expr} is {_sort(found)}", code="bad-expression")
    return found


def _sort(column: Column) -> str:
    return {"f": "a number", "b": "true or false"}.get(column.values.dtype.kind, "text")
