"""Expressions print as what they parse to, mean what they mean in Python, and fail in one sentence."""

import math
import re
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdb_tui.errors import CommandError
from tdb_tui.language.evaluation import NodeText, Value, evaluate
from tdb_tui.language.expressions import parse_expression
from tdb_tui.language.syntax import (
    COMPARISONS,
    FUNCTIONS,
    NAMES,
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

VALUES: dict[str, Value] = {
    "ld": 1.5, "dld": -0.25, "final": 3.0, "line": 19, "kind": "attn", "layer": 9, "pos": 14, "$x": 2.0,
}  # fmt: skip


@dataclass(frozen=True)
class Fixed:
    """A scope in which every name has a known value; the baseline's ld is 10, and calls are kept."""

    values: dict[str, Value] = field(default_factory=lambda: VALUES)
    calls: list[tuple[str, tuple[Value, ...]]] = field(default_factory=list)

    def name(self, name: str, /) -> Value:
        return self.values[name]

    def call(self, function: str, args: tuple[Value, ...], /) -> Value:
        self.calls.append((function, args))
        return 1.0

    def baseline(self) -> "Fixed":
        return replace(self, values={**self.values, "ld": 10.0})


def value(text: str) -> Value:
    return evaluate(parse_expression(text), Fixed())


numbers = st.floats(0, allow_nan=False, allow_infinity=False).map(lambda x: Number(abs(x)))
strings = st.text(st.characters(exclude_categories=["Cs"])).map(Text)
names = st.sampled_from((*NAMES, "$x", "$_rank")).map(Name)
nodes = st.sampled_from(["L9H9", 'L9H{6,9}@END<" a,(b"', "$nm", ".", "attn[9.9][14,2]", "resid"]).map(Address)
positions = st.sampled_from(["14", "-1", "END", "Mary", '" Mary"', "John#2"]).map(Address)
ARGUMENTS = {"token": strings, "node": nodes, "pos": positions | st.just(Name("pos"))}


def applications(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    def of(function: str) -> st.SearchStrategy[Expr]:
        if function == "base":
            return inner.map(Base)
        args = (ARGUMENTS.get(kind, inner) for kind in FUNCTIONS[function].kinds)
        return st.tuples(*args).map(lambda args: Apply(function, args))

    return st.sampled_from(sorted(FUNCTIONS)).flatmap(of)


def compounds(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    pairs = st.tuples(st.sampled_from(COMPARISONS), inner)
    return (
        applications(inner)
        | st.builds(Unary, st.sampled_from(["-", "+", "not"]), inner)
        | st.builds(Binary, st.sampled_from(["or", "and", "+", "-", "*", "/", "**"]), inner, inner)
        | st.builds(Compare, inner, st.lists(pairs, min_size=1, max_size=3).map(tuple))
    )


expressions: st.SearchStrategy[Expr] = st.recursive(numbers | strings | names, compounds, max_leaves=12)


@given(expressions)
def test_what_an_expression_prints_parses_to_it(expr: Expr) -> None:
    assert parse_expression(str(expr)) == expr


plain_values = st.sampled_from([Number(0.0), Number(2.0), Number(0.5), Name("ld"), Name("dld")])
arithmetic = st.recursive(
    plain_values,
    lambda inner: (
        st.builds(Unary, st.sampled_from(["-", "+"]), inner)
        | st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "**"]), inner, inner)
    ),
    max_leaves=8,
)
chains = st.builds(
    Compare,
    arithmetic,
    st.lists(st.tuples(st.sampled_from(COMPARISONS), arithmetic), min_size=1, max_size=3).map(tuple),
)
logic = st.recursive(
    chains,
    lambda inner: (
        st.builds(Unary, st.just("not"), inner)
        | st.builds(Binary, st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=4,
)


@given(arithmetic | logic)
def test_operators_mean_what_they_mean_in_python(expr: Expr) -> None:
    floats = {name: float(x) for name, x in VALUES.items() if name in ("ld", "dld")}
    try:
        expected = eval(_with_floats(str(expr)), floats)
    except (ZeroDivisionError, OverflowError, TypeError):  # the last for an order of complex numbers
        with pytest.raises(ExpressionError):
            evaluate(expr, Fixed())
        return
    if isinstance(expected, complex):
        with pytest.raises(ExpressionError, match="no real value"):
            evaluate(expr, Fixed())
        return
    try:
        found = evaluate(expr, Fixed())
    except ExpressionError as error:  # Python went on with a complex number
        assert "no real value" in error.message
        return
    assert found == expected or (math.isnan(float(found)) and math.isnan(expected))


def _with_floats(text: str) -> str:
    """Whole numbers of any size would let `2 ** 2 ** 2 ** 2 ** 2 ** 2` run for ever."""
    return re.sub(r"(?<![\w.])(\d+)(?![\w.])", r"\1.0", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ld", 1.5),
        ("-2 ** 2", -4.0),
        ("2 ** 3 ** 2", 512.0),
        ("2 ** -1", 0.5),
        ("1 - 2 - 3", -4.0),
        ("12 / 2 / 3", 2.0),
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("0 < ld <= 1.5", True),
        ("0 < ld < 1", False),
        ("0 > ld > 1 / 0", False),
        ("ld > 0 or 1 / 0 > 1", True),
        ("not ld > 2 and kind == 'attn'", True),
        ('kind != "mlp"', True),
        ("base(ld) - ld", 8.5),
        ("base(base(ld) + ld)", 20.0),
        ("abs(dld) + min(3, ld, 2) + max(ld, final)", 4.75),
        ("$x * .5 + 1e1", 11.0),
        ("line", 19),
    ],
)
def test_an_expression_has_the_value_it_would_have_in_python(text: str, expected: Value) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "function", "args"),
    [
        ("rank(Mary)", "rank", ("Mary",)),
        ("logit(' Mary')", "logit", (" Mary",)),
        ("p($x)", "p", (2,)),
        ("top(1 + 1)", "top", (2,)),
        ("attn(END, ' Mary')", "attn", ("END", "' Mary'")),
        ("attn(pos, pos - 1, L9H9)", "attn", (14, 13, "L9H9")),
        ("act(L9H{6,9}@END<Mary)", "act", ("L9H{6,9}@END<Mary",)),
        ("norm(resid)", "norm", ("resid",)),
        ("cos( L9H9@END , M10 )", "cos", ("L9H9@END", "M10")),
    ],
)
def test_a_function_is_given_tokens_positions_nodes_and_values(
    text: str, function: str, args: tuple[Value, ...]
) -> None:
    scope = Fixed()
    evaluate(parse_expression(text), scope)
    assert scope.calls == [(function, args)]
    for kind, arg in zip(FUNCTIONS[function].kinds, scope.calls[0][1], strict=False):
        assert isinstance(arg, NodeText) == (isinstance(arg, str) and kind in ("node", "pos"))


