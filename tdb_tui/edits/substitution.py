"""Dictionaries that stand in the place of what they take apart: nothing left over, and what that costs the prompt."""

from model.components import Kind
from model.dictionaries import LETTER_OF, place_of
from model.edits.interventions import Ablate, Mode
from model.effects.latents import line_of_place
from model.sites import Where
from sae.quality import Losses, losses
from tdb_tui.session import Snapshot

MOST = 4
"""Dictionaries that are named."""


def substituted(snapshot: Snapshot) -> tuple[Where, ...]:
    """The places whose error terms are off at every token, by the edits in force."""
    off = (
        change.component
        for change in snapshot.state.inputs.changes
        if isinstance(change, Ablate) and change.component.kind is Kind.ERROR and _is_off(snapshot, change)
    )
    return tuple(sorted(set(map(place_of, off)), key=line_of_place))


def _is_off(snapshot: Snapshot, change: Ablate) -> bool:
    span = change.span
    return change.mode is Mode.ZERO and (span is None or (span.first, span.last) == (0, snapshot.state.end))


def prompt_losses(snapshot: Snapshot, places: tuple[Where, ...]) -> Losses:
    """Of the run without edits, of one with these dictionaries in place, of one with zeros there."""
    base = snapshot.base
    return losses(base.model, base.trace, places, base.sources, also=base.also)


def losses_said(places: tuple[Where, ...], found: Losses) -> str:
    """`Fm3 in place: the prompt's cross-entropy 1.737 -> 1.802 nats, .97 of what zeros there cost recovered`."""
    count = len(places)
    names = [f"F{LETTER_OF[site]}{layer}" for site, layer in places]
    named = ", ".join(names) if count <= MOST else f"{', '.join(names[:MOST])} and {count - MOST} more"
    return (
        f"{named} in place: the prompt's cross-entropy {found.clean:.3f} -> {found.spliced:.3f} nats, "
        f"{found.recovered:.3f} of what zeros there cost recovered"
    )
