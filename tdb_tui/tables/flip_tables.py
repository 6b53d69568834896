"""A set of nodes that turns the answer over, as text and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from model.edits.interventions import Patch
from model.measured.flips import Flip
from model.metrics import Metric
from model.trace import metric_value
from tdb_tui.formats import metric_text, probability, quoted, signed, token_label
from tdb_tui.readings import Reading
from tdb_tui.replies import columns
from tdb_tui.session import Snapshot

METHOD = "greedy, then pruned, measured"


def said(
    snapshot: Snapshot, metric: Metric, flip: Flip, patches: Sequence[Patch], after: Reading, of: int
) -> Iterator[str]:
    """What the set does, and what each of its nodes is worth."""
    tokenizer = snapshot.tokenizer
    (a, p), (b, q) = _top(snapshot.now), _top(after)
    assert snapshot.other is not None  # the question has been asked
    there = metric_value(
        snapshot.other.model, snapshot.other.trace, replace(metric, pos=snapshot.other.metric.pos)
    )
    text = metric_text(metric, tokenizer, snapshot.state.end)
    yield f"{text}: {signed(flip.before)} -> {signed(flip.after)} (B {signed(there)})"
    said = f"says {quoted(tokenizer, a)} {probability(p)} -> {quoted(tokenizer, b)} {probability(q)}"
    rivals = metric.distractors
    yield said if b in rivals or not rivals else f"{said}: {_only_ahead(snapshot, metric, after, b)}"
    cells = [("node", "alone", "in the set")]
    for node, alone, without in zip(_nodes(snapshot, patches), flip.alone, flip.without, strict=True):
        cells.append((node, signed(alone - flip.before), signed(flip.after - without)))
    yield from columns(cells, "-rr")
    count = len(flip.members)
    size = f"{count} of {of:,} nodes"
    if count <= 2:
        least = "no smaller set of them does"
    elif flip.exhausted:
        least = "no part of the set does; another set may be smaller"
    else:
        least = "none of them can be left out; another set may be smaller"
    yield f"{size}, {METHOD}: {least}"


def _only_ahead(snapshot: Snapshot, metric: Metric, after: Reading, says: int) -> str:
    """That the answer is turned over and a third token said."""
    logits = after.logits(metric.pos)
    ahead = max(metric.distractors, key=lambda token: float(logits[token]))
    rank = 1 + int((logits > logits[ahead]).sum())
    passed = " and ".join(quoted(snapshot.tokenizer, token) for token in metric.targets)
    return f"{quoted(snapshot.tokenizer, ahead)} has passed {passed} and is number {rank}"


def no_flip(snapshot: Snapshot, kinds: Sequence[str], flip: Flip, patches: Sequence[Patch]) -> str:
    """That there is none, and the best that was found."""
    named = " and ".join(kinds)
    if not patches:
        return f"no set of {named} turns the answer over: none of them moves it that way"
    nodes = _nodes(snapshot, patches)
    best = nodes[0] if len(nodes) == 1 else f"{len(nodes)} of them ({nodes[0]}, ...)"
    return (
        f"no set of {named} was found that turns the answer over: the best, {best}, "
        f"moves it from {signed(flip.before)} to {signed(flip.after)}"
    )


def _nodes(snapshot: Snapshot, patches: Sequence[Patch]) -> list[str]:
    tokens, tokenizer = snapshot.state.inputs.prompt.tokens, snapshot.tokenizer
    return [
        f"{each.component}@{token_label(each.span.first, tokens, tokenizer)}"
        if len(each.span) == 1
        else f"{each.component}@*"
        for each in patches
    ]


def _top(reading: Reading) -> tuple[int, float]:
    """The likeliest next token and its probability."""
    logits = reading.logits(reading.metric.pos)
    raised = np.exp(logits - logits.max())
    best = int(logits.argmax())
    return best, float(raised[best] / raised.sum())


def tops(snapshot: Snapshot, after: Reading) -> dict[str, Any]:
    """The likeliest next token without the set and with it."""
    found: dict[str, Any] = {}
    for key, reading in (("before", snapshot.now), ("after", after)):
        token, p = _top(reading)
        found[key] = {"id": token, "token": snapshot.tokenizer.text(token), "prob": p}
    return found


def result(snapshot: Snapshot, flip: Flip, patches: Sequence[Patch], of: int) -> dict[str, Any]:
    """What JSON says; of a set that was found there is more to say."""
    rows = [
        {
            "node": patch.place,
            "alone": alone - flip.before,
            "in_set": flip.after - without,
            "metric_alone": alone,
            "metric_without": without,
        }
        for patch, alone, without in zip(patches, flip.alone, flip.without, strict=True)
    ]
    return {
        "flips": flip.flips,
        "before": flip.before,
        "after": flip.after,
        "candidates": of,
        "exhausted": flip.exhausted,
        "method": METHOD,
        "rows": rows,
        "command": None,
        "top": None,
    }
