"""A head's attention, weighed as the session says."""

from model.components import Component
from model.effects.attention_maps import pair_effects, written_norms
from model.nodes import Floats
from tdb_tui.session import Snapshot
from tdb_tui.state import Weighed


def weighed(snapshot: Snapshot, head: Component, by: Weighed) -> Floats:
    """Weights, what they carry, or what that brings to what the selected frame asks about: [query, key]."""
    run = snapshot.now
    match by:
        case Weighed.VALUES:
            found = written_norms(run.model, run.trace, head)
        case Weighed.EFFECT:
            found = pair_effects(run.model, run.trace, snapshot.asked.gradients, head)
        case _:
            return run.pattern(head)
    return found.double().cpu().numpy()
