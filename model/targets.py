"""What is asked about: a scalar that reads the residual stream through one layer norm, its scale held, or as it is.

The metric reads after the last layer, or where its probe does.  A frame of tracing reads inside the model: a
neuron's or an MLP's pre-activation, a head's pre-softmax score through its query, its key or both, a head's value
as far as something downstream wants it.  With the scale held, each is linear in the residual stream that it reads,
so the writes before it, the biases and a constant add up to it (Mossing et al. 2024, Transformer Debugger, section
on tracing).
"""

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F

from model.components import Component, Kind, Node
from model.edits.edge_tables import left_by
from model.edits.interventions import SINGLE
from model.edits.links import INPUTS, reading_line
from model.edits.path_edits import PathPatch
from model.gpt2 import GPT2, wide
from model.lines import last_line, norm_before
from model.metrics import Metric, final_gradient
from model.probes import (
    Direction,
    linear_part,
    positions_of,
    probe_line,
    readers_of,
    recorded,
    seen,
    set_scales,
)
from model.readers import scale_met, stream_met
from model.sites import Site
from model.trace import Trace


class Via(Enum):
    """Through which of a head's inputs it is traced."""

    Q = "q"
    K = "k"
    QK = "qk"
    V = "v"


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One token of the residual stream that a target reads."""

    pos: int
    normed: Tensor
    "dS / d(layer norm's output), or by the residual stream itself where there is none: [d_model]."
    reader: Component | None = None
    "Whose stream it is, where readers may meet streams of their own; None is that which all read."


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A scalar S of one run: sum over reads of normed . LN(residual) + constant; without LN where `raw`."""

    line: int
    "The line that reads (numbered E = 0, A0 = 1, M0 = 2, ..., U); only lines before it can write to what it reads."
    reads: tuple[Read, ...]
    constant: float
    "What does not come through the reads: a neuron's own bias, the query's bias times the key, ..."
    value: float
    "S in this run, in its own unit; twice the score through QK, which counts it once on each side."
    raw: bool = False
    "Whether the residual stream is read as it is: no layer norm, no bias of one, no scale to hold."
    latent: Node | None = None
    "The latent whose pre-activation it is: then it is linear only where the run stands."


def gradient_at(model: GPT2, trace: Trace, target: Target, read: Read) -> Tensor:
    """dS / d(residual at the read's token), the scale held: [d_model]."""
    if target.raw:
        return read.normed
    weighted = read.normed * wide(norm_before(model, target.line).weight)
    return (weighted - weighted.mean()) / scale_met(model, trace, target.line, read.reader)[read.pos]


def bias_part(model: GPT2, trace: Trace, target: Target) -> float:
    """What the layer norm's own bias contributes; the final one as it was in this run."""
    if target.raw:
        return 0.0
    final = target.line == last_line(model.config.n_layer)
    norm = norm_before(model, target.line)
    total = 0.0
    for read in target.reads:
        bias = trace[Site.LN_FINAL_BIAS, 0][read.pos] if final else norm.bias
        total += float(read.normed @ wide(bias))
    return total


@torch.no_grad()
def metric_target(model: GPT2, trace: Trace, metric: Metric) -> Target:
    """The metric; of one that is not linear in what it reads, its linear part where the run stands."""
    if metric.probe is not None:
        return _probe_target(model, trace, metric)
    final = wide(trace[Site.LN_FINAL, 0][metric.pos])
    normed = final_gradient(metric, final, wide(model.unembedding))
    return Target(last_line(model.config.n_layer), (Read(metric.pos, normed),), 0.0, float(final @ normed))


def _probe_target(model: GPT2, trace: Trace, metric: Metric) -> Target:
    probe = metric.probe
    assert probe is not None
    held = set_scales(model, trace, probe, metric.pos)
    read = seen(model, probe, recorded(model, trace, probe, metric.pos), held=held)
    gradient = linear_part(model, probe, read)
    places = zip(positions_of(probe, metric.pos), gradient, readers_of(probe, metric.pos), strict=True)
    reads = tuple(Read(pos, row, reader) for pos, row, reader in places)
    value = float((read * gradient).double().sum())
    return Target(probe_line(probe), reads, 0.0, value, raw=isinstance(probe, Direction))


