"""What is asked of a reference run, and what any vector in its residual stream adds to it.

A question is a sum over tokens of vector . LN(residual stream) + constant, as the metric is, and a neuron's
pre-activation, and a head's score with its other side held.  The formulas are written out here once more.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.components import Kind, Node
from model.metrics import Metric
from model.probes import Activation, Direction
from model.reference import latent_reads
from model.reference.metrics import activation_line, activation_of, activation_weights, metric_of, weights_of
from model.reference.passes import Pass
from model.reference.run import PlainGPT2, gelu_slope


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A scalar of one run."""

    line: int
    "The line that reads the residual stream."
    reads: tuple[tuple[int, Tensor], ...]
    "(token, what multiplies the layer norm's output there [d_model])."
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
        return Question(probe.line, ((pos, vector),), 0.0, raw=True)
    if isinstance(probe, Activation):
        line = activation_line(probe)
        seen = [plain.norm(norm_name(line), x) for x in run.stream[line - 1][: pos + 1]]
        weights = activation_weights(plain, probe, seen)
        keys = range(pos + 1) if probe.component.kind is Kind.HEAD else [pos]
        return Question(line, tuple((key, weights[key]) for key in keys), 0.0, metric)
    weights = weights_of(metric, plain.logits(run, pos), base)
    return Question(
        plain.last, ((pos, weights @ plain.unembedding),), 0.0, None if metric.linear else metric, base
    )


def about_node(plain: PlainGPT2, run: Pass, node: Node, via: str | None, before: Question) -> Question:
    """The question of a frame of tracing: `via` q, k, qk or v of a head; `before` is the frame that it is for."""
    part, layer = node.component, node.component.layer
    match part.kind:
        case Kind.NEURON:
            name = f"h.{layer}.mlp.c_fc"
            column, bias = (plain.weight(f"{name}.{end}")[..., part.index] for end in ("weight", "bias"))
            return Question(2 + 2 * layer, ((node.pos, column),), float(bias))
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
    worth = gelu_slope(run["pre", layer][node.pos]) * (w_out @ _wish(plain, run, before, node.pos))
    return Question(2 + 2 * layer, ((node.pos, w_in @ worth),), float(b_in @ worth))


def _about_latent(plain: PlainGPT2, run: Pass, node: Node) -> Question:
    part, value = node.component, latent_reads.value_of(run, node)
    line, raw = latent_reads.line_read(part), latent_reads.is_raw(part)
    asked = Question(line, latent_reads.reads_of(plain, run, node), 0.0, raw=raw, latent=node)
    return replace(asked, constant=value - value_of(plain, run, asked))


def _about_score(plain: PlainGPT2, run: Pass, node: Node, via: str) -> Question:
    layer, head = node.component.layer, node.component.index or 0
    key = int(run["pattern", layer][head, node.pos].argmax()) if node.key is None else node.key
    q, k = run["q", layer][head, node.pos], run["k", layer][head, key]
    root = math.sqrt(len(q))
    reads: list[tuple[int, Tensor]] = []
    constant = 0.0
    for letter, pos, other in (("q", node.pos, k), ("k", key, q)):
        if letter in via:
            weight, bias = plain.columns(layer, head, letter)
            reads.append((pos, weight @ other / root))
            constant += float(bias @ other) / root
    return Question(1 + 2 * layer, tuple(reads), constant)


def _about_value(plain: PlainGPT2, run: Pass, node: Node, before: Question) -> Question:
    layer, head = node.component.layer, node.component.index or 0
    weight, bias = plain.columns(layer, head, "v")
    worth = plain.output(layer, head) @ _wish(plain, run, before, node.pos)
    shares = run["pattern", layer][head, node.pos]
    keys = range(node.pos + 1) if node.key is None else [node.key]
    constant = sum(float(shares[key] * (bias @ worth)) for key in keys)
    return Question(1 + 2 * layer, tuple((key, shares[key] * (weight @ worth)) for key in keys), constant)


def _wish(plain: PlainGPT2, run: Pass, question: Question, pos: int) -> Tensor:
    """d question / d(residual at a token), its scale held, a coordinate at a time: [d_model]."""
    unit = torch.eye(len(run.stream[0][0]), dtype=plain.dtype)
    return reread(plain, run, question, pos, unit)


def value_of(plain: PlainGPT2, run: Pass, question: Question) -> float:
    """The question in the run that it was asked of; of a metric that is not linear, its linear part."""
    stream = run.stream[question.line - 1]
    return question.constant + sum(
        float(_seen(plain, run, question, stream[pos], pos) @ read) for pos, read in question.reads
    )


def live_value(plain: PlainGPT2, run: Pass, question: Question, line: int, at: int | None = None) -> float:
    """The question of the stream after `line`, norms computed anew, as if nothing came between; a metric at `at`."""
    stream, metric = run.stream[line], question.metric
    last = max(pos for pos, _ in question.reads) if at is None else at
    if question.latent is not None:
        return latent_reads.live_value(plain, run, question.latent, stream)
    if metric is not None and isinstance(metric.probe, Activation):
        seen = [_seen(plain, run, question, x, pos) for pos, x in enumerate(stream[: last + 1])]
        return activation_of(plain, metric.probe, seen)
    if metric is not None:
        logits = plain.unembedding @ plain.final(run, stream[last], last)
        return float(metric_of(metric, logits, question.base))
    places = [(pos if at is None else at, read) for pos, read in question.reads]
    return question.constant + sum(
        float(_seen(plain, run, question, stream[pos], pos) @ read) for pos, read in places
    )


def _seen(plain: PlainGPT2, run: Pass, question: Question, x: Tensor, pos: int) -> Tensor:
    """What the question sees of a residual at a token: as a line's layer norm makes it, or as it is."""
    if question.raw:
        return x
    if question.line == plain.last:
        return plain.final(run, x, pos)
    return plain.norm(norm_name(question.line), x, edit=run.scale_of(question.line, pos))


def norm_name(line: int) -> str:
    return f"h.{(line - 1) // 2}.ln_{1 if line % 2 else 2}"


def reread(plain: PlainGPT2, run: Pass, question: Question, pos: int, writes: Tensor) -> Tensor:
    """What vectors added to the stream at a token add to a question, its scale held: [..., d_model] -> [...]."""
    found = torch.zeros(writes.shape[:-1], dtype=plain.dtype)
    seen = writes
    if not question.raw:
        name = "ln_f" if question.line == plain.last else norm_name(question.line)
        scale = run.scale_of(question.line, pos)(plain.scale(run.stream[question.line - 1][pos]))
        seen = (writes - writes.mean(-1, keepdim=True)) / scale * plain.weight(f"{name}.weight")
    for at, read in question.reads:
        if at == pos:
            found = found + seen @ read
    return found
