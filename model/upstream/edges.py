"""Edges: what one node's write does to a target through one input alone.

    edge = write . (gradient of the target by the residual stream, coming through that input alone)

An input is a head's query, key or value, a neuron's or MLP's pre-activation, or what the target itself reads, at
one token.  One forward and one backward give the gradients at all inputs; a layer norm's Jacobian carries a write
to them, or them back to the residual stream.  Syed et al. 2023 (2310.10348), equation 2, with the node's whole
write for a difference of two runs'; Mossing et al. 2024, Transformer Debugger, edge attribution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.edge_tables import cuts_of, left_by
from model.edits.edges import NODE_CHANGES
from model.edits.interventions import Sources
from model.edits.links import INPUTS, reading_line
from model.edits.path_edits import PathPatch
from model.edits.wiring import Wiring
from model.effects.attribution import Gradients, Treatment
from model.effects.backward import Question, final_gradient, rerun, sweep, through_norm
from model.effects.cut_edges import Missing, gone_of, whole_write
from model.effects.gradients import Own
from model.effects.writes import reaches, write_of
from model.gpt2 import GPT2, wide
from model.lines import norm_before, written_on
from model.metrics import Metric
from model.readers import scale_met, slope_of_scale, stream_met
from model.sites import Hook, Site, no_hook
from model.targets import (
    Target,
    Via,
    left_of_input,
    metric_target,
    query_key,
    read_through,
    value_matrix,
)
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


@dataclass(slots=True, eq=False)
class Edges:
    """From one write into every input at its token, zero into those that come before it."""

    q: Tensor
    "[layer, head], as `k` and `v`."
    k: Tensor
    v: Tensor
    neurons: Tensor
    "[layer, d_mlp]"
    final: float
    "Into what the target reads: the direct effect."

    @property
    def mlp(self) -> Tensor:
        """Into each MLP: [layer]."""
        return self.neurons.sum(-1)

    @property
    def total(self) -> float:
        """All edges together: the estimated total effect under the same treatment."""
        return float(self.q.sum() + self.k.sum() + self.v.sum() + self.neurons.sum()) + self.final

    @property
    def gross(self) -> float:
        """The edges' absolute sum, an MLP counted as one: how much opposite paths may hide."""
        return float(sum(x.abs().sum() for x in (self.q, self.k, self.v, self.mlp))) + abs(self.final)

    def put(self, head: Component, other: "Edges") -> None:
        """Take, in place, another's for one reader."""
        match head.kind:
            case Kind.Q | Kind.K | Kind.V:
                mine, new = ((each.q, each.k, each.v)[INPUTS.index(head.kind)] for each in (self, other))
                mine[head.layer, head.index] = new[head.layer, head.index]
            case Kind.MLP:
                self.neurons[head.layer] = other.neurons[head.layer]
            case _:
                self.final = other.final

    def into(self, to: Input) -> float:
        part = to.component
        match part.kind:
            case Kind.HEAD:
                values = {Via.Q: self.q, Via.K: self.k, Via.V: self.v}[_via(to)]
                return float(values[part.layer, part.index or 0])
            case Kind.NEURON:
                return float(self.neurons[part.layer, part.index or 0])
            case Kind.MLP:
                return float(self.mlp[part.layer])
            case _:
                return self.final


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


def edges_from(
    model: GPT2, trace: Trace, by: InputGradients, node: Node, other: Trace | None = None
) -> Edges:
    """From a node's write into all inputs after it; with `other`, from that run's write minus this one's (EAP).

    Along an edge that has been edited only what it still carries of the write arrives.
    EAP's edges are `other` the corrupted run and `trace` the clean one.  Raises ValueError for parts that put
    nothing into the residual stream.
    """
    if node.component.kind is Kind.FINAL_BIAS:
        raise ValueError(f"{node.component} is added after everything that reads: it has no edges")
    write = write_of(model, trace, node) * reaches(trace, node)
    if other is not None:
        write = write_of(model, other, node) * reaches(other, node) - write
    line = written_on(node.component)
    found = edges_of(model, trace, by, write, line, node.pos)
    for head in _edited(by):
        at = reading_line(head, model.config.n_layer)
        if line >= at:
            continue
        less = _not_arriving(model, trace, by, node, write, head)
        if head in by.own:
            found.final += float(less @ by.own[head][node.pos])
        elif at < by.target.line:
            found.put(head, edges_of(model, trace, by, write, line, node.pos, head, less))
        elif at == by.target.line and head.kind is Kind.UNEMBED:
            found.final += float(less @ by.final[node.pos])
    return found


