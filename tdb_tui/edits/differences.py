"""Two runs side by side, right minus left: what they say, what they are made of, where their heads look."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.components import Component, Kind
from tdb_tui.readings import Reading
from tdb_tui.state import Inputs
from tdb_tui.tables.sides import Comparison, Ints, Place, compared, live, partners

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One of the two runs."""

    name: str
    inputs: Inputs
    reading: Reading
    place: Place

    @property
    def pos(self) -> int:
        """The token at which the metric reads."""
        return self.reading.metric.pos


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a head's attention has moved at the metric's token."""

    head: Component
    distance: float
    "Total variation, from 0 to 1; what is paid to tokens that the other side lacks counts as moved."
    key: int
    "Of the left side's tokens that both have, the one whose weight changed most."
    left: float
    right: float
    "Its weight on either side."


def joined(left: Subject, right: Subject) -> Ints:
    """Each right token's left one, -1 where it has none: [right pos]."""
    return partners(right.place, left.place)


def movers(left: Subject, right: Subject, kinds: Sequence[str]) -> Comparison:
    """All nodes of some kinds joined: the comparison's left is our right, so that it is right minus left."""
    after, before = (live(each.name, each.place, each.reading.asked(), kinds, None) for each in (right, left))
    return compared(after, before, joined(left, right))


def attention_moved(left: Subject, right: Subject) -> list[Moved]:
    """Every head, the one whose attention has moved most first."""
    partner, config = joined(left, right), left.reading.model.config
    found: list[Moved] = []
    for layer in range(config.n_layer):
        for index in range(config.n_head):
            head = Component(Kind.HEAD, layer, index)
            before, after = (each.reading.pattern(head)[each.pos] for each in (left, right))
            found.append(_moved(head, before, after, partner))
    return sorted(found, key=lambda moved: -moved.distance)


def _moved(head: Component, before: Floats, after: Floats, partner: Ints) -> Moved:
    """One head's rows of weights, `partner` being the left token of each right one."""
    both = partner >= 0
    there, here = before[partner[both]], after[both]
    alone = (before.sum() - there.sum()) + (after.sum() - here.sum())
    change = np.abs(here - there)
    most = int(change.argmax()) if len(change) else 0
    distance = float(change.sum() + alone) / 2
    if not len(change):
        return Moved(head, distance, 0, float(before[0]), 0.0)
    return Moved(head, distance, int(partner[both][most]), float(there[most]), float(here[most]))


def likely(left: Subject, right: Subject, count: int) -> list[int]:
    """The `count` likeliest next tokens of each side, and the targets and distractors, by what they are now."""
    logits = [each.reading.logits(each.pos) for each in (left, right)]
    metric = right.reading.metric
    best = [int(token) for side in logits for token in np.argsort(-side, kind="stable")[:count]]
    tokens = dict.fromkeys([*best, *metric.targets, *metric.distractors])
    return sorted(tokens, key=lambda token: -logits[1][token])


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
