"""Targets as they are measured: from the residual stream that they read, whatever has been edited before."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component
from model.edits.met import Added, as_met
from model.gpt2 import GPT2, wide
from model.held import held_scales
from model.latent_frames import edited_inside, pre_activation
from model.lens import read
from model.lines import norm_before
from model.measured.suffix import Goal, after_line
from model.metrics import Metric
from model.probes import positions_of, probe_line, probed, readers_of, set_scales
from model.targets import Target
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """A target as it is measured: the metric, or a frame's reads with their layer norm live."""

    line: int
    positions: tuple[int, ...]
    score: Callable[[Tensor, Trace], Tensor]
    "Residual stream at `positions`, [batch, read, d_model], and the run whose final bias it meets -> [batch]."
    readers: tuple[Component | None, ...]
    "Whose stream each is, None being no part of the model."

    def met(self, resid: Tensor, added: Added) -> Tensor:
        """What is read of the stream [batch, pos, d_model], edges adding for its readers: [batch, read, d_model]."""
        return as_met(resid[:, list(self.positions)], self.positions, self.readers, added)

    @property
    def goal(self) -> Goal:
        """Where it reads."""
        return Goal(self.line, self.positions)


def metric_scorer(model: GPT2, metric: Metric) -> Scorer:
    """The metric itself, whatever its quantity."""
    probe = metric.probe
    if probe is not None:
        return Scorer(
            probe_line(probe),
            positions_of(probe, metric.pos),
            lambda resid, trace: probed(
                model, probe, resid, held=set_scales(model, trace, probe, metric.pos)
            ),
            readers_of(probe, metric.pos),
        )

    def score(resid: Tensor, trace: Trace) -> Tensor:
        return metric.of_normed(read(model, trace, resid[:, 0], metric.pos), model.unembedding)

    return Scorer(2 * model.config.n_layer + 1, (metric.pos,), score, (None,))


def target_scorer(model: GPT2, target: Target) -> Scorer:
    """A frame: its layer norm live, what it holds (the other side of a score, the attention of a value) held.

    Of a latent all is live, unless edits inside of its sub-layer are in force: then what is linear of it.
    """
    latent = target.latent
    norm = norm_before(model, target.line)

    def score(resid: Tensor, trace: Trace) -> Tensor:
        if latent is not None and not edited_inside(trace, latent):
            return pre_activation(model, trace, latent, resid)
        total = torch.full((len(resid),), target.constant, dtype=wide(resid).dtype, device=resid.device)
        held = None if target.raw else held_scales(model, trace, target.line)
        for at, each in enumerate(target.reads):
            x = wide(resid[:, at])
            if target.raw:
                total += x @ each.normed
                continue
            scale = norm.scale(x) if held is None else held.at(each.pos).of(norm.scale(x))
            seen = (x - x.mean(-1, keepdim=True)) / scale
            total += (seen * wide(norm.weight) + wide(norm.bias)) @ each.normed
        return total

    reads = target.reads
    return Scorer(target.line, tuple(each.pos for each in reads), score, tuple(each.reader for each in reads))


def unchanged(model: GPT2, trace: Trace, scorer: Scorer) -> float:
    """The target of a run as it is measured."""
    resid = after_line(trace, scorer.line - 1)
    return float(scorer.score(scorer.met(resid[None], trace.added), trace)[0])
