"""What is asked of a reference run, and what any vector in its residual stream adds to it.

A question is a sum over tokens of vector . LN(residual stream) + constant, as the metric is, and a neuron's
pre-activation, and a head's score with its other side held.  The formulas are written out here once more.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.changes import Ablate, Mode
from model.edits.links import WHOLES
from model.metrics import Metric
from model.probes import Activation, Direction
from model.reference import latent_reads
from model.reference.metrics import (
    activation_line,
    activation_of,
    activation_reads,
    activation_weights,
    metric_of,
    weights_of,
)
from model.reference.passes import Pass
from model.reference.run import PlainGPT2, gelu_slope
from model.reference.told import apart, told


class Read(NamedTuple):
    """What is read of one token."""

    pos: int
    vector: Tensor
    "What multiplies the layer norm's output there: [d_model]."
    reader: Component | None = None
    "Whose stream it is of: None is that which all read, with what edges into U add."


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A scalar of one run."""

    line: int
    "The line that reads the residual stream."
    reads: tuple[Read, ...]
    constant: float
    metric: Metric | None = None
    "Where it is not linear in what it reads, the reads are its gradient and this is what is measured."
    base: Tensor | None = None
    "The logits that a divergence is from."
    raw: bool = False
    "Whether the residual stream is read as it is, no layer norm between."
    latent: Node | None = None
    "Whose pre-activation it is: measured, all of its sub-layer is live."


def about_metric(plain: PlainGPT2, run: Pass, metric: Metric, base: Tensor | None = None) -> Question:
    """The metric; `base` [vocab] are the logits that a divergence is from.  Raises ValueError for an unknown one."""
    pos, probe = metric.pos, metric.probe
    if isinstance(probe, Direction):
        vector = torch.tensor(probe.vector, dtype=plain.dtype)
        return Question(probe.line, (Read(pos, vector),), 0.0, raw=True)
    if isinstance(probe, Activation):
        line, places = activation_line(probe), activation_reads(probe, pos)
        bare = Question(line, tuple(Read(at, run.stream[0][0] * 0, reader) for at, reader in places), 0.0)
        seen = [seen_by(plain, run, bare, run.stream_of(line, reader)[at], at) for at, reader in places]
        weights = activation_weights(plain, probe, seen)
        reads = (Read(at, weight, reader) for (at, reader), weight in zip(places, weights, strict=True))
        return Question(line, tuple(reads), 0.0, metric)
    weights = weights_of(metric, plain.logits(run, pos), base)
    return Question(
        plain.last, (Read(pos, weights @ plain.unembedding),), 0.0, None if metric.linear else metric, base
    )


def about_node(plain: PlainGPT2, run: Pass, node: Node, via: str | None, before: Question) -> Question:
    """The question of a frame of tracing: `via` q, k, qk or v of a head; `before` is the frame that it is for."""
    part, layer = node.component, node.component.layer
    match part.kind:
        case Kind.NEURON:
            name = f"h.{layer}.mlp.c_fc"
            column, bias = (plain.weight(f"{name}.{end}")[..., part.index] for end in ("weight", "bias"))
            one = torch.ones((), dtype=plain.dtype)
            return Question(
                2 + 2 * layer, *_through(run, node, "pre", column[:, None], bias[None], one[None])
            )
        case Kind.MLP:
            return _about_mlp(plain, run, node, before)
        case Kind.HEAD if via == "v":
            return _about_value(plain, run, node, before)
        case Kind.LATENT:
            return _about_latent(plain, run, node)
        case _:
            return _about_score(plain, run, node, via or "qk")


def _about_mlp(plain: PlainGPT2, run: Pass, node: Node, before: Question) -> Question:
    layer = node.component.layer
    w_in, b_in, w_out = (
        plain.weight(f"h.{layer}.mlp.{name}") for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")
    )
    worth = gelu_slope(run["pre", layer][node.pos]) * (w_out @ _wish(plain, run, before, node))
    return Question(2 + 2 * layer, *_through(run, node, "pre", w_in, b_in, worth))


