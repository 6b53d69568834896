"""Who changed after an edit: each component's direct effect before and after, and what the layer norm did to it.

    change = frozen + scale
    frozen   (write after - write before) . gradient with the scale before: what the component itself did
    scale    write after . (gradient after - gradient before): what the final layer norm's new scale did to it

Components after the edit that move against it repair it: McGrath et al. 2023, "The Hydra Effect"; Rushing and
Nanda 2024, "Explorations of Self-Repair in Language Models".
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import torch

from model.components import Kind, Node
from model.edits.interventions import Change, Sources
from model.effects import attribution
from model.effects.attribution import Gradients
from model.effects.backward import Question, value_of
from model.effects.gradients import Own, directs
from model.gpt2 import GPT2
from model.lines import written_on
from model.measured.replay import measure
from model.measured.scorers import metric_scorer, target_scorer, unchanged
from model.metrics import Metric
from model.nodes import joined
from model.sites import Hook, no_hook
from model.targets import Target, metric_target
from model.trace import Trace, record


class Place(Enum):
    """Where a component stands to the edit."""

    EDITED = "edited"
    DOWNSTREAM = "downstream"
    "Computed after it: its write may have changed."
    ELSEWHERE = "elsewhere"
    "Before or beside it, and biases: only the scale can change its direct effect."


@dataclass(frozen=True, slots=True)
class Shift:
    """One component at a token that the target reads; effects in the target's unit."""

    node: Node
    place: Place
    before: float
    "Direct effect before the edit."
    after: float
    frozen: float
    "The part of the change with the final scale held: the component's own."
    scale: float
    "The part that the final layer norm's scale alone makes: live minus frozen."

    @property
    def change(self) -> float:
        return self.frozen + self.scale


def shifts(model: GPT2, before: Trace, after: Trace, asked: Question) -> tuple[Shift, ...]:
    """Every component's change of direct effect between two runs of one prompt, the largest first.

    Biases have their rows, so that changes add up to the target's, for a metric that is linear in the logits
    and for frames; for others, to the change of the metric's linear part at `before`.
    Raises ValueError where the prompts differ.
    """
    if before.tokens != after.tokens:
        raise ValueError("these are runs of two prompts: an edit is compared with its own prompt's run")
    target = metric_target(model, before, asked) if isinstance(asked, Metric) else asked
    was = _directs(model, before, _reading(model, before, target, before))
    held = _directs(model, after, _reading(model, before, target, after))
    now = _directs(model, after, _reading(model, after, target, after))
    edits = differing(before, after)
    rows = [
        Shift(
            node,
            _place(node, edits),
            was.get(node, 0.0),
            now.get(node, 0.0),
            frozen=held.get(node, 0.0) - was.get(node, 0.0),
            scale=now.get(node, 0.0) - held.get(node, 0.0),
        )
        for node in dict.fromkeys((*was, *now))
    ]
    return tuple(sorted(rows, key=lambda row: -abs(row.change)))


def differing(before: Trace, after: Trace) -> list[Change]:
    """The edits that one run has and the other has not, or has more often."""
    was, now = Counter(before.changes), Counter(after.changes)
    return [*(now - was).elements(), *(was - now).elements()]


def _reading(model: GPT2, trace: Trace, target: Target, written: Trace) -> Gradients:
    """The direct gradients alone, with the scale that `trace` has; what edges add is that of the run `written`."""
    direct, by_reader = directs(model, trace, target)
    none = torch.zeros_like(direct).expand(model.config.n_layer, -1, -1)
    added = {reader: written.added(reader) for reader in by_reader}
    own = (Own(x, by_reader[reader], none[0]) for reader, x in added.items() if x is not None)
    return Gradients(target, direct, none[0], none, none, own=tuple(own))


def _directs(model: GPT2, trace: Trace, by: Gradients) -> dict[Node, float]:
    """Direct effects at the tokens that are read: embeddings, heads, MLPs, biases, edited outputs as one row."""
    parts = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)
    table = joined([part(model, trace, by) for part in parts]).at(by.scored)
    effects: dict[Node, float] = {}
    for row in range(len(table)):
        node = table.node(row)
        effects[node] = effects.get(node, 0.0) + float(table.direct[row])
    return effects


def _place(node: Node, edits: Sequence[Change]) -> Place:
    part = node.component
    if any(_is_edited(node, change) for change in edits):
        return Place.EDITED
    lines = [written_on(change.component) for change in edits if change.component.kind is not Kind.FINAL_BIAS]
    if part.kind.group == "bias" or not lines or written_on(part) <= min(lines):
        return Place.ELSEWHERE
    return Place.DOWNSTREAM


def _is_edited(node: Node, change: Change) -> bool:
    """Whether an edit is of this component, of a part of it or of what it is part of, at its token."""
    part, edited = node.component, change.component
    if change.span is not None and not change.span.first <= node.pos <= change.span.last:
        return False
    if part.kind.group == "embed" and edited.kind.group == "embed":
        return True
    attention = {Kind.HEAD, Kind.ATTN, Kind.ATTN_BIAS}
    mlp = {Kind.NEURON, Kind.MLP, Kind.MLP_BIAS}
    whole = {Kind.ATTN, Kind.MLP}
    if part.layer != edited.layer:
        return False
    if part == edited:
        return True
    together = {part.kind, edited.kind}
    if together <= attention:
        return bool(together & whole)
    return together <= mlp and bool(together & whole)


@dataclass(frozen=True, slots=True)
class Joint:
    """A set of edits made together, against each made alone; effects are changes of the target, in its unit."""

    together: float
    singles: tuple[float, ...]
    "In the order of the edits."

    @property
    def excess(self) -> float:
        """Together minus the sum of singles; away from zero on the side of `together` where they back each other up."""
        return self.together - sum(self.singles)


def joint(
    model: GPT2,
    trace: Trace,
    asked: Question,
    changes: Sequence[Change],
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Joint:
    """Both measured on top of the trace's own edits; `also` may raise to stop."""
    singles = dict(single_effects(model, trace, asked, changes, sources, also=also))
    run = record(model, trace.tokens, (*trace.changes, *changes), sources, also=also, base=trace)
    together = value_of(model, run, asked) - value_of(model, trace, asked)
    return Joint(together, tuple(singles[each] for each in range(len(changes))))


def single_effects(
    model: GPT2,
    trace: Trace,
    asked: Question,
    changes: Sequence[Change],
    sources: Sources = Sources(),
    *,
    also: Hook = no_hook,
) -> Iterator[tuple[int, float]]:
    """(index of the change, change of the target by it alone), as they are measured."""
    scorer = target_scorer(model, asked) if isinstance(asked, Target) else metric_scorer(model, asked)
    base = unchanged(model, trace, scorer)
    for at, value in measure(model, trace, scorer, changes, sources, also=also):
        yield at, value - base
