"""What the names of an expression mean at a place of the pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from model.components import Kind, Node
from model.effects.writes import Effects, effects_of, write_of
from model.lens import residuals
from model.tokenizer import Tokenizer
from tdb_tui import lines
from tdb_tui.asked import Asked
from tdb_tui.errors import CommandError
from tdb_tui.formats import plain
from tdb_tui.language.arguments import one_node, position_of
from tdb_tui.language.evaluation import NodeText, Value, evaluate
from tdb_tui.language.expressions import parse_expression
from tdb_tui.language.parsing import Word, quote
from tdb_tui.language.syntax import (
    FUNCTIONS,
    Address,
    Apply,
    Base,
    Binary,
    Compare,
    Expr,
    ExpressionError,
    Text,
    Unary,
)
from tdb_tui.opened import Inside
from tdb_tui.readings import Reading
from tdb_tui.session import Snapshot
from tdb_tui.state import Place, Stop
from tdb_tui.tables.ranking import letters_of
from tdb_tui.texts import resolve_tokens


class TokenText(str):
    """A token's text that remembers its token: a lone byte has no text that could be typed."""

    id: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, token: int) -> "TokenText":
        text = cls(tokenizer.text(token))
        text.id = token
        return text


@dataclass(frozen=True, slots=True, eq=False)
class PassScope:
    """The recorded pass up to `place`, read at the token cursor."""

    snapshot: Snapshot
    place: Place
    reading: Reading

    def name(self, name: str) -> Value:
        """A bare name, `ld dld final line kind layer pos`, or a variable, `$x`.  Raises KeyError for others."""
        n_layer = self.snapshot.n_layer
        line = min(self.place.line, lines.count(n_layer) - 1)
        match name:
            case "ld":
                return lens_so_far(self.snapshot, self.place, self.asked)
            case "dld":
                return last_delta(self.snapshot, self.place, self.asked)
            case "final":
                return self.reading.value
            case "line":
                return self.place.line
            case "kind":
                return lines.word(line, n_layer)
            case "layer":
                return lines.component(line, n_layer).layer
            case "pos":
                return self.pos
            case _:
                return self.snapshot.state.variables[name]

    def call(self, function: str, args: tuple[Value | NodeText, ...]) -> Value:
        functions: Mapping[str, Callable[..., Value]] = {
            "p": lambda token: float(_softmax(self.logits)[self.token(token)]),
            "logit": lambda token: float(self.logits[self.token(token)]),
            "rank": lambda token: int((self.logits > self.logits[self.token(token)]).sum()) + 1,
            "top": self.top,
            "attn": self.attention,
            "act": lambda node: measures(self.reading, self.node(node)).act,
            "norm": self.norm,
            "direct": lambda node: measures(self.reading, self.node(node)).direct,
            "total": lambda node: measures(self.reading, self.node(node)).total,
            "cos": lambda a, b: cosine(self.reading, self.node(a), self.node(b)),
        }
        return functions[function](*args)

    def baseline(self) -> "PassScope":
        return replace(self, reading=self.snapshot.base)

    @property
    def asked(self) -> Asked:
        """What the selected frame asks of the run."""
        return self.reading.asked(self.snapshot.state.trail)

    @property
    def pos(self) -> int:
        return self.snapshot.state.pos

    @property
    def logits(self) -> NDArray[np.float64]:
        """Logits at the token cursor, through the lens, after what has been executed: [vocab]."""
        after = residuals(self.reading.trace, self.snapshot.n_layer, self.pos)
        executed = self.place.line - 1
        resid = torch.zeros_like(after[0]) if executed < 0 else after[executed]
        return self.reading.lens_logits(resid, self.pos)

    def top(self, place: Value | NodeText) -> str:
        """The token in that place, 1 the most likely."""
        logits = self.logits
        if isinstance(place, bool) or not isinstance(place, int) or not 1 <= place <= len(logits):
            raise CommandError(f"top takes a place from 1 to {len(logits)}: top(1)", code="bad-expression")
        return TokenText.of(self.snapshot.tokenizer, int(np.argsort(-logits, kind="stable")[place - 1]))

    def token(self, word: Value | NodeText) -> int:
        if isinstance(word, TokenText):
            return word.id
        ids, _ = resolve_tokens(
            self.snapshot.tokenizer, [str(word)], "token", self.snapshot.state.inputs.prompt.text
        )
        return ids[0]

    def node(self, text: Value | NodeText) -> Node:
        return one_node(self.snapshot, Word(str(text), 0, False))

    def norm(self, what: Value | NodeText) -> float:
        """Norm of a node's write, or of the residual stream so far (`norm(resid)`)."""
        if str(what) == "resid":
            after = residuals(self.reading.trace, self.snapshot.n_layer, self.pos)
            executed = self.place.line - 1
            return 0.0 if executed < 0 else float(after[executed].double().norm())
        return measures(self.reading, self.node(what)).write_norm

    def attention(
        self, query: Value | NodeText, key: Value | NodeText, head: Value | NodeText | None = None
    ) -> float:
        """A head's weight from `query` to `key`; the head shown, where none is named."""
        part = self.snapshot.state.head if head is None else self.node(head).component
        if part.kind is not Kind.HEAD:
            raise CommandError(f"{part} has no attention pattern: name a head, as in L0H1", code="bad-node")
        at, to = (position_of(self.snapshot, str(word)) for word in (query, key))
        return float(self.reading.pattern(part)[at, to])