@torch.no_grad()
def trace_target(
    model: GPT2, trace: Trace, node: Node, via: Via | None = None, of: Target | None = None
) -> Target:
    """The scalar that tracing a head, a neuron or an MLP asks about; `of` is what its value is for.

    Raises ValueError, one sentence, where a node cannot be traced so.
    """
    part = node.component
    match part.kind:
        case Kind.NEURON if part.index is not None:
            return _neuron(model, trace, part, node.pos)
        case Kind.MLP:
            return _mlp(model, trace, part.layer, node.pos, _wanted(model, trace, node, of))
        case Kind.HEAD if via is Via.V:
            return _value(model, trace, node, _wanted(model, trace, node, of))
        case Kind.HEAD:
            return _score(model, trace, node, via or Via.QK)
        case _:
            raise ValueError(f"{part} cannot be traced: heads, neurons and MLPs can")


def _neuron(model: GPT2, trace: Trace, part: Component, pos: int) -> Target:
    """A neuron's pre-activation: LN2(resid_mid) . W_in[:, n] + b_in[n]."""
    fc = model.blocks[part.layer].mlp.c_fc
    value = float(trace[Site.MLP_PRE, part.layer][pos, part.index])
    weight = wide(fc.weight[:, part.index])
    read, constant = read_through(
        model, trace, Component(Kind.MLP, part.layer), pos, weight, float(fc.bias[part.index]), value
    )
    return Target(2 + 2 * part.layer, (read,), constant, value)


def _mlp(model: GPT2, trace: Trace, layer: int, pos: int, wanted: Tensor) -> Target:
    """All pre-activations of an MLP, each weighted by what moving it would do to what is wanted of the output."""
    mlp = model.blocks[layer].mlp
    pre = wide(trace[Site.MLP_PRE, layer][pos])
    with torch.enable_grad():
        leaf = pre.detach().requires_grad_()
        wish = F.gelu(leaf, approximate="tanh") @ (wide(mlp.c_proj.weight) @ wanted)
        (weight,) = torch.autograd.grad(wish, leaf)
    value, bias = float(pre @ weight), float(wide(mlp.c_fc.bias) @ weight)
    normed = wide(mlp.c_fc.weight) @ weight
    read, constant = read_through(model, trace, Component(Kind.MLP, layer), pos, normed, bias, value)
    return Target(2 + 2 * layer, (read,), constant, value)


def _score(model: GPT2, trace: Trace, node: Node, via: Via) -> Target:
    """A head's pre-softmax score q.k / sqrt(d_head), the other side held; QK reads both and so counts it twice."""
    part, query = node.component, node.pos
    key = (
        node.key if node.key is not None else int(trace[Site.PATTERN, part.layer][part.index, query].argmax())
    )
    q, k = (wide(trace[site, part.layer][part.index, pos]) for site, pos in ((Site.Q, query), (Site.K, key)))
    scale = math.sqrt(model.config.d_head)
    score = float(q @ k) / scale
    w_q, b_q, w_k, b_k = query_key(model, part)
    reads: list[Read] = []
    constant = 0.0
    for letter, pos, weight, bias, other in (
        (Via.Q, query, w_q, b_q, k),
        (Via.K, key, w_k, b_k, q),
    ):
        if via in (letter, Via.QK):
            reader, normed = head_input(part, letter), weight @ other / scale
            read, own = read_through(model, trace, reader, pos, normed, float(bias @ other) / scale, score)
            reads.append(read)
            constant += own
    return Target(1 + 2 * part.layer, tuple(reads), constant, score * len(reads))


def _value(model: GPT2, trace: Trace, node: Node, wanted: Tensor) -> Target:
    """What a head writes along `wanted`, its attention held: sum over keys of A_qk (v_k W_O) . wanted."""
    part, query = node.component, node.pos
    w_v, b_v = value_matrix(model, part)
    d_head, block = model.config.d_head, model.blocks[part.layer]
    rows = slice((part.index or 0) * d_head, ((part.index or 0) + 1) * d_head)
    along = wide(block.attn.c_proj.weight[rows]) @ wanted  # [d_head]
    pattern = wide(trace[Site.PATTERN, part.layer][part.index, query])
    keys = range(query + 1) if node.key is None else [node.key]
    v = wide(trace[Site.V, part.layer][part.index])
    reads: list[Read] = []
    constant = total = 0.0
    for key in keys:
        normed, value = pattern[key] * (w_v @ along), float(pattern[key] * (v[key] @ along))
        bias = float(pattern[key] * (b_v @ along))
        read, own = read_through(model, trace, head_input(part, Via.V), key, normed, bias, value)
        reads.append(read)
        constant, total = constant + own, total + value
    return Target(1 + 2 * part.layer, tuple(reads), constant, total)


def head_input(head: Component, via: Via) -> Component:
    """A head's query, key or value as what reads the stream.  Raises KeyError for both at once."""
    return Component(Kind[via.name], head.layer, head.index)


