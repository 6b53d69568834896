"""What a target was made of, and that of what: a tree of nodes, each traced in turn.

Every branch is a node and its effect on the root: its write times the gradient that comes back along the branches
below it, layer norms' scales held.  It opens into what its own frame of tracing reads (`frames.frame_target`):
an MLP's or a neuron's pre-activation; a head's query, key or value, whichever its upstream nodes move most.
Embeddings, biases' places and edited parts end a branch.  No pass is run: the recorded run has all that is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.components import Component, Kind, Node
from model.edits.interventions import Change
from model.effects.attribution import overwritten
from model.frames import frame_target
from model.gpt2 import GPT2, wide
from model.lines import residual_site
from model.nodes import Floats
from model.sites import Hook, Site, no_hook
from model.targets import Target, Via, gradient_at
from model.trace import Trace
from model.upstream.branches import Branch

Path = tuple[Node, ...]
"The nodes from the root, which is none of them, to a branch."


@dataclass(frozen=True, slots=True)
class Pruning:
    """Which branches are kept."""

    depth: int = 3
    "How many steps from the root."
    top: int = 5
    "How many of each node's, the largest by absolute effect."
    threshold: float = 0.0
    "Smallest absolute effect on the root."
    neurons: bool = False
    "Neurons instead of MLPs."
    turned: frozenset[Path] = frozenset()
    "Branches that are closed although they are within the depth, or opened although they are not."

    def opens(self, path: Path) -> bool:
        """Whether the branch that these nodes lead to is opened."""
        return (len(path) < self.depth) != (path in self.turned)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Nodes of one kind, layer and token, numbered."""

    component: Component
    pos: int
    effects: Tensor
    "On the frame: [row], heads' as [head, key]."

    def node(self, row: int) -> Node:
        part, pos = self.component, self.pos
        if self.effects.ndim == 2:
            head, key = divmod(row, self.effects.shape[1])
            return Node(Component(part.kind, part.layer, head), pos, key)
        return Node(Component(part.kind, part.layer, row) if part.kind is Kind.NEURON else part, pos)


@torch.no_grad()
def tree(
    model: GPT2, trace: Trace, target: Target, pruning: Pruning = Pruning(), *, also: Hook = no_hook
) -> Branch:
    """The tree upstream of a target; equal effects keep the order of the pass.

    `also` is shown the residual stream that each frame reads and may raise to stop.
    """
    children = _open(model, trace, target, 1.0, (), pruning, also) if pruning.opens(()) else ()
    return Branch(None, None, target.value, children, opens=True)


def _open(
    model: GPT2, trace: Trace, frame: Target, weight: float, path: Path, pruning: Pruning, also: Hook
) -> tuple[Branch, ...]:
    """The branches of a frame whose value moves the root by `weight` a unit; `path` leads to it."""
    site, layer = residual_site(frame.line, model.config.n_layer)
    also(site, layer, trace[site, layer][None])
    strongest = _strongest(list(_rows(model, trace, frame, pruning.neurons)), weight, pruning)
    return tuple(
        _branch(model, trace, (*path, node), effect, frame, weight, pruning, also)
        for node, effect in strongest
    )


def _strongest(rows: Sequence[_Rows], weight: float, pruning: Pruning) -> list[tuple[Node, float]]:
    effects: Floats = weight * np.concatenate([each.effects.double().cpu().numpy().ravel() for each in rows])
    starts = np.cumsum([0, *(each.effects.numel() for each in rows)])
    found: list[tuple[Node, float]] = []
    for row in np.argsort(-np.abs(effects), kind="stable")[: pruning.top].tolist():
        if effects[row] == 0 or abs(effects[row]) < pruning.threshold:
            break
        block = int(np.searchsorted(starts, row, side="right")) - 1
        found.append((rows[block].node(row - int(starts[block])), float(effects[row])))
    return found


def _branch(
    model: GPT2,
    trace: Trace,
    path: Path,
    effect: float,
    frame: Target,
    weight: float,
    pruning: Pruning,
    also: Hook,
) -> Branch:
    """The node that a path ends in, opened through the input by which upstream nodes move it most, if it may be."""
    node = path[-1]
    if not pruning.opens(path):
        return Branch(node, None, effect, opens=next(_frames(model, trace, node, frame), None) is not None)
    frames = _frames(model, trace, node, frame)
    best: tuple[float, Via | None, Target, float] | None = None
    for via, inner, factor in frames:
        rows = _rows(model, trace, inner, pruning.neurons)
        moved = abs(weight * factor) * sum(float(each.effects.abs().sum()) for each in rows)
        if best is None or moved > best[0]:
            best = moved, via, inner, weight * factor
    if best is None:
        return Branch(node, None, effect)
    _, via, inner, within = best
    return Branch(node, via, effect, _open(model, trace, inner, within, path, pruning, also), opens=True)


