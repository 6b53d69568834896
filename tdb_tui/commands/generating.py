"""`generate`: what the model goes on to say, under the edits and without them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from model.metrics import PROBES, Metric, Quantity
from model.printable import printable
from model.tokenizer import Tokenizer
from tdb_tui.commands.table import command
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError, Interrupted
from tdb_tui.formats import metric_text, probability, quoted, signed
from tdb_tui.language.arguments import at_most, integer, option_integer
from tdb_tui.language.parsing import Call
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session
from tdb_tui.settings import seed_of
from tdb_tui.state import Inputs

COUNT = 20


@dataclass(frozen=True, slots=True)
class Said:
    """A token that was generated."""

    token: int
    p: float
    "Its probability, before temperature and top-k."
    metric: float | None
    "What the metric is of the logits that it was taken from; None where it is not of logits alone."


@dataclass(frozen=True, slots=True)
class How:
    """How tokens are taken."""

    count: int
    temperature: float
    top_k: int | None
    seed: int


@command(
    "generate",
    usage="[COUNT] [--temperature T] [--top-k K] [--seed S] [--base-only]",
    group="seeing",
    options={"temperature": True, "top-k": True, "seed": True, "base-only": False},
    examples=("ablate L1H3 ;; generate 5", "generate 8 --temperature 0.8 --seed 1"),
)
def generate(session: Session, call: Call) -> Reply:
    """Go on with the prompt under the edits in force, and beside it without them; token by token with the metric.

    The most likely tokens, or with --temperature sampled ones: the same seed draws the same on both sides.  An edit
    of every position (`L1H3@*`) holds for generated tokens too, one of named positions stays there, and a patch or a
    mean per position has values for the prompt only.  The metric is that of the logits which the token is taken from.
    Tokens show as they come; Escape stops, and what has come is kept.
    """
    at_most(call, 1)
    how = How(
        integer(call.args[0], "a count of tokens", least=1) if call.args else COUNT,
        _temperature(call.option("temperature") or "0"),
        option_integer(call, "top-k", 0, "a number of tokens", least=1) or None,
        option_integer(call, "seed", seed_of(session.state), "a seed") % (1 << 63),
    )
    inputs, tokenizer = session.state.inputs, session.snapshot.tokenizer
    unedited = replace(inputs, edits=())
    sides = [unedited] if call.has("base-only") else [inputs, unedited] if inputs.changes else [inputs]
    said, stopped = _together(session, sides, how)
    shown, beside = said[0], said[1] if len(said) > 1 else None
    result: dict[str, Any] = {
        **_text(tokenizer, shown),
        "rows": _rows(tokenizer, shown, beside),
        "base": None if beside is None else _text(tokenizer, beside),
        "temperature": how.temperature,
        "top_k": how.top_k,
        "seed": how.seed,
        "stopped": stopped,
    }
    lines = (*_texts(tokenizer, shown, beside), "", *_table(session, shown, beside))
    notes = (f"stopped after {len(shown)} of {how.count} tokens",) if stopped else ()
    return Reply(lines, result, notes)


def _together(session: Session, sides: Sequence[Inputs], how: How) -> tuple[list[list[Said]], bool]:
    """What each side says, token by token side by side, shown as it comes; and whether it was stopped on the way.

    Stopped, what has come is kept.  Raises CommandError where the prompt leaves no room, Interrupted before any token.
    """
    engine, tokenizer = session.engine, session.snapshot.tokenizer
    found: list[list[Said]] = [[] for _ in sides]
    steps = [_said(engine, inputs, how) for inputs in sides]
    stopped = False
    try:
        for row in zip_longest(*steps):
            for side, said in zip(found, row, strict=True):
                side += [said] if said is not None else []
            engine.progress = f"{len(found[0])}/{how.count}"
            if session.said is not None:
                session.said(_texts(tokenizer, found[0], found[1] if len(found) > 1 else None))
    except Interrupted:
        if not all(found):
            raise
        stopped = True
    finally:
        engine.progress = ""
    if not found[0]:
        length, limit = len(sides[0].prompt.tokens), engine.info.config.n_ctx
        message = f"the prompt has {length} tokens and {engine.info.name} reads {limit}: give a shorter one"
        raise CommandError(message, code="bad-prompt")
    return found, stopped


def _said(engine: Engine, inputs: Inputs, how: How) -> Iterator[Said]:
    metric = inputs.metric
    for step in engine.generate(inputs, how.count, how.temperature, how.top_k, how.seed):
        p = float((step.logits[step.token] - step.logits.logsumexp(-1)).exp())
        yield Said(step.token, p, float(metric.of(step.logits)) if _of_logits(metric) else None)


def _of_logits(metric: Metric) -> bool:
    """Whether a generated token's logits alone have it: not what is read inside, and no divergence."""
    return metric.quantity not in (*PROBES, Quantity.KL)


def _texts(tokenizer: Tokenizer, shown: Sequence[Said], beside: Sequence[Said] | None) -> tuple[str, ...]:
    text = printable(_text(tokenizer, shown)["text"])
    if beside is None:
        return (text,)
    return columns([("now", text), ("base", printable(_text(tokenizer, beside)["text"]))])


def _table(session: Session, shown: Sequence[Said], beside: Sequence[Said] | None) -> tuple[str, ...]:
    metric, tokenizer = session.snapshot.now.metric, session.snapshot.tokenizer
    asked = metric_text(metric, tokenizer, session.state.end).removesuffix(" @END")
    word = "metric" if _of_logits(metric) else ""
    sides = [each for each in (shown, beside) if each is not None]
    names = ("now", "base") if beside is not None else ("token",)
    cells = [["#", *(cell for name in names for cell in (name, "p", word))]]
    for at in range(max(map(len, sides))):
        row = [str(at + 1)]
        for side in sides:
            row += _cells(tokenizer, side[at]) if at < len(side) else ["", "", ""]
        cells.append(row)
    legend = (f"metric: {asked}, of the logits that the token is taken from",) if word else ()
    return (*columns(cells, "r-rr-rr"), *legend)


def _cells(tokenizer: Tokenizer, said: Said) -> list[str]:
    value = "" if said.metric is None else signed(said.metric)
    return [quoted(tokenizer, said.token), probability(said.p), value]


def _rows(
    tokenizer: Tokenizer, shown: Sequence[Said], beside: Sequence[Said] | None
) -> list[dict[str, object]]:
    """One a token; what stands beside it where there is such."""
    rows: list[dict[str, object]] = []
    for at in range(max(len(shown), len(beside or ()))):
        row: dict[str, object] = {"step": at + 1}
        for prefix, side in (("", shown), ("base_", beside)):
            said = side[at] if side is not None and at < len(side) else None
            row |= {
                f"{prefix}id": None if said is None else said.token,
                f"{prefix}token": None if said is None else tokenizer.text(said.token),
                f"{prefix}p": None if said is None else said.p,
                f"{prefix}metric": None if said is None else said.metric,
            }
        rows.append(row)
    return rows


def _text(tokenizer: Tokenizer, said: Sequence[Said]) -> dict[str, Any]:
    tokens = [each.token for each in said]
    return {"tokens": tokens, "text": tokenizer.decode(tokens)}


def _temperature(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise CommandError(f"temperature {text!r} isn't a number of 0 or more", code="bad-number")
    return found
