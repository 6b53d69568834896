"""Everything that is known of one component, looked up at once, and what a search has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from explanations.records import Best, Example, Explanation, Hit, Sampling, Statistics
from model.components import Component
from tdb_tui.stores import Stores
from tdb_tui.tables.acts import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A text that was typed, and what the component does on it."""

    tokens: tuple[int, ...]
    acts: Floats
    "[pos]; of a head [query, key]"


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    component: Component
    explanations: tuple[Explanation, ...]
    notes: tuple[str, ...]
    statistics: Statistics | None
    examples: Mapping[Sampling, Sequence[Example]]
    scored: Explanation | None = None
    "A sentence that was typed, with its score."
    measures: tuple[str, ...] = ()
    "What it does in the run that it was asked about in, in words."
    tried: tuple[Tried, ...] = ()
    "The last first."
    pos: int | None = None
    "The token that it was asked about at, where one was written."
    found: bool = False
    "Whether a search led here, to which one can go back."


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search for words has found."""

    words: str
    hits: tuple[Hit, ...]
    said: Mapping[str, Best]
    "The best explanation of each that has one."


def known(stores: Stores, component: Component) -> Known:
    """Raises CommandError for a store that cannot be read."""
    node = str(component)
    notes = tuple(note.text for note in stores.notes(node))
    found = {sampling: stores.examples(node, sampling) for sampling in Sampling}
    return Known(component, stores.explanations(node), notes, stores.statistics(node), found)
