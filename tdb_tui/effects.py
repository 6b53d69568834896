"""What really becomes of a target when nodes are edited: measured when asked for, kept, and looked up by row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from model.components import RESIDUAL, Component, Kind, Node
from model.edits.interventions import Ablate, Change, Patch, Sources, Span
from model.effects.groups import Groups
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import Scorer, unchanged
from model.nodes import KINDS, NONE, Floats, NodeTable, code_of
from model.sites import Hook
from model.trace import Trace
from tdb_tui.measurements import Key, Measured


class Effect(Enum):
    """How a node is edited to see what it does; the word is the one that `by` takes."""

    ABLATED = "measured"
    "Ablated: zero in place of what it puts out."
    PATCHED = "patched"
    "Given its value in prompt B, at the same token."


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What every question about a run needs."""

    model: GPT2
    trace: Trace
    sources: Sources
    also: Hook


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far a long measurement has come."""

    done: int
    of: int


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """One target of one run, edited one way."""

    run: Run
    scorer: Scorer
    effect: Effect
    known: Measured

    @property
    def baseline(self) -> float:
        """The target as it is measured: of a metric that is not linear, the metric itself."""
        return unchanged(self.run.model, self.run.trace, self.scorer)

    def of(self, table: NodeTable) -> Floats:
        """Target minus target with each row's node edited, where that has been measured, else NaN: [row]."""
        if not self.known.nodes:
            return np.full(len(table), np.nan)
        return self.baseline - self.known.of_nodes(table.codes())

    def of_groups(self, groups: Groups) -> Floats:
        """The same with all nodes of a group edited together: [group]."""
        found = np.full(len(groups.count), np.nan)
        if not len(self.known):
            return found
        named = self._named(groups)
        found[named] = self.known.of_nodes(groups.table.codes()[named])
        if self.known.together:
            for group in np.flatnonzero(~named):
                found[group] = self.known.together.get(self._changes(groups, int(group)), np.nan)
        return self.baseline - found

    def measure(self, nodes: Sequence[Node]) -> Iterator[Progress]:
        """Edit each node and run again what comes after it; what is known is not measured again."""
        live = (node for node in nodes if can_be_measured(node))
        return self._carry_out(
            {
                code_of(node): (self._change(node.component, Span(node.pos, node.pos), node.key),)
                for node in live
            }
        )

    def measure_groups(self, groups: Groups, which: Sequence[int]) -> Iterator[Progress]:
        """Edit all nodes of a group together, one group after the other."""
        named, codes, table = self._named(groups), groups.table.codes(), groups.table
        jobs: dict[Key, tuple[Change, ...]] = {}
        for group in which:
            part, pos = table.component(group), int(table.pos[group])
            if not named[group] or part is None:
                changes = self._changes(groups, group)
                jobs[changes] = changes
            elif part.kind not in UNMEASURED:
                span = None if pos == NONE else Span(pos, pos)
                jobs[int(codes[group])] = (self._change(part, span),)
        jobs.pop((), None)
        return self._carry_out(jobs)

    def _carry_out(self, jobs: Mapping[Key, tuple[Change, ...]]) -> Iterator[Progress]:
        left = [key for key in jobs if self.known.get(key) is None]
        run, known = self.run, len(jobs) - len(left)
        edits = [jobs[key] for key in left]
        found = measure(run.model, run.trace, self.scorer, edits, run.sources, also=run.also)
        for count, (at, value) in enumerate(found, start=1):
            self.known.keep(left[at], value)
            yield Progress(known + count, len(jobs))

    def _named(self, groups: Groups) -> NDArray[np.bool_]:
        """Groups that are one component, at one token or at every token: their code says all."""
        table = groups.table
        whole = (table.pos != NONE) | (groups.tokens == len(self.run.trace.tokens))
        return (table.kind != NONE) & whole

    def _changes(self, groups: Groups, group: int) -> tuple[Change, ...]:
        """The edits of a group, none where one of its rows cannot be edited."""
        places = groups.places(group, len(self.run.trace.tokens))
        if any(part.kind in UNMEASURED for part, _ in places):
            return ()
        return tuple(self._change(part, span) for part, span in places)

    def _change(self, part: Component, span: Span | None, key: int | None = None) -> Change:
        if self.effect is Effect.ABLATED:
            return Ablate(part, span, key)
        own = span or Span(0, len(self.run.trace.tokens) - 1)
        return Patch(part, own, own, key, key)


UNMEASURED = (Kind.TARGET_BIAS, *RESIDUAL)
"""What ablating says nothing about: the constants of a traced scalar, and what edits add to the stream."""


def can_be_measured(node: Node) -> bool:
    """Whether a row is a part that can be edited."""
    return node.component.kind not in UNMEASURED


def measurable(table: NodeTable, groups: Groups | None = None) -> NDArray[np.bool_]:
    """The same for every row of a table, which may be of groups: [row]."""
    fixed = [KINDS.index(kind) for kind in UNMEASURED]
    if groups is None:
        return ~np.isin(table.kind, fixed)
    return np.logical_not(groups.kinds[:, fixed].any(axis=1))
