"""Snapshot -> the short tables: interventions, stop points, displays, next tokens."""

import numpy as np

from model.edits.interventions import Freeze, flat
from model.printable import printable
from tdb_tui import lines
from tdb_tui.edits.stack import Worth, worths
from tdb_tui.formats import probability, quoted, signed
from tdb_tui.session import Snapshot
from tdb_tui.state import Edit, Stop
from tdb_tui.views.data import RowsView

NEXT_TOKENS = 40


def edits(snapshot: Snapshot) -> RowsView:
    """`i1 * -1.43 +1.93 ablate L9H9@* mean`: what it is worth and the metric after it, as far as they are known.

    A switched-off one has `-`, one that waits to be run says so; nothing is run for this.
    """
    inputs, ran = snapshot.decided.inputs, snapshot.state.inputs.edits
    found = worths(inputs, snapshot.known)
    rows = tuple(
        _edit(edit, worth) + ("" if edit in ran else "  (not run)")
        for edit, worth in zip(inputs.edits, found, strict=True)
    )
    names = tuple(f"i{edit.number}" for edit in inputs.edits)
    title = "interventions (Δ, after)" if rows else "interventions"
    partial = snapshot.waiting is None and any(
        edit.enabled and None in (worth.marginal, worth.cumulative)
        for edit, worth in zip(inputs.edits, found, strict=True)
    )
    return RowsView(title, rows, names, "none: x ablates the selected row", partial)


def _edit(edit: Edit, worth: Worth) -> str:
    name = f"{printable(edit.name)}: " if edit.name else ""
    if not edit.enabled:
        return f"i{edit.number} - {name}{edit.text}  (off)"
    numbers = [worth.marginal, worth.cumulative]
    known = any(each is not None for each in numbers)
    shown = [f"{'·' if each is None else signed(each)} " for each in numbers if known]
    return f"i{edit.number} * {''.join(shown)}{name}{edit.text}"


def edits_of(snapshot: Snapshot, frozen: bool) -> dict[str, tuple[int, ...]]:
    """Component -> the edits that change it, or those that freeze it, so that one key can take them away again."""
    found: dict[str, tuple[int, ...]] = {}
    for edit in snapshot.decided.inputs.edits:
        for part in {
            change.component for change in flat(edit.changes) if isinstance(change, Freeze) is frozen
        }:
            found[str(part)] = (*found.get(str(part), ()), edit.number)
    return found


def stops(snapshot: Snapshot) -> RowsView:
    """`b1 y A9  if ld < 0  hits 0`."""
    found = snapshot.state.stops
    return RowsView(
        "stop points",
        tuple(_stop(snapshot, stop) for stop in found),
        tuple(stop.name for stop in found),
        "none: b stops at the selected line",
    )


def _stop(snapshot: Snapshot, stop: Stop) -> str:
    on = "y" if stop.enabled else "n"
    if stop.watch:
        what = stop.expression + (f" by {stop.by:g}" if stop.by is not None else "")
    else:
        where = "any" if stop.line is None else lines.name(stop.line, snapshot.n_layer)
        what = f"{where} if {stop.expression}" if stop.expression else where
    once = " once" if stop.temporary else ""
    ignore = f"  ignore {stop.ignore}" if stop.ignore else ""
    told = f"  {' ;; '.join(stop.commands)}" if stop.commands else ""
    return f"{stop.name} {on} {what}{once}  hits {stop.hits}{ignore}{told}"


def displays(snapshot: Snapshot) -> RowsView:
    """`d1 ld: +4.42`, as last printed."""
    found = snapshot.state.displays
    rows = tuple(f"{display.name} {display.expression}: {display.last}" for display in found)
    return RowsView("display", rows, tuple(display.name for display in found), "none: display EXPR adds one")


def tops(snapshot: Snapshot) -> RowsView:
    """The most likely next tokens at the token cursor, with what the edits did to each."""
    pos = snapshot.state.pos
    now, base = snapshot.now.logits(pos), snapshot.base.logits(pos)
    best = np.argsort(-now, kind="stable")[:NEXT_TOKENS]
    raised = np.exp(now - now.max())
    edited = bool(snapshot.state.inputs.changes)
    rows = tuple(
        f"{rank:>2} {probability(float(raised[token] / raised.sum())):>5} {now[token]:7.2f}"
        + (f" {signed(float(now[token] - base[token])):>6}" if edited else "")
        + f" {quoted(snapshot.tokenizer, int(token))}"
        for rank, token in enumerate(best)
    )
    at = "END" if pos == snapshot.state.end else str(pos)
    columns = "p, logit, Δ" if edited else "p, logit"
    return RowsView(f"next tokens @{at} ({columns})", rows)
