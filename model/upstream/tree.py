"""What a target was made of, and that of what: a tree of nodes, each traced in turn.

Every branch is a node and its effect on the root: its write times the gradient that comes back along the branches
below it, layer norms' scales held.  It opens into what its own frame of tracing reads (`frames.frame_target`):
an MLP's, a neuron's or a latent's pre-activation; a head's query, key or value, whichever its upstream nodes move
most.  Embeddings, what dictionaries leave over and edited parts end a branch.  No pass is run: the recorded run has all
that is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from model.components import Kind, Node
from model.effects.attribution import overwritten
from model.effects.latents import in_use
from model.frames import frame_target
from model.gpt2 import GPT2, wide
from model.latents import write_by_activation
from model.lines import residual_site
from model.nodes import Floats
from model.sites import Hook, Site, no_hook
from model.targets import Target, Via, wanted_at
from model.trace import Trace
from model.upstream.branches import Branch
from model.upstream.rows import Parts, Rows, is_edited, output_of, rows_of

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
    latents: frozenset[str] = frozenset()
    "Letters of the dictionaries whose parts are there instead of what they take apart."
    turned: frozenset[Path] = frozenset()
    "Branches that are closed although they are within the depth, or opened although they are not."

    def opens(self, path: Path) -> bool:
        """Whether the branch that these nodes lead to is opened."""
        return (len(path) < self.depth) != (path in self.turned)


@torch.no_grad()
def tree(
    model: GPT2, trace: Trace, target: Target, pruning: Pruning = Pruning(), *, also: Hook = no_hook
) -> Branch:
    """The tree upstream of a target; equal effects keep the order of the pass.

    `also` is shown the residual stream that each frame reads and may raise to stop.
    """
    growing = _Growing(model, trace, pruning, also, Parts(model, trace))
    children = growing.opened(target, 1.0, ()) if pruning.opens(()) else ()
    return Branch(None, None, target.value, children, opens=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Growing:
    """One tree as it is made."""

    model: GPT2
    trace: Trace
    pruning: Pruning
    also: Hook
    parts: Parts

    def opened(self, frame: Target, weight: float, path: Path) -> tuple[Branch, ...]:
        """The branches of a frame whose value moves the root by `weight` a unit; `path` leads to it."""
        site, layer = residual_site(frame.line, self.model.config.n_layer)
        self.also(site, layer, self.trace[site, layer][None])
        strongest = _strongest(list(self.rows(frame)), weight, self.pruning)
        return tuple(self.branch((*path, node), effect, frame, weight) for node, effect in strongest)

    def rows(self, frame: Target) -> Iterator[Rows]:
        """Every node that a frame reads."""
        places = in_use(self.trace, self.pruning.latents, frame.line, frame.latent)
        return rows_of(self.model, self.trace, frame, self.pruning.neurons, places, self.parts)

    def branch(self, path: Path, effect: float, frame: Target, weight: float) -> Branch:
        """The node that a path ends in, opened through the input by which upstream nodes move it most, if it may be."""
        node = path[-1]
        frames = _frames(self.model, self.trace, node, frame)
        if not self.pruning.opens(path):
            return Branch(node, None, effect, opens=next(frames, None) is not None)
        best: tuple[float, Via | None, Target, float] | None = None
        for via, inner, factor in frames:
            moved = sum(float(each.effects.abs().sum()) for each in self.rows(inner))
            moved *= abs(weight * factor)
            if best is None or moved > best[0]:
                best = moved, via, inner, weight * factor
        if best is None:
            return Branch(node, None, effect)
        _, via, inner, within = best
        return Branch(node, via, effect, self.opened(inner, within, path), opens=True)


def _strongest(rows: Sequence[Rows], weight: float, pruning: Pruning) -> list[tuple[Node, float]]:
    effects: Floats = weight * np.concatenate([each.effects.double().cpu().numpy().ravel() for each in rows])
    starts = np.cumsum([0, *(each.effects.numel() for each in rows)])
    found: list[tuple[Node, float]] = []
    for row in np.argsort(-np.abs(effects), kind="stable")[: pruning.top].tolist():
        if effects[row] == 0 or abs(effects[row]) < pruning.threshold:
            break
        block = int(np.searchsorted(starts, row, side="right")) - 1
        found.append((rows[block].node(row - int(starts[block])), float(effects[row])))
    return found


def _frames(
    model: GPT2, trace: Trace, node: Node, frame: Target
) -> Iterator[tuple[Via | None, Target, float]]:
    """(through what, the frame of a node, what a unit of it does to the frame downstream) for each way to trace it."""
    part = node.component
    match part.kind:
        case Kind.MLP if not overwritten(trace, Kind.MLP, part.layer)[node.pos]:
            yield None, frame_target(model, trace, node, None, frame), 1.0
        case Kind.NEURON if not is_edited(trace.changes, node):
            yield None, frame_target(model, trace, node), _slope(model, trace, node, frame)
        case Kind.LATENT if not is_edited(trace.changes, node):
            wanted = wanted_at(model, trace, frame, node)
            slope = float(write_by_activation(model, trace, part, node.pos) @ wanted)
            yield None, frame_target(model, trace, node), slope
        case Kind.HEAD if node.key is not None:
            if not is_edited(trace.changes, node):
                slope = _score_slope(model, trace, node, frame)
                yield from ((via, frame_target(model, trace, node, via), slope) for via in (Via.Q, Via.K))
            yield Via.V, frame_target(model, trace, node, Via.V, frame), 1.0
        case _:
            return


def _slope(model: GPT2, trace: Trace, node: Node, frame: Target) -> float:
    """d frame / d(a neuron's pre-activation)."""
    part = node.component
    with torch.enable_grad():
        pre = wide(trace[Site.MLP_PRE, part.layer][node.pos, part.index]).detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.gelu(pre, approximate="tanh"), pre)
    row = wide(model.blocks[part.layer].mlp.c_proj.weight[part.index])
    return float(slope * (row @ wanted_at(model, trace, frame, node)))


def _score_slope(model: GPT2, trace: Trace, node: Node, frame: Target) -> float:
    """d frame / d(a pair's score), the row's other keys losing what this one gains."""
    part, key = node.component, node.key or 0
    along = output_of(model, part.layer)[part.index or 0] @ wanted_at(model, trace, frame, node)
    worth = wide(trace[Site.V, part.layer][part.index]) @ along  # [key]
    pattern = wide(trace[Site.PATTERN, part.layer][part.index, node.pos])
    return float(pattern[key] * (worth[key] - pattern @ worth))