def _frames(
    model: GPT2, trace: Trace, node: Node, frame: Target
) -> Iterator[tuple[Via | None, Target, float]]:
    """(through what, the frame of a node, what a unit of it does to the frame downstream) for each way to trace it."""
    part = node.component
    match part.kind:
        case Kind.MLP if not overwritten(trace, Kind.MLP, part.layer)[node.pos]:
            yield None, frame_target(model, trace, node, None, frame), 1.0
        case Kind.NEURON if not _edited(trace.changes, node):
            yield None, frame_target(model, trace, node), _slope(model, trace, node, frame)
        case Kind.HEAD if node.key is not None:
            if not _edited(trace.changes, node):
                slope = _score_slope(model, trace, node, frame)
                yield from ((via, frame_target(model, trace, node, via), slope) for via in (Via.Q, Via.K))
            yield Via.V, frame_target(model, trace, node, Via.V, frame), 1.0
        case _:
            return


def _edited(changes: Sequence[Change], node: Node) -> bool:
    """Whether an edit stands between what a node reads and what it puts out: any of its row's pairs, for a head."""
    return any(
        change.component == node.component
        and (change.span is None or change.span.first <= node.pos <= change.span.last)
        for change in changes
    )


def _wanted(model: GPT2, trace: Trace, frame: Target, pos: int) -> Tensor:
    """d frame / d(residual at a token), scale held: [d_model]."""
    return torch.stack(
        [gradient_at(model, trace, frame, read) for read in frame.reads if read.pos == pos]
    ).sum(0)


def _slope(model: GPT2, trace: Trace, node: Node, frame: Target) -> float:
    """d frame / d(a neuron's pre-activation)."""
    part = node.component
    with torch.enable_grad():
        pre = wide(trace[Site.MLP_PRE, part.layer][node.pos, part.index]).detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.gelu(pre, approximate="tanh"), pre)
    row = wide(model.blocks[part.layer].mlp.c_proj.weight[part.index])
    return float(slope * (row @ _wanted(model, trace, frame, node.pos)))


def _score_slope(model: GPT2, trace: Trace, node: Node, frame: Target) -> float:
    """d frame / d(a pair's score), the row's other keys losing what this one gains."""
    part, key = node.component, node.key or 0
    along = _output(model, part.layer)[part.index or 0] @ _wanted(model, trace, frame, node.pos)
    worth = wide(trace[Site.V, part.layer][part.index]) @ along  # [key]
    pattern = wide(trace[Site.PATTERN, part.layer][part.index, node.pos])
    return float(pattern[key] * (worth[key] - pattern @ worth))


def _output(model: GPT2, layer: int) -> Tensor:
    """One layer's W_O: [head, d_head, d_model]."""
    config = model.config
    return wide(model.blocks[layer].attn.c_proj.weight).view(config.n_head, config.d_head, config.d_model)


def _rows(model: GPT2, trace: Trace, frame: Target, neurons: bool) -> Iterator[_Rows]:
    """Every node that a frame reads directly and its effect on it, as in the node table's direct column."""
    for pos in sorted({read.pos for read in frame.reads}):
        gradient = _wanted(model, trace, frame, pos)
        yield _Rows(Component(Kind.EMBED), pos, (wide(trace[Site.RESID_PRE, 0][pos]) @ gradient)[None])
        for layer in range(model.config.n_layer):
            if 1 + 2 * layer < frame.line:
                yield from _attention(model, trace, layer, pos, gradient)
            if 2 + 2 * layer < frame.line:
                yield _mlp(model, trace, layer, pos, gradient, neurons)


def _attention(model: GPT2, trace: Trace, layer: int, pos: int, gradient: Tensor) -> Iterator[_Rows]:
    """A layer's pairs at a query; in place of what was edited whole, that."""
    if overwritten(trace, Kind.ATTN, layer)[pos]:
        yield _Rows(
            Component(Kind.ATTN, layer), pos, (wide(trace[Site.ATTN_OUT, layer][pos]) @ gradient)[None]
        )
        return
    along = _output(model, layer) @ gradient  # [head, d_head]
    pattern = wide(trace[Site.PATTERN, layer][:, pos, : pos + 1])
    values = (wide(trace[Site.V, layer][:, : pos + 1]) @ along[..., None])[..., 0]
    effects = pattern * values  # [head, key]
    for head in range(model.config.n_head):
        part = Component(Kind.HEAD, layer, head)
        if any(change.key is None and _edited((change,), Node(part, pos)) for change in trace.changes):
            effects[head] = 0
            yield _Rows(part, pos, (wide(trace[Site.Z, layer][head, pos]) @ along[head])[None])
    yield _Rows(Component(Kind.HEAD, layer), pos, effects)


def _mlp(model: GPT2, trace: Trace, layer: int, pos: int, gradient: Tensor, neurons: bool) -> _Rows:
    out = wide(trace[Site.MLP_OUT, layer][pos])
    if overwritten(trace, Kind.MLP, layer)[pos]:
        return _Rows(Component(Kind.MLP, layer), pos, (out @ gradient)[None])
    if neurons:
        along = wide(model.blocks[layer].mlp.c_proj.weight) @ gradient
        return _Rows(Component(Kind.NEURON, layer), pos, wide(trace[Site.MLP_POST, layer][pos]) * along)
    out = out - wide(trace[Site.MLP_BIAS, layer][pos])
    return _Rows(Component(Kind.MLP, layer), pos, (out @ gradient)[None])
