"""Everything that the stores of a session know of one component, looked up at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from explanations.records import Example, Explanation, Sampling, Statistics
from model.components import Component
from tdb_tui.stores import Stores


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    component: Component
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...]
    statistics: Statistics | None
    examples: Mapping[Sampling, Sequence[Example]]
    measures: tuple[str, ...] = ()
    "What it does in the run that it was asked about in, in words."


def known(stores: Stores, component: Component) -> Known:
    """Raises CommandError for a store that cannot be read."""
    node = str(component)
    notes = tuple(note.text for note in stores.notes(node))
    found = {sampling: stores.examples(node, sampling) for sampling in Sampling}
    return Known(component, stores.explanations(node), notes, stores.statistics(node), found)
