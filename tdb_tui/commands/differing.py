"""`diff`: two runs side by side, the second minus the first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.printable import printable
from tdb_tui.commands.comparing import measure_of
from tdb_tui.commands.opposite import clauses, place_of
from tdb_tui.commands.table import command
from tdb_tui.edits.checkpoints import checkpoint_named
from tdb_tui.edits.differences import Subject, attention_moved, likely, log_softmax, movers
from tdb_tui.errors import CommandError, did_you_mean
from tdb_tui.formats import metric_text, probability, quoted, signed, token_label
from tdb_tui.language.arguments import option_integer
from tdb_tui.language.parsing import Call, Word
from tdb_tui.metrics import in_other_prompt
from tdb_tui.readings import Reading
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.state import Inputs, State
from tdb_tui.tables.ranking import KINDS
from tdb_tui.tables.sides import Comparison

ROWS, TOKENS = 5, 8
MEASURES = ("total", "direct")
NAMES = ("base", "now", "B")


@command(
    "diff",
    usage="[X [Y]] [by total|direct] [-n N] [--tokens N]",
    group="seeing",
    options={"n": True, "tokens": True},
    complete=("run",),
    examples=("ablate L1H3 ;; diff", "cp before ;; ablate L0H1 ;; diff before now --tokens 0"),
)
def diff(session: Session, call: Call) -> Reply:
    """What has changed from run X to run Y: metric, next tokens, nodes, attention, and the text that follows.

    X and Y are base (the prompt without edits), now, B, or checkpoints; without Y it is now, without X base (B where
    nothing is edited).  All are asked the same as now; another prompt is read as far from its end.  A node's change
    is Y minus X, nodes joined as `compare` does; a head's is how much of its attention at the metric's token has
    moved, 0 to 1.  The text is greedy, --tokens of it (0 for none).
    """
    words, said = clauses(call, {"by": "by total, by direct"})
    if len(words) > 2:
        message = f"unexpected {words[2].text!r}: diff compares two runs"
        raise CommandError(message, "bad-argument", col=words[2].col)
    by = measure_of(said.get("by"), MEASURES)
    count = option_integer(call, "n", ROWS, "a number of rows", least=1)
    length = option_integer(call, "tokens", TOKENS, "a number of tokens")
    first = words[0] if words else Word(_usual(session.state.inputs), call.col)
    left = subject(session, first)
    right = subject(session, words[1] if len(words) > 1 else Word("now", call.col))
    texts = _generated(session, (left, right), length)
    parts = (
        _metric(session, left, right),
        _logits(session, left, right, count),
        _nodes(session, left, right, by, count),
        _attention(session, left, right, count),
        _texts(session, left, right, texts),
    )
    lines = [line for told, _ in parts if told for line in ("", *told)][1:]
    result: dict[str, Any] = {"sides": {"left": left.name, "right": right.name}}
    for _, held in parts:
        result |= held
    return Reply(tuple(lines), result, warnings=_caveats(session, left, right))


def subject(session: Session, word: Word) -> Subject:
    """`base`, `now`, `B` or a checkpoint, all asked the same as now.  Raises CommandError."""
    snapshot, inputs = session.snapshot, session.state.inputs
    match word.text:
        case "now":
            return _subject(session, "now", inputs, snapshot.now, session.state)
        case "base" | "A":
            return _subject(session, "base", replace(inputs, edits=()), snapshot.base, session.state)
        case "B":
            if inputs.prompt_b is None or snapshot.other is None:
                message = "no prompt B: set one with 'prompt B TEXT' or --prompt-b"
                raise CommandError(message, "no-prompt-b", col=word.col)
            other = Inputs(
                inputs.prompt_b, snapshot.other.metric, treatment=inputs.treatment, saes=inputs.saes
            )
            return _subject(session, "B", other, snapshot.other, None)
        case _:
            return _kept(session, word)


def _kept(session: Session, word: Word) -> Subject:
    snapshot, inputs = session.snapshot, session.state.inputs
    try:
        found = checkpoint_named(session.state, word)
    except CommandError as error:
        known = (*NAMES, *(each.name for each in session.state.checkpoints))
        right = did_you_mean(word.text, known) or f": {', '.join(known)}"
        raise CommandError(f"no run {word.text!r}{right}", error.code, col=word.col) from None
    end, other_end = (len(each.prompt.tokens) - 1 for each in (inputs, found.inputs))
    metric = in_other_prompt(snapshot.base.metric, end, other_end)
    asked = replace(found.inputs, metric=metric, treatment=inputs.treatment)
    state = replace(session.state, roles=found.roles)
    return _subject(session, found.name, asked, session.engine.reading(asked), state)


def _subject(session: Session, name: str, inputs: Inputs, reading: Reading, state: State | None) -> Subject:
    roles: Mapping[str, int] = {} if state is None else state.roles
    return Subject(name, inputs, reading, place_of(session.snapshot.tokenizer, inputs.prompt.tokens, roles))


def _usual(inputs: Inputs) -> str:
    if inputs.changes:
        return "base"
    if inputs.prompt_b is None:
        raise CommandError(
            "nothing to compare with: edit something, set prompt B, or name a checkpoint", "no-side"
        )
    return "B"


def _caveats(session: Session, left: Subject, right: Subject) -> tuple[str, ...]:
    """What differs in what was asked when a checkpoint was made."""
    now = session.state.inputs.metric
    said: list[str] = []
    for each in (left, right):
        kept = next((one for one in session.state.checkpoints if one.name == each.name), None)
        if kept is not None and replace(kept.inputs.metric, pos=now.pos) != now:
            said.append(f"{each.name} was kept with another metric: it is read as now")
    return tuple(said)


def _metric(session: Session, left: Subject, right: Subject) -> tuple[tuple[str, ...], dict[str, Any]]:
    values = left.reading.value, right.reading.value
    text = metric_text(right.reading.metric, session.snapshot.tokenizer, len(right.place.tokens) - 1)
    rows = [
        ["", left.name, right.name, "Δ"],
        [f"metric {text}", *map(signed, values), signed(values[1] - values[0])],
    ]
    return columns(rows, "-rrr"), {"metric": {"text": text, **_three(*values)}}


def _logits(
    session: Session, left: Subject, right: Subject, count: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The likeliest next tokens of both sides."""
    tokenizer, sides = session.snapshot.tokenizer, (left, right)
    logits = [each.reading.logits(each.pos) for each in sides]
    chances = [np.exp(log_softmax(each)) for each in logits]
    cells = [["next token", f"p {left.name}", f"p {right.name}", "logit", "logit", "Δ logit"]]
    rows: list[dict[str, Any]] = []
    for token in likely(left, right, count):
        a, b = (float(side[token]) for side in logits)
        p, q = (float(side[token]) for side in chances)
        cells.append(
            [quoted(tokenizer, token), probability(p), probability(q), f"{a:.2f}", f"{b:.2f}", signed(b - a)]
        )
        rows.append({"token": tokenizer.text(token), "id": token, **_three(a, b)} | _sides("prob", p, q))
    return columns(cells, "-rrrrr"), {"logits": rows}


