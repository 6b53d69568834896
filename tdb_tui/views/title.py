"""Snapshot -> row 1: which model, what is asked of it, what it answers with and without the edits."""

import numpy as np

from model.metrics import Quantity
from model.printable import printable
from tdb_tui.formats import frame_label, metric_text, probability, signed
from tdb_tui.readings import Reading
from tdb_tui.session import Snapshot
from tdb_tui.views.data import TitleView
from tdb_tui.waiting import STALE

UNITS = {
    Quantity.LOGIT_DIFF: "ld",
    Quantity.LOGIT: "logit",
    Quantity.LOGIT_MINUS_MEAN: "logit",
    Quantity.LOGPROB: "logp",
    Quantity.PROB: "p",
    Quantity.KL: "kl",
    Quantity.DIRECTION: "dir",
    Quantity.ACTIVATION: "act",
}


def title(snapshot: Snapshot) -> TitleView:
    state, info = snapshot.state, snapshot.info
    edited = bool(state.inputs.changes)
    return TitleView(
        model=info.name,
        metric=_trail(snapshot),
        value=value(snapshot, edited),
        device=f"{info.device} {info.dtype.replace('float', 'f')}",
        probability=_probabilities(snapshot, edited),
        counts=" ".join(f"{count} {name}" for name, _, count in _counts(snapshot)),
        spelled=" · ".join(f"{count} {word}{'s' * (count > 1)}" for _, word, count in _counts(snapshot)),
        frame=state.frame,
        prompt=printable(state.inputs.prompt.text),
        mark=f" {STALE}" if snapshot.waiting is not None else "",
    )


def _trail(snapshot: Snapshot) -> str:
    """`' Mary' - ' John' @END`, or the trail of frames, the selected one first."""
    state, tokenizer = snapshot.state, snapshot.tokenizer
    metric = metric_text(snapshot.now.metric, tokenizer, state.end)
    tokens = state.inputs.prompt.tokens
    return " < ".join([*(frame_label(frame, tokens, tokenizer) for frame in reversed(state.trail)), metric])


def value(snapshot: Snapshot, edited: bool) -> str:
    """`ld +3.36`, or where edits are in force `ld +3.36 → +1.93 (Δ -1.43)`."""
    trail = snapshot.state.trail
    now, base = snapshot.now.value, snapshot.base.value
    if trail:
        now, base = snapshot.asked.value, snapshot.base.asked(trail).value
    if not edited:
        return f"{unit(snapshot)} {signed(now)}"
    return f"{unit(snapshot)} {signed(base)} → {signed(now)} (Δ {signed(now - base)})"


def unit(snapshot: Snapshot) -> str:
    """`ld`, `logit`, or what kind of number the selected frame is."""
    trail = snapshot.state.trail
    return trail[-1].word if trail else UNITS[snapshot.now.metric.quantity]


def _probabilities(snapshot: Snapshot, edited: bool) -> str:
    if snapshot.now.metric.quantity is Quantity.PROB:
        return ""
    now = probability(_target_probability(snapshot.now))
    return f"p {probability(_target_probability(snapshot.base))} → {now}" if edited else f"p {now}"


def _target_probability(reading: Reading) -> float:
    """Summed probability of the targets at the metric's position."""
    logits = reading.logits(reading.metric.pos)
    raised = np.exp(logits - logits.max())
    return float(raised[list(reading.metric.targets)].sum() / raised.sum())


def _counts(snapshot: Snapshot) -> list[tuple[str, str, int]]:
    """What there is beside the run: its short name, its word, how many."""
    state = snapshot.decided
    edits = sum(edit.enabled for edit in state.inputs.edits)
    watches = sum(stop.watch for stop in state.stops)
    stops = len(state.stops) - watches
    found = [("iv", "intervention", edits), ("bp", "breakpoint", stops), ("watch", "watch", watches)]
    return [each for each in found if each[2]]
