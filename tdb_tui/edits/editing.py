"""Making an edit: what it needs from elsewhere, the run, and what is said of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from model.components import Kind
from model.edits.interventions import (
    SINGLE,
    Ablate,
    Change,
    ChangeError,
    Compound,
    Mode,
    Patch,
    flat,
    text_of,
)
from tdb_tui.errors import CommandError, ComputeFailed
from tdb_tui.formats import signed
from tdb_tui.language.arguments import NodeWord
from tdb_tui.language.parsing import Word
from tdb_tui.replies import Reply
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.reference_sets import example_prompt, reference_prompts
from tdb_tui.state import Edit, Inputs, Means

T = TypeVar("T")
Changes = tuple[Change | Compound, ...]
DRAWING = (Mode.MEAN, Mode.RESAMPLE)

NOT_RUN = "not run yet: run"


def make(session: Session, changes: Changes, text: str = "", more: Sequence[str] = ()) -> Reply:
    """Append one edit, rerun, and say what it did; `text` is the command where the changes alone do not say it.

    `more` are lines to be said after it.  Raises CommandError, ComputeFailed and Interrupted, the session as it was.
    """
    state, before = session.state, session.snapshot.value
    text = text or text_of(changes)
    edit = Edit(state.next_edit, changes, text)
    inputs = provided(session.snapshot.planned, changes)
    inputs = replace(inputs, edits=(*inputs.edits, edit))
    began = time.perf_counter()
    try:
        after = session.change(inputs, text, replace(state, next_edit=state.next_edit + 1)).value
    except ComputeFailed as error:
        error.message += ": it was not made"
        raise
    took = "" if after is None else f"   {(time.perf_counter() - began) * 1000:.0f} ms"
    patched = isinstance(next(iter(singles(changes)), None), Patch)
    percent = _percent(session.snapshot, before, after) if patched else ""
    said = f"i{edit.number} {text}   {effect(before, after)}{percent}{took}"
    return Reply(
        (said, *more),
        {
            "intervention": {"id": f"i{edit.number}", "command": text},
            "before": before,
            "after": after,
            "delta": None if before is None or after is None else after - before,
        },
    )


def effect(before: float | None, after: float | None) -> str:
    """What has become of the metric; None is that of edits which wait to be run."""
    if after is None:
        return NOT_RUN
    if before is None:
        return f"metric {signed(after)}"
    return f"metric {signed(before)} -> {signed(after)} (Δ {signed(after - before)})"


def _percent(snapshot: Snapshot, before: float | None, after: float | None) -> str:
    """How far of the way from A's metric to B's a patch has gone."""
    if snapshot.other is None or before is None or after is None or abs(snapshot.other.value - before) < 1e-9:
        return ""
    return f" ({100 * (after - before) / (snapshot.other.value - before):.0f} % of A→B)"


def provided(snapshot: Snapshot, changes: Changes) -> Inputs:
    """The inputs with what the changes take from the prompt set that is loaded: means, references, examples.

    Raises CommandError where there is nothing to take it from.
    """
    inputs = snapshot.state.inputs
    for change in singles(changes):
        if isinstance(change, Ablate) and change.mode in DRAWING:
            inputs = replace(inputs, means=inputs.means or means_of_set(snapshot))
        elif isinstance(change, Patch) and change.example is not None:
            inputs = _with_example(snapshot, inputs, change.example)
    return inputs


def singles(changes: Changes) -> tuple[Change, ...]:
    """The changes of one place that these are made of."""
    parts = ((each,) if isinstance(each, SINGLE) else each.inner for each in flat(changes))
    return tuple(change for group in parts for change in group)


def means_of_set(snapshot: Snapshot) -> Means:
    """The prompt set that is loaded, as reference prompts.  Raises CommandError where none is."""
    examples = snapshot.state.examples
    if examples is None:
        message = "mean needs reference prompts: 'set means FILE' or 'set means positions'"
        raise CommandError(message, code="no-means")
    prompts = reference_prompts(snapshot, examples.prompts.examples, snapshot.state.inputs.prompt.bos)
    return Means(examples.text, prompts)


def _with_example(snapshot: Snapshot, inputs: Inputs, number: int) -> Inputs:
    known = next((each for each in inputs.examples if each.example == number), None)
    if snapshot.state.examples is None and known is not None:
        return inputs
    found = example_prompt(snapshot, number)
    if known is not None and known != found:
        users = [edit for edit in inputs.edits if _uses(edit, number)]
        if users:
            message = f"i{users[0].number} takes from example {number} of another set: delete i{users[0].number} first"
            raise CommandError(message, code="bad-prompts")
    others = (each for each in inputs.examples if each.example != number)
    return replace(inputs, examples=(*others, found))


def _uses(edit: Edit, number: int) -> bool:
    return any(isinstance(each, Patch) and each.example == number for each in singles(edit.changes))


def refuse_silent(found: Sequence[NodeWord], word: Word) -> None:
    """Raises CommandError for parts that put nothing out, or that are not loaded."""
    for each in found:
        for part in each.components:
            if part.kind is Kind.UNEMBED:
                message = "U puts nothing into the stream: edit BU, the final bias, or what U reads"
                raise CommandError(message, "bad-node", col=word.col)
            if part.kind is Kind.TARGET_BIAS:
                raise CommandError(f"{part} is no part of the model: name a node", "bad-node", col=word.col)


def stated(word: Word, make: Callable[[], T]) -> T:
    """`make()`, what it complains of pointing at `word`."""
    try:
        return make()
    except ChangeError as error:
        raise CommandError(str(error), "bad-edit", col=word.col) from None