def opened(snapshot: Snapshot, line: int, asked: Asked | None = None) -> Inside:
    """The rows of an attention or MLP line at the token cursor, of latents where they are swapped in."""
    asked = snapshot.asked if asked is None else asked
    return asked.inside(line, snapshot.state.pos, letters=frozenset(letters_of(snapshot.state.rank.latents)))


def lens_so_far(snapshot: Snapshot, place: Place, asked: Asked | None = None) -> float:
    """The metric through the lens after what has been executed; 0 before anything has."""
    asked = snapshot.asked if asked is None else asked
    if place.inside:
        values = opened(snapshot, place.line, asked).value
        return float(values[min(place.inside, len(values)) - 1])  # without edits fewer latents may be active
    return 0.0 if place.line == 0 else float(asked.through_lens(snapshot.state.pos)[place.line - 1])


def last_delta(snapshot: Snapshot, place: Place, asked: Asked | None = None) -> float:
    """What the line or row just executed added; 0 before anything has been."""
    asked = snapshot.asked if asked is None else asked
    if place.inside:
        deltas = opened(snapshot, place.line, asked).delta
        return float(deltas[min(place.inside, len(deltas)) - 1])
    return 0.0 if place.line == 0 else float(asked.deltas(snapshot.state.pos)[place.line - 1])


def value_of(snapshot: Snapshot, expression: str, place: Place | None = None) -> Value:
    """An expression's value at `place`, where the pass stands by default.  Raises CommandError."""
    scope = PassScope(snapshot, place or snapshot.state.place, snapshot.now)
    return evaluate(parse_expression(expression), scope)


def typed_value(snapshot: Snapshot, typed: Word) -> Value:
    """The value of an expression as typed; a complaint points into the line.  Raises CommandError."""
    text = quote(typed.text) if typed.quoted else typed.text
    try:
        return value_of(snapshot, text)
    except ExpressionError as error:
        raise CommandError(error.message, error.code, error.hint, typed.col + (error.col or 0)) from None
    except CommandError as error:
        bad = blamed(PassScope(snapshot, snapshot.state.place, snapshot.now), parse_expression(text))
        raise CommandError(
            error.message, error.code, error.hint, typed.col + max(text.find(bad), 0)
        ) from None


def blamed(scope: PassScope, expr: Expr) -> str:
    """The node, position or token of an expression that this run does not have, as typed; empty where it has all."""
    match expr:
        case Apply(function, args) if function in FUNCTIONS:
            kinds = FUNCTIONS[function].kinds
            found = (_blamed_as(scope, kinds[min(n, len(kinds) - 1)], arg) for n, arg in enumerate(args))
        case Base(operand) | Unary(_, operand):
            found = iter([blamed(scope, operand)])
        case Binary(_, left, right):
            found = (blamed(scope, side) for side in (left, right))
        case Compare(first, rest):
            found = (blamed(scope, side) for side in (first, *(side for _, side in rest)))
        case _:
            found = iter(())
    return next(filter(None, found), "")


def _blamed_as(scope: PassScope, kind: str, arg: Expr) -> str:
    reads: Mapping[str, Callable[[str], object]] = {
        "token": scope.token,
        "pos": lambda text: position_of(scope.snapshot, text),
        "node": lambda text: text == "resid" or scope.node(text),
    }
    text = arg.text if isinstance(arg, Address) else arg.value if isinstance(arg, Text) else None
    if text is None or kind not in reads:
        return blamed(scope, arg)
    try:
        reads[kind](text)
    except CommandError:
        return text
    return ""


def truth(snapshot: Snapshot, expression: str, place: Place) -> bool:
    return bool(value_of(snapshot, expression, place))


def watched(snapshot: Snapshot, stop: Stop, line: int) -> str | None:
    """What the line before `line` did to a watched expression, or None where that is no news."""
    before, after = (value_of(snapshot, stop.expression, Place(at)) for at in (line - 1, line))
    if not _news(before, after, stop.by):
        return None
    made = f"{lines.name(line - 1, snapshot.n_layer)} made {stop.expression} {shown(after)} (was {shown(before)})"
    return f"watch {stop.number} hit: {made}"


def _news(before: Value, after: Value, by: float | None) -> bool:
    if (
        isinstance(before, bool)
        or isinstance(before, str)
        or isinstance(after, bool)
        or isinstance(after, str)
    ):
        return before != after
    if by is not None:
        return abs(after - before) >= by
    return (before > 0) != (after > 0)


def shown(value: Value) -> str:
    """A value as `p` prints it."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return plain(value)
        case _:
            return repr(value)


def measures(reading: Reading, node: Node) -> Effects:
    """One node's measures.  Raises CommandError for a part that puts nothing out."""
    try:
        return effects_of(reading.model, reading.trace, reading.gradients, node)
    except ValueError as error:
        raise CommandError(str(error), code="bad-node") from None


def cosine(reading: Reading, a: Node, b: Node) -> float:
    """Cosine of two nodes' writes.  Raises CommandError for a part that puts nothing out."""
    try:
        one, other = (write_of(reading.model, reading.trace, node).double() for node in (a, b))
    except ValueError as error:
        raise CommandError(str(error), code="bad-node") from None
    return float(torch.cosine_similarity(one, other, dim=0))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()