def _not_arriving(
    model: GPT2, trace: Trace, by: InputGradients, node: Node, write: Tensor, head: Component
) -> Tensor:
    """What a reader meets more of a node's write than is written, less being negative: [d_model]."""
    less = torch.zeros_like(write)
    for change, weight in _edited(by)[head].items():
        gap, share = _gap(model, trace, by, change, weight[0], by.final), float(weight[0, node.pos])
        if gap.within(node.component, node.key):
            less = less + gap.lost * share * write
        elif gap.around(node.component, node.key):
            less = less + share * gap.of_the_whole[node.pos]
    return less


def _edited(by: InputGradients) -> dict[Component, dict[NODE_CHANGES, Tensor]]:
    """By reader: the tails whose writes it does not meet as they are, and how often what is added instead."""
    wiring = by.wiring
    if wiring is None:
        return {}
    return {head: wiring.weights(head, len(by.final)) for head in wiring.readers()}


def _gap(
    model: GPT2, trace: Trace, by: InputGradients, change: NODE_CHANGES, weight: Tensor, pull: Tensor
) -> Missing:
    """What one reader, which has this pull on the stream [pos, d_model], does not meet of a tail."""
    assert by.wiring is not None  # it has edited edges
    pull = pull * weight[:, None].to(pull)
    write, added = whole_write(model, trace, change), wide(by.wiring.delta(change)[0].detach())
    return Missing(
        (change.component, change.key),
        left_by(change) - 1,
        write,
        added,
        pull,
        pull,
        pull,
        gone_of(trace, change),
    )


@torch.no_grad()
def edges_of(
    model: GPT2,
    trace: Trace,
    by: InputGradients,
    write: Tensor,
    line: int,
    pos: int,
    head: Component | None = None,
    less: Tensor | float = 0.0,
) -> Edges:
    """From any vector [d_model] added to the residual stream after a line at one token, as edits of that leave it.

    Into every reader as it meets the stream; `head` is a reader with edited edges, which meets `less` besides, and
    then it alone is right.
    """
    only, cuts = None if head is None else reading_line(head, model.config.n_layer), cuts_of(trace.changes)

    def met(at: int) -> Tensor:
        left = (cut.left for cut in cuts if max(line, 1) < cut.line <= at and cut.holds(pos))
        return math.prod(left) * write + less

    found = {via: torch.zeros_like(by.at(via)[:, :, pos, 0]) for via in SITES}
    neurons = torch.zeros_like(by.pre[:, pos])
    for layer, block in enumerate(model.blocks):
        if line < 1 + 2 * layer < by.target.line and only in (None, 1 + 2 * layer):
            moved = _arrives(model, trace, by, met(1 + 2 * layer), 1 + 2 * layer, pos, head) @ wide(
                block.attn.c_attn.weight
            )
            parts = moved.view(3, model.config.n_head, model.config.d_head)
            for via, part in zip(SITES, parts, strict=True):
                found[via][layer] = (part * by.at(via)[layer, :, pos]).sum(-1)
        if line < 2 + 2 * layer < by.target.line and only in (None, 2 + 2 * layer):
            moved = _arrives(model, trace, by, met(2 + 2 * layer), 2 + 2 * layer, pos, head) @ wide(
                block.mlp.c_fc.weight
            )
            neurons[layer] = moved * by.pre[layer, pos]
    for (reader, at), left in by.left.items():
        if at == pos and reader.kind in INPUTS:
            found[tuple(SITES)[INPUTS.index(reader.kind)]][reader.layer, reader.index] *= left
        elif at == pos and reader.kind is Kind.MLP:
            neurons[reader.layer] *= left
    final = float(met(by.target.line) @ by.final[pos]) if line < by.target.line else 0.0
    return Edges(found[Via.Q], found[Via.K], found[Via.V], neurons, final)


@torch.no_grad()
def gross(model: GPT2, trace: Trace, by: InputGradients, writes: Tensor, line: int) -> float:
    """The absolute sum of edges from vectors added after a line at every token [pos, d_model], as `Edges.gross`."""
    total = (writes * by.final).sum(-1).abs().sum()
    for each in range(line + 1, by.target.line):
        layer, block = (each - 1) // 2, model.blocks[(each - 1) // 2]
        arrived = _arrives(model, trace, by, writes, each, slice(None))
        if each % 2:
            through = torch.stack([by.at(via)[layer] for via in SITES])  # [via, head, pos, d_head]
            weight = wide(block.attn.c_attn.weight).view(len(arrived[0]), *through.shape[:2], -1)
            pulled = torch.einsum("vhpd,mvhd->vhpm", through, weight)
            total = total + (pulled * arrived).sum(-1).abs().sum()
        else:
            pulled = by.pre[layer] @ wide(block.mlp.c_fc.weight).T
            total = total + (pulled * arrived).sum(-1).abs().sum()
    return float(total)


