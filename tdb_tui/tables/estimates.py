"""Estimates of what nodes do beside what is measured of them, and where and why the two disagree.  No terminal here.

Every number has the sign of `total` and `measured`: the target minus the target with the node edited.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.components import Kind, Node
from model.edits.interventions import Ablate, Change, Patch, Span
from model.effects.attribution import Treatment
from model.effects.backward import Question
from model.estimates.disagreement import Criteria, Disagreement, disagreement, marked
from model.estimates.estimators import attribution_patching, graddrop
from model.estimates.integrated import Rule, integrated_edit
from model.estimates.qk_fix import qk_fix
from model.estimates.remainders import Slopes, slopes
from model.estimates.swap import Swap
from model.nodes import KINDS, NONE, Floats, NodeTable
from model.trace import Trace, record
from tdb_tui.asked import Asked
from tdb_tui.effects import Effect, can_be_measured

MARK = "!"
"Beside a row whose estimate and measurement disagree."

CRITERIA = Criteria()


def disagreeing(table: NodeTable, measured: Floats, target: float) -> NDArray[np.bool_]:
    """Rows whose total effect and measurement disagree, about something that matters to the target: [row].

    Not those that have not been measured.
    """
    found = np.zeros(len(table), dtype=bool)
    for row in np.flatnonzero(~np.isnan(measured)):
        found[row] = marked(float(table.total[row]), float(measured[row]), target, CRITERIA)
    return found


@dataclass(frozen=True, slots=True)
class Recipe:
    """What integrated gradients, GradDrop and the QK fix put in a node's place, and how gradients are integrated."""

    effect: Effect = Effect.ABLATED
    steps: int = 16
    rule: Rule = Rule.MIDPOINT

    @property
    def source(self) -> str:
        return "zero" if self.effect is Effect.ABLATED else "B"


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """A head's query, key and value exchanged at its row's token; not a number for other rows.  All [row]."""

    q: Floats
    "Through the softmax exactly: the QK fix."
    k: Floats
    v: Floats
    q_linear: Floats
    "As attribution patching has it."
    k_linear: Floats


@dataclass(eq=False)
class Study:
    """Some rows of one question.  Holds no state but what it has already computed."""

    asked: Asked
    question: Question
    "The metric, or the frame."
    table: NodeTable
    "Of single nodes."
    other: Trace | None
    "Prompt B's run, where it is as long."
    recipe: Recipe

    @property
    def patching(self) -> Floats:
        """Attribution patching: what B's value in place of the node's would take away, by first order; norms live."""
        if self.other is None:
            return np.full(len(self.table), np.nan)
        return -attribution_patching(self._swap(Effect.PATCHED)).column(self.table)

    @property
    def dropped(self) -> tuple[Floats, Floats]:
        """GradDrop's mean over passes that each drop one layer's gradient: signed, and of absolute values."""
        found = graddrop(self._swap(self.recipe.effect))
        return -found.signed.column(self.table), found.absolute.column(self.table)

    @property
    def inputs(self) -> Inputs:
        found = qk_fix(self._swap(self.recipe.effect))
        table = self.table
        rows = (table.kind == KINDS.index(Kind.HEAD)) & (table.key == NONE)
        at = table.layer[rows], table.index[rows], table.pos[rows]
        columns: list[Floats] = []
        for values in (found.q, found.k, found.v, found.q_linear, found.k_linear):
            columns.append(np.full(len(table), np.nan))
            columns[-1][rows] = -values.double().cpu().numpy()[at]
        return Inputs(*columns)

    def integrated(self) -> Iterator[float]:
        """Integrated gradients of each row's edit, one row after the other."""
        swap = self._swap(self.recipe.effect)
        for row in range(len(self.table)):
            node = self.table.node(row)
            if node.component.kind in (Kind.FINAL_BIAS, Kind.TARGET_BIAS):
                yield np.nan
            else:
                change = edit_of(node, self.recipe.effect)
                yield -integrated_edit(swap, change, self.recipe.steps, self.recipe.rule)

    def reason(self, row: int, effect: Effect, estimate: float, measured: float) -> Disagreement | None:
        """Why an estimate of a row's edit and its measurement disagree; None where they agree."""
        node = self.table.node(row)
        if (
            not marked(estimate, measured, self.asked.value, CRITERIA)
            or node.component.kind is Kind.FINAL_BIAS
        ):
            return None
        run = self.asked.run
        changes = (*run.trace.changes, edit_of(node, effect))
        after = record(run.model, run.trace.tokens, changes, run.sources, also=run.also, base=run.trace)
        return disagreement(self._slopes, after, -estimate, -measured, self.asked.value, CRITERIA)

    @cached_property
    def _slopes(self) -> Slopes:
        return slopes(self._swap(Effect.ABLATED))

    def _swap(self, effect: Effect) -> Swap:
        run, other = self.asked.run, self.other if effect is Effect.PATCHED else None
        return Swap(run.model, run.trace, other, self.question, run.sources, Treatment.NONE, run.also)


def edit_of(node: Node, effect: Effect) -> Change:
    """The edit that measuring a node makes."""
    own = Span(node.pos, node.pos)
    if effect is Effect.ABLATED:
        return Ablate(node.component, own, node.key)
    return Patch(node.component, own, own, node.key, node.key)


def editable(node: Node, effect: Effect) -> bool:
    """Whether a row has something to exchange: a bias is the same in both prompts."""
    return can_be_measured(node) and (effect is Effect.ABLATED or node.component.kind.group != "bias")
