"""Measured effects: what really becomes of a target when a component is edited.

An edit of one component adds a vector to the residual stream after its line, at its tokens and perhaps later
ones, and changes nothing before.  So only what comes after it is run again, many edits in one batch, up to what
the target reads: see `suffix`.  Edits that do more, or edges and paths in force, take a batch of whole layers: `rows`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.components import DICTIONARY, SCALES, Kind
from model.dictionaries import recorded_at
from model.edits.interventions import SINGLE, Change, Compound, Sources, Where, as_hook, flat, site_of
from model.effects.attribution import head_matrix
from model.gpt2 import GPT2, wide
from model.lines import written_on
from model.measured.rows import can_be_rows, values_of_rows
from model.measured.scorers import Scorer, unchanged
from model.measured.suffix import Goal, Push, Start, batches, carried
from model.sites import Hook, Site, no_hook
from model.trace import Trace, record

READ = (Site.Q, Site.K, Site.V)
"What attention makes its output of."
NEVER = 1_000_000
"Beyond every line: where nothing is changed."


@dataclass(frozen=True, slots=True)
class Job:
    """Edits made together, and how soon they matter."""

    number: int
    changes: tuple[Change, ...]
    line: int
    "The first line that they change."
    first: int
    "The first token that they change."


@torch.no_grad()
def measure(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    changes: Sequence[Change | Compound | Sequence[Change | Compound]],
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, float]]:
    """(index of the change, target with that change made on top of the trace's own), as they are computed.

    Several changes in place of one are made together.  `also` is called before every line and may raise to stop.
    Agrees with `record` and scoring to rounding; what changes nothing gives `unchanged` exactly.
    """
    jobs = [_job(number, change) for number, change in enumerate(changes)]
    starts: list[Push] = []
    rows: list[tuple[int, tuple[Change, ...]]] = []
    for job in jobs:
        if _is_a_push(job, trace) or scorer.goal.is_too_late(job.line, job.first):
            starts.append(Push(job.number, job.line, job.first))
        elif can_be_rows(job.changes):
            rows.append((job.number, job.changes))
        else:
            run = record(model, trace.tokens, (*trace.changes, *job.changes), sources, also=also, base=trace)
            yield job.number, unchanged(model, run, scorer)

    def added(push: Push) -> Tensor:
        return pushed(model, trace, jobs[push.number].changes, push.first, sources)

    yield from values_after(model, trace, scorer, starts, added, sources, also=also)
    yield from values_of_rows(model, trace, scorer, rows, sources, also=also)


@torch.no_grad()
def values_after(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    pushes: Sequence[Push],
    added: Callable[[Push], Tensor],
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, float]]:
    """(number, target) of each push, batch by batch; what adds nothing leaves the target as it was, exactly.

    `added` gives what a push adds to the residual stream from its first token on: [pos, d_model].  The trace's
    own edits of later lines are made again.  Raises ValueError where edges or paths are among them: `measure` whole
    changes then.
    """
    value, goal = unchanged(model, trace, scorer), scorer.goal
    late = all(goal.is_too_late(push.line, push.first) for push in pushes)
    if not late and not all(isinstance(change, SINGLE) for change in trace.changes):
        raise ValueError("what comes after edges and paths is not replayed, but run again whole")
    final = max((_line(change) for change in trace.changes), default=0)
    free: list[Push] = []
    followed: list[Push] = []
    for push in pushes:
        if goal.is_too_late(push.line, push.first):
            yield push.number, value
        elif push.line < final:
            followed.append(replace(push, first=0))
        else:
            free.append(push)
    again = as_hook(trace.changes, sources) if followed else None
    for group, edits in ((free, None), (followed, again)):
        still: list[int] = []
        for batch in batches(_moving(group, added, goal, edits is not None, still), goal):
            values = scorer.score(carried(model, trace, goal, batch, also, edits), trace).tolist()
            yield from ((push.number, new) for (push, _), new in zip(batch, values, strict=True))
        yield from ((number, value) for number in still)


def _moving(
    pushes: Sequence[Push], added: Callable[[Push], Tensor], goal: Goal, whole: bool, still: list[int]
) -> Iterator[Start]:
    """Pushes that move something, in the order of their lines; the numbers of the others go into `still`."""
    for push in sorted(pushes, key=lambda push: (push.line, push.first)):
        start = _begun(push, added(push), goal, whole)
        if start is None:
            still.append(push.number)
        else:
            yield start


def _begun(push: Push, delta: Tensor, goal: Goal, whole: bool) -> Start | None:
    """A push from the first token that it moves, or where it begins if `whole`; None where it moves nothing read."""
    moved: list[int] = delta[: goal.stop - push.first].any(1).nonzero()[:, 0].tolist()
    at = {push.first + pos for pos in moved}
    if not moved or (goal.is_apart(push.line) and at.isdisjoint(goal.positions)):
        return None
    skip = 0 if whole else moved[0]
    return replace(push, first=push.first + skip), delta[skip:]


def pushed(model: GPT2, trace: Trace, changes: Sequence[Change], first: int, sources: Sources) -> Tensor:
    """What changes at one site add to the residual stream after their line, from token `first` on: [pos, d_model]."""
    at = site_of(changes[0])
    site, layer = at
    recorded = trace[at][None]
    hook = as_hook(changes, sources)
    read = trace.dictionaries[at].reads if at in trace.dictionaries else at
    if read != at:
        hook(*read, (trace[read] if read in trace.acts else recorded_at(trace, read))[None])
    diff = wide(hook(site, layer, recorded) - recorded)[0]
    indices = {change.component.index for change in changes}
    spliced = any(change.component.kind in DICTIONARY for change in changes)
    every = spliced or (None in indices and site in (Site.Z, Site.PATTERN, *READ))
    count = diff.shape[-1 if site is Site.MLP_POST else 0]
    parts = range(count) if every else sorted(index or 0 for index in indices)
    match site:
        case Site.PATTERN:
            w_o, values = head_matrix(model, layer), wide(trace[Site.V, layer])
            delta = torch.stack([diff[head, first:] @ values[head] @ w_o[head] for head in parts]).sum(0)
        case Site.Z:
            w_o = head_matrix(model, layer)
            delta = torch.stack([diff[head, first:] @ w_o[head] for head in parts]).sum(0)
        case Site.Q | Site.K | Site.V:
            w_o = head_matrix(model, layer)
            delta = (_attended(trace, at, diff, list(parts), first) @ w_o[list(parts)]).sum(0)
        case Site.MLP_POST:
            delta = diff[first:, parts] @ wide(model.blocks[layer].mlp.c_proj.weight[parts])
        case _:
            delta = diff[first:]
    return delta.to(recorded.dtype)


def _attended(trace: Trace, at: Where, diff: Tensor, heads: list[int], first: int) -> Tensor:
    """What moving queries, keys or values adds to some heads' outputs, from a token on: [head, pos, d_head]."""
    site, layer = at
    here = {each: wide(trace[each, layer][heads]) for each in READ}
    length = here[Site.K].shape[1]
    ahead = torch.ones(length - first, length, dtype=torch.bool, device=diff.device).triu(1 + first)

    def outputs(inputs: Mapping[Site, Tensor]) -> Tensor:
        q, k, v = (inputs[each] for each in READ)
        scores = q[:, first:] @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        return scores.masked_fill(ahead, -math.inf).softmax(-1) @ v

    return outputs({**here, site: here[site] + diff[heads]}) - outputs(here)


def _job(number: int, change: Change | Compound | Sequence[Change | Compound]) -> Job:
    changes = flat(change if isinstance(change, Sequence) else (change,))
    lines = [_line(each) for each in changes]
    firsts = [0 if each.span is None else each.span.first for each in changes]
    return Job(number, changes, min(lines, default=NEVER), min(firsts, default=0))


def _is_a_push(job: Job, trace: Trace) -> bool:
    """Whether it only adds to the residual stream: edits of one site, and the trace's own at that line there too."""
    if not all(isinstance(change, SINGLE) for change in (*job.changes, *trace.changes)):
        return False
    sites = {_pushes(change) for change in job.changes}
    if _splices(job.changes) & _splices(trace.changes):
        return False  # all edits of a dictionary are made of one encoding
    own = {_pushes(change) for change in trace.changes if _line(change) == job.line}
    return len(sites) == 1 and None not in sites and own <= sites


def _splices(changes: Sequence[Change]) -> set[Where]:
    """Where parts of dictionaries are edited."""
    return {site_of(change) for change in changes if change.component.kind in DICTIONARY}


def _pushes(change: Change) -> Where | None:
    """The site of a change whose value tells all that it moves of its sub-layer's output; None for others.

    A layer norm's scale is followed by all that reads it, the final norm's bias by no line.
    """
    read_on = (Kind.FINAL_BIAS, *SCALES)
    at = site_of(change)
    return None if change.component.kind in read_on or at[0] is Site.SCORES else at


def _line(change: Change) -> int:
    """After which line a change adds to the residual stream; 0 where no line computes it: it is never too late."""
    at_the_end = (Kind.FINAL_BIAS, Kind.LN_FINAL_SCALE)
    known = isinstance(change, SINGLE) and change.component.kind not in at_the_end
    return written_on(change.component) if known else 0
