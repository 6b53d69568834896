"""Which latents a sweep or a search goes over: those that an edit is estimated to move the target by most."""

from collections.abc import Collection, Sequence

import numpy as np

from model.components import DICTIONARY_SITES, Component, Kind
from model.effects.groups import grouped
from model.effects.latents import STREAM, line_of_place, patched_table
from model.nodes import NodeTable, joined
from model.sites import Where
from tdb_tui.asked import Asked
from tdb_tui.language.arguments import span_of
from tdb_tui.session import Snapshot
from tdb_tui.sweeps.plans import Sweep
from tdb_tui.sweeps.spots import counterparts
from tdb_tui.tables.ranking import letters_of


def places_in_use(asked: Asked, swapped: Collection[str]) -> tuple[Where, ...]:
    """The dictionaries that are swapped in, all that can stand side by side where none is."""
    return asked.in_use(letters_of(swapped) if swapped else tuple(DICTIONARY_SITES))


def strongest(snapshot: Snapshot, sweep: Sweep, count: int) -> tuple[Component, ...]:
    """The latents of a sweep: those that it names, of the others the `count` with the largest estimated effect.

    Ablated, what they do at all its tokens together; patched, what their values in the other run would add there
    (attribution patching): a latent that is active in that run alone is among them.
    """
    named = [part for part in sweep.parts if part.kind is Kind.LATENT]
    lines = {part.line for part in sweep.parts if part.kind is not Kind.LATENT}
    if named and not lines:
        return tuple(dict.fromkeys(named))
    places = places_in_use(snapshot.asked, snapshot.state.rank.latents)
    if lines:
        loaded = snapshot.now.trace.dictionaries
        places = tuple(at for at in loaded if at[0] not in STREAM and line_of_place(at) in lines)
    span = None if sweep.at is None or sweep.over else span_of(snapshot, sweep.at)
    every = range(snapshot.state.end + 1) if span is None else range(span.first, span.last + 1)
    table = _table(snapshot, sweep, places, every)
    found = grouped(table, "component")
    order = np.argsort(-np.abs(found.table.total), kind="stable")[:count]
    parts = (found.table.component(int(row)) for row in order)
    return tuple(dict.fromkeys([*named, *(part for part in parts if part is not None)]))


def _table(snapshot: Snapshot, sweep: Sweep, places: Sequence[Where], positions: Sequence[int]) -> NodeTable:
    """A row a latent and token, its total what the sweep's edit there is estimated to take away or to add."""
    asked = snapshot.asked
    if not sweep.patches:
        return asked.of_dictionaries("latent", tuple(places), tuple(positions))
    partner, run = counterparts(snapshot, sweep.example), asked.run
    here = [pos for pos in positions if partner[pos] >= 0]
    other = run.sources.other if sweep.example is None else run.sources.examples[sweep.example]
    assert other is not None  # whoever patches has been asked for it
    both = other, here, [partner[pos] for pos in here]
    tables = (patched_table(run.model, run.trace, asked.gradients, at, *both) for at in places)
    return joined([NodeTable.empty(), *tables])