def read_through(
    model: GPT2, trace: Trace, reader: Component, pos: int, normed: Tensor, bias: float, value: float
) -> tuple[Read, float]:
    """A read of what a reader puts out at a token, and its constant; `value` is what it comes to in the run.

    Where edits of that input, or paths that give it, are in force, only what they leave moves with the stream: the
    rest is constant.
    """
    left = left_of_input(trace, reader, pos)
    if left is None:
        return Read(pos, normed, reader), bias
    line = reading_line(reader, model.config.n_layer)
    stream, norm = stream_met(model, trace, line, reader)[pos], norm_before(model, line)
    seen = (stream - stream.mean()) / scale_met(model, trace, line, reader)[pos] * wide(norm.weight)
    normed = left * normed
    return Read(pos, normed, reader), value - float((seen + wide(norm.bias)) @ normed)


def left_of_input(trace: Trace, reader: Component, pos: int) -> float | None:
    """How much of what a reader makes of the stream edits leave at a token, as a factor; None where none is of it."""
    left: float | None = None
    for change in trace.changes:
        here = change.span is None or change.span.first <= pos <= change.span.last
        if isinstance(change, PathPatch):
            if here and reader in change.receivers:
                return 0.0  # it is given to read, whatever has been edited
        elif here and isinstance(change, SINGLE) and _is_of(change.component, reader):
            left = left_by(change) * (1.0 if left is None else left)
    return left


def _is_of(part: Component, reader: Component) -> bool:
    """Whether a part is a head's query, key or value, or every head's, and that is what the reader makes."""
    same = (part.kind, part.layer) == (reader.kind, reader.layer)
    return part.kind in INPUTS and same and part.index in (None, reader.index)


def _wanted(model: GPT2, trace: Trace, node: Node, of: Target | None) -> Tensor:
    """dS' / d(residual at the node's token) of the target downstream, directly: [d_model]."""
    if of is None:
        raise ValueError(f"{node.component} needs something downstream to be traced for")
    own = line_of(node.component)
    if own >= of.line:
        raise ValueError(f"{node.component} comes after what reads: trace something upstream of it")
    if not any(read.pos == node.pos for read in of.reads):
        there = " or ".join(f"@{pos}" for pos in sorted({read.pos for read in of.reads}))
        raise ValueError(
            f"{node.component}@{node.pos} writes to a token that is not read downstream: trace a node at {there}"
        )
    return wanted_at(model, trace, of, node)


def wanted_at(model: GPT2, trace: Trace, target: Target, node: Node) -> Tensor:
    """dS / d(what a node writes), directly, the scale held: [d_model].

    Of a write that an edited edge does not carry to those who read, what it still carries counts.
    """
    found = torch.zeros(model.config.d_model).to(target.reads[0].normed)
    for read in target.reads:
        if read.pos == node.pos:
            reader = reader_of(model, target, read)
            share = 1.0
            if trace.met is not None and reader is not None:
                share = trace.met.share(reader, node.component, node.key, node.pos)
            found += share * gradient_at(model, trace, target, read)
    return found


def reader_of(model: GPT2, target: Target, read: Read) -> Component | None:
    """What reads: the unembedding where no part within the model is named and that is where the target reads."""
    if read.reader is None and target.line == last_line(model.config.n_layer):
        return Component(Kind.UNEMBED)
    return read.reader


def line_of(part: Component) -> int:
    """The line of a head, an attention, a neuron or an MLP."""
    return (1 if part.kind in (Kind.HEAD, Kind.ATTN, Kind.ATTN_BIAS) else 2) + 2 * part.layer


def query_key(model: GPT2, part: Component) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_Q [d_model, d_head], b_Q [d_head], W_K, b_K of a head."""
    (w_q, b_q), (w_k, b_k) = (_projection(model, part, which) for which in (0, 1))
    return w_q, b_q, w_k, b_k


def value_matrix(model: GPT2, part: Component) -> tuple[Tensor, Tensor]:
    """W_V [d_model, d_head] and b_V [d_head] of a head."""
    return _projection(model, part, 2)


def _projection(model: GPT2, part: Component, which: int) -> tuple[Tensor, Tensor]:
    """A head's columns of `c_attn`: 0 the query's, 1 the key's, 2 the value's."""
    config, c_attn = model.config, model.blocks[part.layer].attn.c_attn
    first = which * config.d_model + (part.index or 0) * config.d_head
    columns = slice(first, first + config.d_head)
    return wide(c_attn.weight[:, columns]), wide(c_attn.bias[columns])