@torch.no_grad()
def edges_into(model: GPT2, trace: Trace, by: InputGradients, to: Input) -> Gradients:
    """From every write into one input: gradients whose `direct` and `total` columns in any node table are the edges.

    With `Treatment.ALL` the rows and biases add up to gradient . input, which is `target.value`.  A table of
    another run by these gradients, minus this run's, is EAP's.
    """
    target, pulled = _reader(model, trace, by, to)
    direct = torch.zeros_like(by.final)
    direct[to.pos] = pulled

    def before(lines: range) -> Tensor:
        return torch.stack([direct if line < target.line else torch.zeros_like(direct) for line in lines])

    last = 2 * model.config.n_layer + 1
    lines = before(range(1, last, 2)), before(range(2, last, 2))
    reader = _reader_of(to)
    edited = _edited(by).get(reader, {}).items()
    gaps = tuple(_gap(model, trace, by, change, weight[0], direct) for change, weight in edited)
    added = trace.added(reader)
    own = () if added is None else (Own(added, direct, direct),)
    return Gradients(target, direct, direct, *lines, missing=gaps, own=own)


def _reader_of(to: Input) -> Component:
    """What edges end in: of a head the input by which it reads."""
    part = to.component
    if part.kind is Kind.HEAD and to.via in SITES:
        return replace(part, kind=INPUTS[tuple(SITES).index(to.via)])
    return Component(Kind.MLP, part.layer) if part.kind is Kind.NEURON else part


def _reader(model: GPT2, trace: Trace, by: InputGradients, to: Input) -> tuple[Target, Tensor]:
    """An input as a target, weighed by its gradient, and its pull on the residual stream at its token [d_model]."""
    part, pos = to.component, to.pos
    if part.kind is Kind.UNEMBED:
        reads = tuple(read for read in by.target.reads if read.pos == pos)
        return replace(by.target, reads=reads), by.final[pos]
    matrix, bias, gradient, value = _projection(model, trace, by, to)
    line, reader, whole = written_on(part), _reader_of(to), float(value @ gradient)
    read, constant = read_through(model, trace, reader, pos, matrix @ gradient, float(bias @ gradient), whole)
    weighted = read.normed * wide(norm_before(model, line).weight)
    pulled = _jacobian(model, trace, by, weighted, line, pos, reader)
    target = Target(line, (read,), constant, whole)
    return target, pulled if line < by.target.line else torch.zeros_like(pulled)


def _projection(
    model: GPT2, trace: Trace, by: InputGradients, to: Input
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An input's matrix [d_model, n], bias, gradient and value [n]."""
    part, pos = to.component, to.pos
    match part.kind:
        case Kind.HEAD if part.index is not None:
            via = _via(to)
            w_q, b_q, w_k, b_k = query_key(model, part)
            matrix, bias = {Via.Q: (w_q, b_q), Via.K: (w_k, b_k)}.get(via) or value_matrix(model, part)
            value = wide(trace[SITES[via], part.layer][part.index, pos])
            return matrix, bias, by.at(via)[part.layer, part.index, pos], value
        case Kind.NEURON | Kind.MLP:
            fc = model.blocks[part.layer].mlp.c_fc
            n = slice(None) if part.index is None else slice(part.index, part.index + 1)
            value = wide(trace[Site.MLP_PRE, part.layer][pos, n])
            return wide(fc.weight[:, n]), wide(fc.bias[n]), by.pre[part.layer, pos, n], value
        case _:
            raise ValueError(f"{part} reads nothing: heads, MLPs, neurons and U do")


def _via(to: Input) -> Via:
    if to.via not in SITES:
        raise ValueError(f"{to.component} reads through q, k or v: name one, as in {to.component}.q@{to.pos}")
    return to.via


def _arrives(
    model: GPT2,
    trace: Trace,
    by: InputGradients,
    write: Tensor,
    line: int,
    pos: int | slice,
    head: Component | None = None,
) -> Tensor:
    """A write as it comes out of the layer norm before a line, bias left out: [..., d_model]."""
    return _jacobian(model, trace, by, write, line, pos, head) * wide(norm_before(model, line).weight)


def _jacobian(
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