def _through(
    run: Pass, node: Node, name: str, weight: Tensor, bias: Tensor, worth: Tensor
) -> tuple[tuple[Read, ...], float]:
    """What a reader makes of the stream at a token, each number worth so much: the read, and what is constant.

    Of an input that edits change they are made on none and on ones: between the two is what is left of it.
    """
    part, pos, layer = node.component, node.pos, node.component.layer
    reader = Component(Kind.MLP, layer) if name == "pre" else Component(Kind[name.upper()], layer, part.index)
    value = run[name, layer]
    value = value[pos] if name == "pre" else value[part.index or 0, pos]
    if part.kind is Kind.NEURON:
        value = value[part.index][None]
    if reader in run.handed and pos in run.handed[reader][0]:
        return (Read(pos, weight @ (0 * worth), reader),), float(value @ worth)
    if name == "pre":
        return (Read(pos, weight @ worth, reader),), float(bias @ worth)
    none, ones = (
        run.made(name, layer, x)[part.index or 0, pos]
        for x in (run[name, layer] * 0, run[name, layer] * 0 + 1)
    )
    left = ones - none
    return (Read(pos, weight @ (left * worth), reader),), float((left * bias + none) @ worth)


def _about_latent(plain: PlainGPT2, run: Pass, node: Node) -> Question:
    part, value = node.component, latent_reads.value_of(run, node)
    line, raw = latent_reads.line_read(part), latent_reads.is_raw(part)
    reader = latent_reads.reader_of(run, part)
    held = reader is not None and reader in run.handed and node.pos in run.handed[reader][0]
    reads = tuple(
        Read(pos, vector * float(not held), reader) for pos, vector in latent_reads.reads_of(plain, run, node)
    )
    asked = Question(line, reads, 0.0, raw=raw, latent=node)
    return replace(asked, constant=value - value_of(plain, run, asked))


def _about_score(plain: PlainGPT2, run: Pass, node: Node, via: str) -> Question:
    layer, head = node.component.layer, node.component.index or 0
    key = int(run["pattern", layer][head, node.pos].argmax()) if node.key is None else node.key
    q, k = run["q", layer][head, node.pos], run["k", layer][head, key]
    root = math.sqrt(len(q))
    reads: tuple[Read, ...] = ()
    constant = 0.0
    for letter, pos, other in (("q", node.pos, k), ("k", key, q)):
        if letter in via:
            columns = plain.columns(layer, head, letter)
            read, own = _through(run, replace(node, pos=pos), letter, *columns, other / root)
            reads, constant = (*reads, *read), constant + own
    return Question(1 + 2 * layer, reads, constant)


def _about_value(plain: PlainGPT2, run: Pass, node: Node, before: Question) -> Question:
    layer, head = node.component.layer, node.component.index or 0
    columns = plain.columns(layer, head, "v")
    worth = plain.output(layer, head) @ _wish(plain, run, before, node)
    shares = run["pattern", layer][head, node.pos]
    reads: tuple[Read, ...] = ()
    constant = 0.0
    for key in range(node.pos + 1) if node.key is None else [node.key]:
        read, own = _through(run, replace(node, pos=key), "v", *columns, shares[key] * worth)
        reads, constant = (*reads, *read), constant + own
    return Question(1 + 2 * layer, reads, constant)


def _wish(plain: PlainGPT2, run: Pass, question: Question, node: Node) -> Tensor:
    """d question / d(what a node writes), its scale held, a coordinate at a time: [d_model].

    Along edges that carry something else only what they leave of the write arrives.
    """
    unit = torch.eye(len(run.stream[0][0]), dtype=plain.dtype)
    found = torch.zeros(len(unit), dtype=plain.dtype)
    for read in question.reads:
        one = reread(plain, run, replace(question, reads=(read,)), node.pos, unit)
        reader = Component(Kind.UNEMBED) if question.line == plain.last else read.reader
        found = found + one * _carried_of(run, reader, node)
    return found


