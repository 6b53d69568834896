"""Snapshot -> the last sweep."""

from model.nodes import Floats
from tdb_tui.session import Snapshot
from tdb_tui.sweeps.heat import ends_text
from tdb_tui.sweeps.values import Picture
from tdb_tui.views.heat import Grid, HeatView


def sweep(snapshot: Snapshot) -> HeatView | None:
    """None where there has been none."""
    found = snapshot.sweep
    if found is None:
        return None
    return HeatView(
        title=found.words,
        rows=found.rows.labels,
        columns=found.columns.labels,
        heads=_heads(found),
        shown=_plain(found.shown),
        metric=_plain(found.values),
        nodes=found.nodes,
        commands=found.commands,
        scale=found.scale,
        ends=ends_text(found),
        normalised=found.is_normalised,
        scalable=found.scalable,
        old=found.of != snapshot.state.inputs,
    )


def _heads(found: Picture) -> tuple[str, ...]:
    return tuple(map(str, found.positions)) or found.columns.labels


def _plain(values: Floats) -> Grid:
    return tuple(map(tuple, values.tolist()))