def test_a_token_may_be_what_a_function_returns() -> None:
    scope = Fixed()
    evaluate(parse_expression("rank(top(1))"), scope)
    assert [function for function, _ in scope.calls] == ["top", "rank"]


@pytest.mark.parametrize(
    ("text", "message", "col"),
    [
        ("ld +", "expression ends too early: 'ld +' needs a value after '+'", 3),
        ("ld > 0 and ", "expression ends too early: 'ld > 0 and' needs a value after 'and'", 7),
        ("(ld", "expression ends too early: '(ld' needs ')'", 3),
        ("rank(", "expression ends too early: 'rank(' needs an argument after '('", 4),
        ("foo", "unknown name 'foo' in expression: did you mean 'final'? (!foo for Python)", 0),
        ("ld > lin", "unknown name 'lin' in expression: did you mean 'line'? (!lin for Python)", 5),
        ("zzz", "unknown name 'zzz' in expression (!zzz for Python)", 0),
        ("  ", "expression is empty: write one, such as ld > 2 (h expressions)", 0),
        (
            "1 + L9H9@END",
            "'L9H9' is a node, not a value: write act(L9H9), norm(L9H9), direct(L9H9) or total(L9H9)",
            4,
        ),
        ("rank > 1", "'rank' needs its argument: write rank(TOKEN)", 0),
        ("rank()", "too few arguments: write rank(TOKEN)", 5),
        ("cos(L9H9)", "too few arguments: write cos(NODE, NODE)", 0),
        ("rank(a, b)", "too many arguments: write rank(TOKEN)", 8),
        ("ld(3)", "'ld' isn't a function: it takes no arguments", 0),
        ("1 + ranks(3)", "'ranks' isn't a function: did you mean 'rank'?", 4),
        ("ld = 3", "unexpected '=': write '=='", 3),
        ("ld > 1 & ld < 2", "unexpected '&': write 'and'", 7),
        ("ld ld", "unexpected 'ld': put an operator such as + or < before it", 3),
        ("ld)", "unexpected ')': no '(' is open before it", 2),
        ("1 + * 2", "unexpected '*': a value is missing before it", 4),
        ("act(, L9H9)", "unexpected ',': a node is missing before it", 4),
        ("kind == 'attn", "unclosed quote: 'attn needs a ' at its end", 8),
        ("1e999", "1e999 is too large a number", 0),
    ],
)
def test_an_expression_that_cannot_be_read_says_why_and_where(text: str, message: str, col: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert (caught.value.message, caught.value.col) == (message, col)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ld / (ld - 1.5)", "division by zero: ld / (ld - 1.5) has no value"),
        ("0 ** -1", "division by zero: 0 ** -1 has no value"),
        ("(-1) ** 0.5", "(-1) ** 0.5 has no real value: -1 is negative"),
        ("10 ** 10 ** 10", "10 ** 10 ** 10 is too large a number"),
        ("kind + 1", "'+' needs a number: kind is text"),
        ("-(ld > 1)", "'-' needs a number: ld > 1 is true or false"),
        ("max(1, kind)", "'max' needs a number: kind is text"),
        ("kind < 'b'", "'<' compares numbers: kind is text"),
        ("kind == 9", "'==' compares like with like: kind is text and 9 is a number"),
        ("not ld", "'not' needs true or false: ld is a number"),
        ("ld > 1 and 1", "'and' needs true or false: 1 is a number"),
        ("$y", "no variable $y: give it a value with 'set $y VALUE'"),
    ],
)
def test_an_expression_without_a_value_says_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(text)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["(" * 5000 + "1", "-" * 5000 + "1", "1" + "+1" * 5000, "2**" * 5000 + "1"])
def test_an_expression_too_long_for_the_stack_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="too long"):
        parse_expression(text)


@pytest.mark.parametrize(
    "text", ["(" * 99 + "1" + ")" * 99, "-" * 199 + "1", "1" + "+1" * 99, "2**" * 80 + "1"]
)
def test_an_expression_of_the_greatest_length_is_read_printed_and_evaluated(text: str) -> None:
    expr = parse_expression(text)
    assert parse_expression(str(expr)) == expr
    if "**" not in text:
        evaluate(expr, Fixed())


@given(st.text("ldrank(),+-*/<=>!&'\"$ L9H@.{}[]0e", max_size=30))
def test_any_text_is_an_expression_or_one_sentence(text: str) -> None:
    try:
        expr = parse_expression(text)
    except CommandError as error:
        assert error.col is not None and 0 <= error.col <= len(text)
        assert not error.message.endswith(".")
    else:
        assert parse_expression(str(expr)) == expr