def _nodes(
    session: Session, left: Subject, right: Subject, by: str, count: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The nodes that changed most, and what all of them changed by."""
    found = movers(left, right, KINDS["components"])
    order = found.order(by)
    order = order[found.values(by, order)[2] != 0][:count]
    after, before, change = found.values(by, order)
    cells = [[f"nodes by {by}", left.name, right.name, "Δ"]]
    rows: list[dict[str, Any]] = []
    for row, a, b, delta in zip(order, before, after, change, strict=True):
        node = _node(session, found, int(row), right if found.of_left[row] >= 0 else left)
        cells.append([node["label"], signed(float(a)), signed(float(b)), signed(float(delta))])
        rows.append({**node, **_three(float(a), float(b))})
    told = columns(cells, "-rrr") if rows else ("nodes: none has changed",)
    return told, {"by": by, "nodes": rows}


def _node(session: Session, found: Comparison, row: int, side: Subject) -> dict[str, Any]:
    """A row's node, in the right run's tokens where it is there."""
    at = found.of_left[row]
    table, own = (found.left.table, int(at)) if at >= 0 else (found.right.table, int(found.of_right[row]))
    node = table.node(own)
    label = f"{node.component}@{token_label(node.pos, side.place.tokens, session.snapshot.tokenizer)}"
    return {"node": str(node), "label": label, "side": side.name}


def _attention(
    session: Session, left: Subject, right: Subject, count: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The heads that look elsewhere, with the token whose weight changed most."""
    tokenizer = session.snapshot.tokenizer
    cells = [["attention", "moved", "key", left.name, right.name]]
    rows: list[dict[str, Any]] = []
    moved = [each for each in attention_moved(left, right) if each.distance > 0]
    for each in moved[:count]:
        key = token_label(each.key, left.place.tokens, tokenizer)
        weights = probability(each.left), probability(each.right)
        cells.append([str(each.head), probability(each.distance), key, *weights])
        rows.append(
            {"head": str(each.head), "moved": each.distance, "key": each.key, **_three(each.left, each.right)}
        )
    told = columns(cells, "-r-rr") if rows else ("attention: no head has moved",)
    return told, {"attention": rows}


def _generated(session: Session, sides: Sequence[Subject], count: int) -> list[list[int]]:
    """The likeliest next tokens of each side, one after the other."""
    engine, found = session.engine, list[list[int]]()
    try:
        for each in sides:
            tokens: list[int] = []
            if count:
                for step in engine.generate(each.inputs, count):
                    tokens.append(step.token)
                    engine.progress = f"{each.name} {len(tokens)}/{count}"
            found.append(tokens)
    finally:
        engine.progress = ""
    return found


def _texts(
    session: Session, left: Subject, right: Subject, texts: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    tokenizer = session.snapshot.tokenizer
    decoded = [tokenizer.decode(list(tokens)) for tokens in texts]
    held = {
        side: {"tokens": list(tokens), "text": text}
        for side, tokens, text in zip(("left", "right"), texts, decoded, strict=True)
    }
    if not any(texts):
        return (), {"text": held}
    shown = [
        (f"text {each.name}", printable(text)) for each, text in zip((left, right), decoded, strict=True)
    ]
    return columns(shown), {"text": held}


def _three(left: float, right: float) -> dict[str, float]:
    return {"left": left, "right": right, "difference": right - left}


def _sides(key: str, left: float, right: float) -> dict[str, float]:
    return {f"{key}_left": left, f"{key}_right": right}
