"""Edges: what one node's write does to a target through one input alone.

    edge = write . (gradient of the target by the residual stream, coming through that input alone)

An input is a head's query, key or value, a neuron's or MLP's pre-activation, or what the target itself reads, at
one token.  One forward and one backward give the gradients at all inputs; a layer norm's Jacobian carries a write
to them, or them back to the residual stream.  Syed et al. 2023 (2310.10348), equation 2, with the node's whole
write for a difference of two runs'; Mossing et al. 2024, Transformer Debugger, edge attribution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.edge_tables import cuts_of
from model.edits.edges import NODE_CHANGES
from model.edits.links import INPUTS, reading_line
from model.effects.attribution import Gradients
from model.effects.gradients import Own
from model.effects.writes import reaches, write_of
from model.gpt2 import GPT2, wide
from model.lines import norm_before, written_on
from model.sites import Site
from model.targets import Target, Via, query_key, read_through, value_matrix
from model.trace import Trace
from model.upstream.inputs import SITES, Input, InputGradients, arrives, gap, jacobian


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

    def at(self, via: Via) -> Tensor:
        return {Via.Q: self.q, Via.K: self.k, Via.V: self.v}[via]

    def put(self, head: Component, other: "Edges") -> None:
        """Take, in place, another's for one reader."""
        match head.kind:
            case Kind.Q | Kind.K | Kind.V:
                via = Via[head.kind.name]
                self.at(via)[head.layer, head.index] = other.at(via)[head.layer, head.index]
            case Kind.MLP:
                self.neurons[head.layer] = other.neurons[head.layer]
            case _:
                self.final = other.final

    def into(self, to: Input) -> float:
        part = to.component
        match part.kind:
            case Kind.HEAD:
                return float(self.at(to.letter)[part.layer, part.index or 0])
            case Kind.NEURON:
                return float(self.neurons[part.layer, part.index or 0])
            case Kind.MLP:
                return float(self.mlp[part.layer])
            case _:
                return self.final


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
    for head, tails in by.tails().items():
        at = reading_line(head, model.config.n_layer)
        if line >= at:
            continue
        less = _not_arriving(model, trace, by, node, write, tails)
        if head in by.own:
            found.final += float(less @ by.own[head][node.pos])
        elif at < by.target.line:
            found.put(head, edges_of(model, trace, by, write, line, node.pos, head, less))
        elif at == by.target.line and head.kind is Kind.UNEMBED:
            found.final += float(less @ by.final[node.pos])
    return found


def _not_arriving(
    model: GPT2,
    trace: Trace,
    by: InputGradients,
    node: Node,
    write: Tensor,
    tails: Mapping[NODE_CHANGES, Tensor],
) -> Tensor:
    """What a reader meets more of a node's write than is written, less being negative: [d_model]."""
    less = torch.zeros_like(write)
    for change, weight in tails.items():
        cut, share = gap(model, trace, by, change, weight[0], by.final), float(weight[0, node.pos])
        if cut.within(node.component, node.key):
            less = less + cut.lost * share * write
        elif cut.around(node.component, node.key):
            less = less + share * cut.of_the_whole[node.pos]
    return less


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
            moved = arrives(model, trace, by, met(1 + 2 * layer), 1 + 2 * layer, pos, head) @ wide(
                block.attn.c_attn.weight
            )
            parts = moved.view(3, model.config.n_head, model.config.d_head)
            for via, part in zip(SITES, parts, strict=True):
                found[via][layer] = (part * by.at(via)[layer, :, pos]).sum(-1)
        if line < 2 + 2 * layer < by.target.line and only in (None, 2 + 2 * layer):
            moved = arrives(model, trace, by, met(2 + 2 * layer), 2 + 2 * layer, pos, head) @ wide(
                block.mlp.c_fc.weight
            )
            neurons[layer] = moved * by.pre[layer, pos]
    for (reader, at), left in by.left.items():
        if at == pos and reader.kind in INPUTS:
            found[Via[reader.kind.name]][reader.layer, reader.index] *= left
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
        arrived = arrives(model, trace, by, writes, each, slice(None))
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
    tails = by.tails().get(to.reader, {}).items()
    gaps = tuple(gap(model, trace, by, change, weight[0], direct) for change, weight in tails)
    added = trace.added(to.reader)
    own = () if added is None else (Own(added, direct, direct),)
    return Gradients(target, direct, direct, *lines, missing=gaps, own=own)


def _reader(model: GPT2, trace: Trace, by: InputGradients, to: Input) -> tuple[Target, Tensor]:
    """An input as a target, weighed by its gradient, and its pull on the residual stream at its token [d_model]."""
    part, pos = to.component, to.pos
    if part.kind is Kind.UNEMBED:
        reads = tuple(read for read in by.target.reads if read.pos == pos)
        return replace(by.target, reads=reads), by.final[pos]
    matrix, bias, gradient, value = _projection(model, trace, by, to)
    line, reader, whole = written_on(part), to.reader, float(value @ gradient)
    read, constant = read_through(model, trace, reader, pos, matrix @ gradient, float(bias @ gradient), whole)
    weighted = read.normed * wide(norm_before(model, line).weight)
    pulled = jacobian(model, trace, by, weighted, line, pos, reader)
    target = Target(line, (read,), constant, whole)
    return target, pulled if line < by.target.line else torch.zeros_like(pulled)


def _projection(
    model: GPT2, trace: Trace, by: InputGradients, to: Input
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An input's matrix [d_model, n], bias, gradient and value [n]."""
    part, pos = to.component, to.pos
    match part.kind:
        case Kind.HEAD if part.index is not None:
            via = to.letter
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
