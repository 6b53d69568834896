"""Path patching: one path as an edit, or every sender in its turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.components import Component
from model.edits.changes import Change, Span
from model.edits.edge_tables import made
from model.edits.edges import manner_of
from model.edits.links import ARROW
from model.edits.path_edits import Meaning, PathPatch
from model.measured.path_sweep import Sweep, estimated, measured, senders
from model.measured.scorers import unchanged
from model.nodes import Floats
from tdb_tui.commands.link_words import Reader, arrows_of, changed, checked, readers
from tdb_tui.commands.table import command
from tdb_tui.edits.editing import make, provided
from tdb_tui.errors import CommandError
from tdb_tui.formats import signed
from tdb_tui.language.arguments import option_integer, span_of
from tdb_tui.language.parsing import Call, Word
from tdb_tui.language.registry import Repeat
from tdb_tui.replies import Reply, columns
from tdb_tui.session import Session, Snapshot

EXAMPLE = f"path L0H1 {ARROW} L2H1.q from B"
ALL = "all"
ROWS = 12
MEANINGS = {meaning.value: meaning for meaning in Meaning}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a `path` command says."""

    sender: Word
    receivers: tuple[Component, ...]
    tokens: Span | None
    meaning: Meaning
    manner: tuple[Word, ...]


@command(
    "path",
    usage="SENDERS|all -> RECEIVERS [from B|MODE] [direct|mlps] [@POS]  [-n N]",
    group="changing",
    repeat=Repeat.NOTHING,
    options={"n": True, "seed": True},
    complete=("node",),
    examples=("path L0H1 -> L2H1.q from B", "reset ;; path all -> L2H1.q from B mlps -n 5"),
)
def path(session: Session, call: Call) -> Reply:
    """Patch a path: receivers read what they would if only the sender changed, and all other heads did not.

    direct  the edge alone: whatever is in between is as it was (edge patching)
    mlps    MLPs in between are computed again, heads are not (Wang et al. 2022, four passes)

    The sender takes its value from prompt B, or an ablation's (zero, mean, ...).  Receivers are heads' q, k and v
    (L2H1.q; L2H1 is all three), MLPs and U, the logits.  They read through their layer norm as it is then, and not
    what an earlier receiver writes.  A position is the token at which they read; without one, every token.

    It is an edit like others: run A, in which the rest is held, is that of all other edits, in whatever order.
    `path all` makes none: every head, MLP and E is the sender in its turn, ranked by what its path does to what is
    asked, beside what gradients say of the same paths.  `-n 0` shows every row.

    Estimates (rank, trace) hold what the receivers of a path in force read; `by measured` runs.
    """
    asked = _asked(session.snapshot, call)
    if asked.sender.text == ALL or asked.sender.text.startswith(f"{ALL}@"):
        return _sweep(session, call, asked)
    return make(session, path_changes(session.snapshot.planned, call))


def path_changes(snapshot: Snapshot, call: Call) -> tuple[Change, ...]:
    """The change that a `path` command stands for.  Raises CommandError."""
    asked = _asked(snapshot, call)
    sends = changed(snapshot, call, asked.sender, asked.manner)
    for change in sends:
        for receiver in asked.receivers:
            checked(snapshot, change.component, receiver, asked.sender)
    try:
        return (PathPatch(tuple(dict.fromkeys(sends)), asked.receivers, asked.meaning, asked.tokens),)
    except ValueError as error:
        raise CommandError(str(error), "bad-edge", col=asked.sender.col) from None


def _asked(snapshot: Snapshot, call: Call) -> Asked:
    if not call.args:
        raise CommandError(f"patch which path: {EXAMPLE}", code="missing-argument")
    arrows, left = arrows_of(call.args, EXAMPLE)
    if len(arrows) > 1:
        message = "one path at a time: several senders or receivers are one word, as in L0H1,L0H2"
        raise CommandError(message, "bad-argument", col=arrows[1].tail.col)
    found = readers(snapshot, arrows[0].head)
    meaning, at = Meaning.DIRECT, None
    while left and (left[-1].text in MEANINGS or left[-1].text.startswith("@")):
        word = left.pop()
        meaning = MEANINGS.get(word.text, meaning)
        at = word if word.text.startswith("@") else at
    if not left and snapshot.state.inputs.prompt_b is not None:
        left = [Word("from", arrows[0].head.col), Word("B", arrows[0].head.col)]
    heads = tuple(dict.fromkeys(reader.head for reader in found))
    tokens = _tokens(snapshot, found, at, arrows[0].head)
    return Asked(arrows[0].tail, heads, tokens, meaning, tuple(left))


