"""Snapshot -> the pass as source code, for its pane."""

from model.components import Kind
from tdb_tui import lines
from tdb_tui.scope import opened
from tdb_tui.session import Snapshot
from tdb_tui.tables.listing import Row
from tdb_tui.tables.listing import listing as listed
from tdb_tui.views.data import ListingRow, ListingView
from tdb_tui.views.scale import scale_of
from tdb_tui.views.title import unit


def listing(snapshot: Snapshot) -> ListingView:
    rows = tuple(_row(snapshot, row) for row in listed(snapshot))
    arrow = next((at for at, row in enumerate(rows) if row.arrow), len(rows))
    scale, root = scale_of(snapshot, max((abs(row.delta) for row in rows), default=0.0))
    place = snapshot.state.place
    inside = "" if place.inside is None else opened(snapshot, place.line).word
    return ListingView(rows, arrow, scale, unit(snapshot), root, inside)


def _row(snapshot: Snapshot, row: Row) -> ListingRow:
    stops = [] if row.opened else [stop for stop in snapshot.state.stops if stop.line == row.line]
    line = lines.name(row.line, snapshot.n_layer)
    return ListingRow(
        number=row.number,
        name=row.name,
        delta=row.delta,
        value=row.lens,
        executed=row.executed,
        arrow=row.arrow,
        largest=">>" in row.marks,
        stop=stops[0].name if stops else "",
        stop_enabled=any(stop.enabled for stop in stops),
        edited="*" in row.marks,
        circuit="C" in row.marks,
        top="" if row.top is None else snapshot.tokenizer.display(row.top),
        node=_node(snapshot, row, line),
        line=line,
    )


def _node(snapshot: Snapshot, row: Row, line: str) -> str:
    """What a command calls the row; the row that sums up many parts has no name."""
    if not row.opened:
        return "" if lines.component(row.line, snapshot.n_layer).kind is Kind.UNEMBED else line
    return "" if " more" in row.name else row.name
