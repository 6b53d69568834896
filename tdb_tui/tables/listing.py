"""The pass as source code: one row a line, and the rows of the line that has been stepped into."""

from dataclasses import dataclass

import numpy as np

from model.components import Component
from tdb_tui import lines
from tdb_tui.scope import opened
from tdb_tui.session import Snapshot


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    number: str
    "`19`, or `.3` for a row of the opened line."
    marks: str
    "B breakpoint, o disabled one, * edit, C in the circuit, >> the largest change of the pass."
    name: str
    delta: float
    "What the line adds to the lens."
    lens: float
    "The metric through the lens after it."
    arrow: bool
    executed: bool
    opened: bool
    "Whether this is a row of the opened line."
    top: int | None
    "The most likely token after it; None inside a line."


def listing(snapshot: Snapshot) -> list[Row]:
    """Every line, with those of an opened line below it, read at the token cursor."""
    place, pos, n_layer = snapshot.state.place, snapshot.state.pos, snapshot.n_layer
    read, values, deltas = (
        snapshot.now.lens(pos),
        snapshot.asked.through_lens(pos),
        snapshot.asked.deltas(pos),
    )
    largest = int(np.abs(deltas).argmax())
    rows: list[Row] = []
    for line in range(lines.count(n_layer)):
        here = line == place.line
        rows.append(
            Row(
                line,
                str(line),
                _marks(snapshot, line) + (">>" if line == largest else ""),
                lines.name(line, n_layer),
                float(deltas[line]),
                float(values[line]),
                arrow=here and place.inside is None,
                executed=line < place.line,
                opened=False,
                top=int(read.top[line, 0]),
            )
        )
        if here and place.inside is not None:
            rows += _opened(snapshot, line, place.inside)
    return rows


def _opened(snapshot: Snapshot, line: int, at: int) -> list[Row]:
    inside = opened(snapshot, line)
    return [
        Row(
            line,
            "." + ("+" if row == len(inside.delta) - 1 else str(row)),
            "" if part is None else _marks_inside(snapshot, part),
            name,
            float(inside.delta[row]),
            float(inside.value[row]),
            arrow=row == at,
            executed=row < at,
            opened=True,
            top=None,
        )
        for row, (part, name) in enumerate(zip(inside.rows, inside.names, strict=True))
    ]


def _marks(snapshot: Snapshot, line: int) -> str:
    marks = ""
    at = [stop for stop in snapshot.state.stops if stop.line == line]
    if at:
        marks += "B" if any(stop.enabled for stop in at) else "o"
    if any(
        lines.line_of(change.component, snapshot.n_layer) == line for change in snapshot.state.inputs.changes
    ):
        marks += "*"
    if any(lines.line_of(part, snapshot.n_layer) == line for part in _drafted(snapshot)):
        marks += "C"
    return marks


def _marks_inside(snapshot: Snapshot, part: Component) -> str:
    return ("*" if _edited(snapshot, part) else "") + ("C" if part in _drafted(snapshot) else "")


def _drafted(snapshot: Snapshot) -> set[Component]:
    """What the circuit in use is made of, where it is of this prompt."""
    draft = snapshot.state.draft
    if draft is None or not draft.is_of(snapshot.state.inputs.prompt):
        return set()
    return {node.component for node in draft.nodes}


def _edited(snapshot: Snapshot, part: Component) -> bool:
    return any(change.component == part for change in snapshot.state.inputs.changes)