def _tokens(snapshot: Snapshot, found: Sequence[Reader], at: Word | None, word: Word) -> Span | None:
    """Where all receivers read.  Raises CommandError where that is not one place."""
    places = {reader.span for reader in found if reader.placed}
    if at is not None:
        places.add(span_of(snapshot, at.text.removeprefix("@")))
    if len(places) > 1 or (places and at is None and not all(reader.placed for reader in found)):
        message = f"all receivers of a path read at the same tokens: {EXAMPLE} @END"
        raise CommandError(message, "bad-argument", col=word.col)
    return next(iter(places), None)


def _sweep(session: Session, call: Call, asked: Asked) -> Reply:
    """Every sender in its turn."""
    snapshot, engine, config = session.snapshot, session.engine, session.snapshot.info.config
    place = asked.sender.text.removeprefix(ALL)
    (like,) = changed(snapshot, call, Word(f"E{place}", asked.sender.col), asked.manner)
    parts = tuple(senders(asked.receivers, config.n_layer, config.n_head))
    sends = tuple(made(like, part) for part in parts)
    # what ablations take from elsewhere comes with the inputs, as it does for an edit
    question = engine.reading(provided(snapshot, sends)).asked(snapshot.state.trail)
    run = question.run
    before = unchanged(run.model, run.trace, question.scorer)
    values, slopes = np.full(len(parts), before), np.zeros(len(parts))
    try:
        sweep = Sweep(
            run.model, run.trace, sends, asked.receivers, asked.meaning, run.sources, asked.tokens, run.also
        )
        for count, (number, value) in enumerate(measured(sweep, question.scorer), start=1):
            values[number] = value
            engine.progress = f"{count}/{len(parts)}"
        for number, slope in estimated(sweep, question.target, question.treatment):
            slopes[number] = slope
    except ValueError as error:
        raise CommandError(str(error), code="bad-path") from None
    finally:
        engine.progress = ""
    return _table(snapshot, call, asked, manner_of((like,)), parts, before, values, slopes)


def _table(
    snapshot: Snapshot,
    call: Call,
    asked: Asked,
    manner: str,
    parts: Sequence[Component],
    before: float,
    values: Floats,
    slopes: Floats,
) -> Reply:
    """The strongest paths, their share of the way from A to B, and their estimates."""
    count = option_integer(call, "n", ROWS, "a number of rows") or len(parts)
    effects, other = values - before, snapshot.other
    aside = other is None or snapshot.state.trail or not manner.startswith("from B")
    way = None if other is None or aside else other.value - before
    rows: list[dict[str, Any]] = []
    cells = [(" #", "sender", "measured", "A→B", "estimate")]
    for place, at in enumerate(np.argsort(-np.abs(effects), kind="stable")[:count].tolist(), start=1):
        part, effect = parts[at], float(effects[at])
        share = None if way is None or abs(way) < 1e-9 else effect / way
        percent = "" if share is None else f"{100 * share:.0f} %"
        cells.append((f"{place:2}", str(part), signed(effect), percent, signed(float(slopes[at]))))
        about = {"kind": part.kind.group, "layer": part.layer if part.kind.has_layer else None}
        values_of = {
            "effect": effect,
            "value": float(values[at]),
            "way": share,
            "estimate": float(slopes[at]),
        }
        rows.append({"sender": str(part), **about, "index": part.index, **values_of})
    what = f"frame {len(snapshot.state.trail)}" if snapshot.state.trail else "metric"
    to = ",".join(map(str, asked.receivers)) + ("" if asked.tokens is None else f"@{asked.tokens}")
    said = f"{len(parts)} senders {ARROW} {to} {manner} {asked.meaning.value}: {what} {signed(before)}"
    agreement = _correlation(effects, slopes)
    last = [] if agreement is None else [f"measured and estimated: correlation {agreement:+.2f}"]
    found = {"receivers": [str(each) for each in asked.receivers], "meaning": asked.meaning.value}
    return Reply(
        (said, *columns(cells, "r-rrr"), *last),
        {**found, "manner": manner, "before": before, "rows": rows, "correlation": agreement},
        script="",
    )


def _correlation(x: Floats, y: Floats) -> float | None:
    """Pearson's, None where one of them does not vary."""
    if len(x) < 2 or not (x.std() > 0 and y.std() > 0):
        return None
    return float(np.corrcoef(x, y)[0, 1])
