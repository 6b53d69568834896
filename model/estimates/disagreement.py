"""Where an estimate and a measurement disagree, and the likely reason, read off stated numbers.

The gap between the two is shared out among the steps that it comes from (`remainders.py`), and set beside what
the edited parts and those after them did to the target directly (`repair.py`) and the paths that the estimate
added up (`edges.py`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from model.edits.interventions import Where
from model.estimates.remainders import Slopes, Step, edited_line, remainders
from model.gpt2 import wide
from model.measured.repair import Place, shifts
from model.sites import Site
from model.trace import Trace
from model.upstream.edges import gross

SATURATING = (Step.NORM, Step.SOFTMAX, Step.ACTIVATION, Step.METRIC)


class Reason(Enum):
    HELD = "held scale or bias"
    "Not nonlinearity: the estimate holds a layer norm's scale, or leaves out a bias, which the edit moves."
    SELF_REPAIR = "self-repair"
    "Components after the edit moved against its direct effect, more than the gradient foresaw."
    CANCELLATION = "cancellation"
    "Large opposite paths nearly cancel in the estimate, so a small error in each is a large one in it."
    SATURATION = "saturation"
    "One saturating step (softmax, layer norm, activation, a probability) holds most of the gap: its slope misleads."
    INTERACTION = "interaction"
    "None of these: products, or many steps together."


@dataclass(frozen=True, slots=True)
class Criteria:
    """When a mark is made and which reason is given, tried in the order of `Reason`.

    A mark says that the estimate would mislead: it has the other sign, or is more than three times too large or too
    small, about something that matters to the target.  First order is seldom nearer than 25 % where heads are
    saturated, so that marking this much would mark nearly every row and say nothing.
    """

    relative: float = 2 / 3
    "Marked: |gap| more than this part of the larger of |estimate| and |measured| ..."
    share: float = 0.05
    "... and more than this part of the target's own absolute value in the run ..."
    absolute: float = 0.02
    "... and more than this, in the target's unit: the least that counts where the target itself is about zero."
    left_out: float = 0.5
    "Held scale or bias: at least this part of the gap is there before anything nonlinear happens."
    repaired: float = 0.3
    "Self-repair: components after it undo at least this part of the direct change, and the gap goes the same way."
    kept: float = 0.2
    "Cancellation: of the paths' absolute sum, at most this part is left in the estimate."
    held: float = 0.5
    "Saturation: one kind of saturating step holds at least this part of the gap, with its sign."


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a reason is read off."""

    estimate: float
    measured: float
    direct: float
    "Change of the edited components' own direct effect, the final scale held."
    downstream: float
    "The same of components after them."
    gross: float
    "Absolute sum of the edited write's edges."
    shares: Mapping[Step, float]
    "The gap by kind of step; adds up to it."

    @property
    def gap(self) -> float:
        return self.measured - self.estimate


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A mark for a row, and why it is likely there."""

    reason: Reason
    step: Step
    "The kind of step that holds most of the gap."
    evidence: Evidence


def disagreement(
    of: Slopes, after: Trace, estimate: float, measured: float, target: float, criteria: Criteria = Criteria()
) -> Disagreement | None:
    """None where they agree.  `estimate` and `measured` are changes of `target`; `after` is the edited run.

    Raises ValueError where the runs differ by edits on more than one line, which have no single first order.
    """
    if not marked(estimate, measured, target, criteria):
        return None
    return judged(evidence(of, after, estimate, measured), criteria)


def marked(estimate: float, measured: float, target: float, criteria: Criteria = Criteria()) -> bool:
    """Whether the estimate of a change of the target, which is `target` without it, would mislead."""
    gap = abs(measured - estimate)
    matters = gap > max(criteria.absolute, criteria.share * abs(target))
    return matters and gap > criteria.relative * max(abs(estimate), abs(measured))


def judged(found: Evidence, criteria: Criteria = Criteria()) -> Disagreement:
    """The first reason whose criterion the evidence meets."""
    sign = math.copysign(1.0, found.gap)
    step = max(found.shares, key=lambda each: sign * found.shares[each])
    if sign * found.shares[Step.HELD] >= criteria.left_out * abs(found.gap):
        return Disagreement(Reason.HELD, Step.HELD, found)
    against = found.direct * found.gap < 0 and found.direct * found.downstream < 0
    if against and abs(found.downstream) >= criteria.repaired * abs(found.direct):
        reason = Reason.SELF_REPAIR
    elif abs(found.estimate) <= criteria.kept * found.gross:
        reason = Reason.CANCELLATION
    elif step in SATURATING and sign * found.shares[step] >= criteria.held * abs(found.gap):
        reason = Reason.SATURATION
    else:
        reason = Reason.INTERACTION
    return Disagreement(reason, step, found)


def evidence(of: Slopes, after: Trace, estimate: float, measured: float) -> Evidence:
    """What both runs recorded, and the unedited run's slopes."""
    model, before, line = of.swap.model, of.before, edited_line(of.before, after)
    rows = shifts(model, before, after, of.swap.asked)
    direct = {place: sum(row.frozen for row in rows if row.place is place) for place in Place}
    paths = gross(model, before, of.inputs, _written(before, after, line), line)
    shares = remainders(of, after)
    shares[Step.HELD] = measured - estimate - sum(shares.values())
    return Evidence(estimate, measured, direct[Place.EDITED], direct[Place.DOWNSTREAM], paths, shares)


def _written(before: Trace, after: Trace, line: int) -> Tensor:
    """What the edit adds to the residual stream after its line: [pos, d_model]."""
    at: Where = (Site.RESID_MID if line % 2 else Site.RESID_POST, (line - 1) // 2)
    if line == 0:
        at = Site.RESID_PRE, 0
    return wide(after[at]) - wide(before[at])
