"""Why not: a smallest set of changes that turns the answer over.

Greedy by measured effect, then pruned: what the set can do without is left out.  Every value is that of a run, none
is an estimate.  A set of one or two is as small as any; a larger one may not be, but no part of it does alone where
it has at most EXHAUSTIVE members.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import copysign, isfinite

from model.edits.interventions import Change, Sources
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import Scorer, metric_scorer, unchanged
from model.metrics import Metric
from model.sites import Hook, no_hook
from model.trace import Trace, record

EXHAUSTIVE = 6
"Members of a set of which every part is tried: 62 runs."


@dataclass(frozen=True, slots=True)
class Flip:
    """What was found; members are places among the candidates, in the order of these."""

    members: tuple[int, ...]
    flips: bool
    "Whether the metric changes its sign; else the set is the best that was found."
    before: float
    after: float
    alone: tuple[float, ...]
    "The metric with each member by itself."
    without: tuple[float, ...]
    "The metric with all members but each."
    exhausted: bool
    "Whether no part of the set turns the answer over by itself, every part having been tried."


@dataclass(frozen=True, slots=True)
class Round:
    """How far the search is."""

    chosen: int
    "How many members have been chosen."
    done: int
    of: int
    "Candidates measured in this round, and how many there are."
    value: float
    "The metric with what has been chosen."


@dataclass(slots=True)
class _Search:
    model: GPT2
    trace: Trace
    scorer: Scorer
    candidates: Sequence[Change]
    sources: Sources
    also: Hook
    known: dict[frozenset[int], float] = field(default_factory=dict)

    def run(self, members: Iterable[int]) -> Trace:
        """With these candidates made, in the order in which they are listed."""
        made = (self.candidates[at] for at in sorted(members))
        changes = (*self.trace.changes, *made)
        return record(self.model, self.trace.tokens, changes, self.sources, also=self.also, base=self.trace)

    def value(self, members: frozenset[int]) -> float:
        """The metric with these candidates made."""
        if members not in self.known:
            self.known[members] = unchanged(self.model, self.run(members), self.scorer)
        return self.known[members]


def smallest_flip(
    model: GPT2,
    trace: Trace,
    metric: Metric,
    candidates: Sequence[Change],
    sources: Sources = Sources(),
    *,
    limit: int = 20,
    also: Hook = no_hook,
) -> Generator[Round, None, Flip]:
    """Yields as it measures, and returns what it found: `flip = yield from smallest_flip(...)`.

    The candidates are made on top of the trace's own changes.  `limit` is the most members; `also` is called at
    every site and may raise to stop.  Raises ValueError where there is no candidate, or no sign to turn over.
    """
    if not candidates:
        raise ValueError("nothing to patch: give at least one node")
    search = _Search(model, trace, metric_scorer(model, metric), candidates, sources, also)
    before = unchanged(model, trace, search.scorer)
    if before == 0 or not isfinite(before):
        raise ValueError(f"the metric is {before:g}: it has no sign to turn over")
    side = copysign(1.0, before)
    members, singles = yield from _chosen(search, before, side, limit)
    if search.known[members] * side < 0:
        members = _pruned(search, members, side)
    return _found(search, members, before, singles)


def _chosen(
    search: _Search, before: float, side: float, limit: int
) -> Generator[Round, None, tuple[frozenset[int], dict[int, float]]]:
    """Members added one by one, each the one that then does most; and what each candidate does alone."""
    singles: dict[int, float] = {}
    members, value = frozenset[int](), before
    search.known[members] = before
    left = range(len(search.candidates))
    while left and value * side > 0 and len(members) < limit:
        trace = search.run(members) if members else search.trace
        found: dict[int, float] = {}
        each = [search.candidates[at] for at in left]
        run = measure(search.model, trace, search.scorer, each, search.sources, also=search.also)
        for done, (at, reached) in enumerate(run, 1):
            found[left[at]] = reached
            yield Round(len(members), done, len(left), value)
        if not members:
            singles = found
            # what moves nothing alone reads nothing that differs, or is not read
            found = {at: reached for at, reached in found.items() if reached != before}
        best = min(found, key=lambda at: (found[at] * side, at), default=None)
        if best is None or search.value(members | {best}) * side >= value * side:
            break
        members |= {best}
        value = search.value(members)
        left = [at for at in sorted(found) if at != best]
    return members, singles


def _pruned(search: _Search, members: frozenset[int], side: float) -> frozenset[int]:
    """What is left when nothing can be left out; the least of a small set's parts that do."""
    while len(members) > 1:
        values = {at: search.value(members - {at}) * side for at in sorted(members)}
        least = min(values, key=lambda at: values[at])
        if values[least] >= 0:
            break
        members -= {least}
    if len(members) <= EXHAUSTIVE:
        for size in range(1, len(members) - 1):
            for part in combinations(sorted(members), size):
                if search.value(frozenset(part)) * side < 0:
                    return frozenset(part)
    return members


def _found(search: _Search, members: frozenset[int], before: float, singles: dict[int, float]) -> Flip:
    ordered = tuple(sorted(members))
    after = search.value(members)
    flips = after * before < 0
    return Flip(
        ordered,
        flips,
        before,
        after,
        alone=tuple(singles[at] for at in ordered),
        without=tuple(search.value(members - {at}) for at in ordered),
        exhausted=flips and len(ordered) <= EXHAUSTIVE,
    )