def _carried_of(run: Pass, reader: Component | None, node: Node) -> float:
    """How much of a node's write at its token a reader meets."""
    _, edges, _ = apart(run.changes)
    shape = max(layer for _, layer in run.values) + 1, len(run["z", 0])
    if reader is None or not edges:
        return 1.0
    part = node.component
    wholes = [part, Component(WHOLES[part.kind], part.layer)] if part.kind in WHOLES else [part]
    seen = told(reader, edges, shape, len(run.tokens)).carried
    for whole in wholes:
        change = seen.get((whole, None), {}).get(node.pos)
        if change is not None:
            return (
                change.amount
                if isinstance(change, Ablate) and change.mode is Mode.SCALE
                else float(isinstance(change, Ablate) and change.mode is Mode.NOISE)
            )
    return 1.0


def value_of(plain: PlainGPT2, run: Pass, question: Question) -> float:
    """The question in the run that it was asked of; of a metric that is not linear, its linear part."""
    found = question.constant
    for pos, vector, reader in question.reads:
        found += float(seen_by(plain, run, question, run.stream_of(question.line, reader)[pos], pos) @ vector)
    return found


def live_value(plain: PlainGPT2, run: Pass, question: Question, line: int, at: int | None = None) -> float:
    """The question of the stream after `line`, norms computed anew, as if nothing came between; a metric at `at`.

    Where it reads, it reads as its readers do.
    """
    metric, last = question.metric, max(read.pos for read in question.reads) if at is None else at
    if question.latent is not None and any(bool(read.vector.any()) for read in question.reads):
        reader = question.reads[0].reader if line == question.line - 1 else None
        return latent_reads.live_value(plain, run, question.latent, run.stream_of(line + 1, reader))

    def seen(read: Read) -> Tensor:
        pos = read.pos if at is None or len(question.reads) > 1 else at
        stream = run.stream_of(line + 1, read.reader) if line == question.line - 1 else run.stream[line]
        return seen_by(plain, run, question, stream[pos], pos)

    if metric is not None and isinstance(metric.probe, Activation):
        return activation_of(plain, metric.probe, [seen(read) for read in question.reads])
    if metric is not None:
        logits = plain.unembedding @ plain.final(run, run.stream[line][last], last)
        return float(metric_of(metric, logits, question.base))
    return question.constant + sum(float(seen(read) @ read.vector) for read in question.reads)


def seen_by(plain: PlainGPT2, run: Pass, question: Question, x: Tensor, pos: int) -> Tensor:
    """What the question sees of a residual at a token: as a line's layer norm makes it, or as it is."""
    if question.raw:
        return x
    if question.line == plain.last:
        return plain.final(run, x, pos)
    return plain.norm(norm_name(question.line), x, edit=run.scale_of(question.line, pos))


def norm_name(line: int) -> str:
    return f"h.{(line - 1) // 2}.ln_{1 if line % 2 else 2}"


def reread(plain: PlainGPT2, run: Pass, question: Question, pos: int, writes: Tensor) -> Tensor:
    """What vectors added to the streams at a token add to a question, scales held: [..., d_model] -> [...]."""
    found = torch.zeros(writes.shape[:-1], dtype=plain.dtype)
    for read in question.reads:
        if read.pos != pos:
            continue
        seen = writes
        if not question.raw:
            name = "ln_f" if question.line == plain.last else norm_name(question.line)
            stream = run.stream_of(question.line, read.reader)[pos]
            scale = run.scale_of(question.line, pos)(plain.scale(stream))
            seen = (writes - writes.mean(-1, keepdim=True)) / scale * plain.weight(f"{name}.weight")
        found = found + seen @ read.vector
    return found
