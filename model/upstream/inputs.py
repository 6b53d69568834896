"""What reads the residual stream, and what a target has of each: by one forward and one backward pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from model.components import Component, Kind
from model.edits.edges import NODE_CHANGES
from model.edits.interventions import Sources
from model.edits.links import INPUTS
from model.edits.path_edits import PathPatch
from model.edits.wiring import Wiring
from model.effects.attribution import Treatment
from model.effects.backward import Question, final_gradient, rerun, sweep, through_norm
from model.effects.cut_edges import Missing, missing_of
from model.gpt2 import GPT2, wide
from model.lines import norm_before
from model.metrics import Metric
from model.readers import scale_met, slope_of_scale, stream_met
from model.sites import Hook, Site, no_hook
from model.targets import Target, Via, head_input, left_of_input, metric_target
from model.trace import Trace

SITES = {Via.Q: Site.Q, Via.K: Site.K, Via.V: Site.V}


@dataclass(frozen=True, slots=True)
class Input:
    """What reads the residual stream at a token: `L9H9.q@14`, `M9@3`, `N9.7@3`, or `U@14`, the target itself."""

    component: Component
    pos: int
    via: Via | None = None
    "Q, K or V of a head; None for the others."

    def __str__(self) -> str:
        return f"{self.component}{f'.{self.via.value}' if self.via else ''}@{self.pos}"

    @property
    def letter(self) -> Via:
        """Q, K or V of a head.  Raises ValueError where none is named."""
        if self.via not in SITES:
            part = self.component
            raise ValueError(f"{part} reads through q, k or v: name one, as in {part}.q@{self.pos}")
        return self.via

    @property
    def reader(self) -> Component:
        """What edges end in: of a head the input by which it reads.  Raises ValueError where none is named."""
        part = self.component
        if part.kind is Kind.HEAD:
            return head_input(part, self.letter)
        return Component(Kind.MLP, part.layer) if part.kind is Kind.NEURON else part


@dataclass(frozen=True, slots=True, eq=False)
class InputGradients:
    """Of a target in one run: what moving each input would do to it."""

    target: Target
    treatment: Treatment
    q: Tensor
    "[layer, head, pos, d_head], as `k` and `v`."
    k: Tensor
    v: Tensor
    pre: Tensor
    "By the MLPs' pre-activations: [layer, pos, d_mlp]."
    final: Tensor
    "By the residual stream that the target reads: [pos, d_model]."
    wiring: Wiring | None = None
    "Of a run with edited edges: what they carry."
    own: Mapping[Component, Tensor] = field(default_factory=dict[Component, Tensor])
    "By what edges add to the stream of those of the target's readers that have their own: [pos, d_model]."
    left: Mapping[tuple[Component, int], float] = field(default_factory=dict[tuple[Component, int], float])
    "How much of inputs that have been edited, or given by paths, moves with the stream, by reader and token."

    def at(self, via: Via) -> Tensor:
        return {Via.Q: self.q, Via.K: self.k, Via.V: self.v}[via]

    def tails(self) -> dict[Component, dict[NODE_CHANGES, Tensor]]:
        """By reader: the tails whose writes it does not meet as they are, and how often what is added instead."""
        wiring = self.wiring
        if wiring is None:
            return {}
        return {head: wiring.weights(head, len(self.final)) for head in wiring.readers()}


def input_gradients(
    model: GPT2,
    trace: Trace,
    asked: Question,
    sources: Sources = Sources(),
    treatment: Treatment = Treatment.TARGET,
    *,
    more: Hook = no_hook,
    also: Hook = no_hook,
) -> InputGradients:
    """One forward and one backward pass with the trace's own edits; `also` may raise to stop it.

    `more` comes after the edits: what it detaches, gradients do not flow back through.
    """
    target = metric_target(model, trace, asked) if isinstance(asked, Metric) else asked
    run = replace(rerun(model, trace, asked, sources, treatment, also=also), more=more)
    sites = (*SITES.values(), Site.MLP_PRE)
    found = {
        site: wide(trace[site, 0]).new_zeros(model.config.n_layer, *trace[site, 0].shape) for site in sites
    }
    for layer, by in sweep(run, sites, first=1):
        for site, gradient in by.items():
            found[site][layer] = gradient
    q, k, v, pre = (found[site] for site in sites)
    wiring = run.edits if isinstance(run.edits, Wiring) else None
    final = final_gradient(run)
    left = _left(model, trace)
    return InputGradients(target, treatment, q, k, v, pre, final.stream, wiring, final.own, left)


def _left(model: GPT2, trace: Trace) -> dict[tuple[Component, int], float]:
    """Of inputs that changes are of, at their tokens: `targets.left_of_input`."""
    heads, found = range(model.config.n_head), dict[tuple[Component, int], float]()
    for change in trace.changes:
        part, named = change.component, change.receivers if isinstance(change, PathPatch) else ()
        if part.kind in INPUTS:
            named = [replace(part, index=head) for head in heads if part.index in (None, head)]
        span = change.span.slice if change.span else slice(None)
        for reader in named:
            for pos in range(len(trace.tokens))[span]:
                left = left_of_input(trace, reader, pos)
                found[reader, pos] = 1.0 if left is None else left
    return found


def gap(
    model: GPT2, trace: Trace, by: InputGradients, change: NODE_CHANGES, weight: Tensor, pull: Tensor
) -> Missing:
    """What one reader, which has this pull on the stream [pos, d_model], does not meet of a tail."""
    assert by.wiring is not None  # it has edited edges
    pull = pull * weight[:, None].to(pull)
    return missing_of(model, trace, by.wiring, change, pull, pull, pull)


def arrives(
    model: GPT2,
    trace: Trace,
    by: InputGradients,
    write: Tensor,
    line: int,
    pos: int | slice,
    head: Component | None = None,
) -> Tensor:
    """A write as it comes out of the layer norm before a line, bias left out: [..., d_model]."""
    return jacobian(model, trace, by, write, line, pos, head) * wide(norm_before(model, line).weight)


def jacobian(
    model: GPT2,
    trace: Trace,
    by: InputGradients,
    delta: Tensor,
    line: int,
    pos: int | slice,
    head: Component | None = None,
) -> Tensor:
    """Of the layer norm before a line, where the stream is, or where a reader with edited edges meets it."""
    resid, scale = (each(model, trace, line, head)[pos] for each in (stream_met, scale_met))
    live = slope_of_scale(model, trace, line, head)[pos] * (by.treatment is not Treatment.ALL)
    return through_norm(resid, scale, delta, live=live)
