"""What a first-order estimate leaves out of a measurement, shared out among the nonlinear steps after the edit.

The gap between the two is no mystery: summed over every nonlinear step after the edit,

    measured - first order = sum of gradient at the step's output . (its change - its linear change)

exactly, with gradients of the unedited run.  The steps are layer norms, softmaxes, activation functions,
products (query x key, pattern x value) and the metric itself.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional as F

from model.components import Component, Kind
from model.effects.attribution import Treatment
from model.effects.backward import sweep, through_norm, value_of
from model.estimates.qk_fix import causal_scores
from model.estimates.swap import Swap
from model.gpt2 import GPT2, wide
from model.lines import norm_before, written_on
from model.measured.repair import differing
from model.readers import scale_met, slope_of_scale, stream_met
from model.sites import Site
from model.trace import Trace
from model.upstream.inputs import InputGradients, input_gradients


class Step(Enum):
    """What a gap can come from: a nonlinear step of the pass, or what the estimate did not take into account."""

    NORM = "layer norm"
    SCORES = "query x key"
    SOFTMAX = "attention softmax"
    VALUES = "pattern x value"
    ACTIVATION = "gelu"
    METRIC = "metric"
    HELD = "held scale or bias"
    "The estimate is not the first order: it holds a layer norm's scale, or leaves out a bias that the edit takes."


COMPUTED = (Site.LN1_NORMALIZED, Site.LN2_NORMALIZED, Site.SCORES, Site.PATTERN, Site.Z, Site.MLP_POST)


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Gradients of what is asked by every nonlinear step of an unedited run; they serve for any edit of it."""

    swap: Swap
    inputs: InputGradients
    steps: tuple[Mapping[Site, Tensor], ...]
    "By what each line computes, before the run's own edits; line 1 first."

    @property
    def before(self) -> Trace:
        return self.swap.edited


def slopes(swap: Swap) -> Slopes:
    """Two forward and two backward passes on the edited run, every scale live; what it is edited with is not read."""
    live = replace(swap, treatment=Treatment.NONE)
    inputs = input_gradients(
        swap.model, swap.edited, swap.asked, swap.sources, Treatment.NONE, also=swap.also
    )
    found = [by for _, by in sweep(live.rerun(), (), COMPUTED, first=1)]
    return Slopes(live, inputs, tuple(reversed(found)))


def edited_line(before: Trace, after: Trace) -> int:
    """The line on which two runs' edits differ.  Raises ValueError where that is not one line."""
    edits = differing(before, after)
    lines = {written_on(change.component) for change in edits}
    if len(lines) != 1 or Kind.FINAL_BIAS in {change.component.kind for change in edits}:
        raise ValueError(
            "a disagreement is about edits on one line of the pass: give runs that differ by such"
        )
    return lines.pop()


@torch.no_grad()
def remainders(of: Slopes, after: Trace) -> dict[Step, float]:
    """The gap between measurement and first order (layer norms live), by kind of step; adds up to it."""
    before, model = of.before, of.swap.model
    found = dict.fromkeys(Step, 0.0)
    for line, by in enumerate(of.steps, start=1):
        if line <= edited_line(before, after):
            continue
        layer = (line - 1) // 2
        offs = (_attention if line % 2 else _mlp)(model, before, after, layer)
        for step, site, off in offs:
            found[step] += float((off * by[site]).sum())
    norm, metric = _read(of, after)
    found[Step.NORM] += norm
    found[Step.METRIC] += metric
    return found


Off = tuple[Step, Site, Tensor]
"""A step, the site of its output, and how far that output's change is from linear."""


def _attention(model: GPT2, before: Trace, after: Trace, layer: int) -> Iterator[Off]:
    q, k, v, pattern = (wide(before[site, layer]) for site in (Site.Q, Site.K, Site.V, Site.PATTERN))
    new_q, new_k, new_v, new_pattern = (
        wide(after[site, layer]) for site in (Site.Q, Site.K, Site.V, Site.PATTERN)
    )
    crossed = (new_q - q) @ (new_k - k).transpose(-1, -2) / math.sqrt(q.shape[-1])
    yield Step.NORM, Site.LN1_NORMALIZED, _norm_off(model, before, after, 1 + 2 * layer)
    yield Step.SCORES, Site.SCORES, crossed
    yield Step.SOFTMAX, Site.PATTERN, _softmax_off(causal_scores(q, k), causal_scores(new_q, new_k))
    yield Step.VALUES, Site.Z, (new_pattern - pattern) @ (new_v - v)


def _softmax_off(old: Tensor, new: Tensor) -> Tensor:
    """The pattern's change, before any edit of it, minus its linear change: [head, query, key]."""
    pattern, moved = old.softmax(-1), torch.where(old.isfinite(), new - old, 0.0)
    linear = pattern * (moved - (pattern * moved).sum(-1, keepdim=True))
    return new.softmax(-1) - pattern - linear


def _mlp(model: GPT2, before: Trace, after: Trace, layer: int) -> Iterator[Off]:
    old, new = wide(before[Site.MLP_PRE, layer]), wide(after[Site.MLP_PRE, layer])
    with torch.enable_grad():
        leaf = old.detach().requires_grad_()
        value = F.gelu(leaf, approximate="tanh")
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    changed = F.gelu(new, approximate="tanh") - value.detach()
    yield Step.NORM, Site.LN2_NORMALIZED, _norm_off(model, before, after, 2 + 2 * layer)
    yield Step.ACTIVATION, Site.MLP_POST, changed - slope * (new - old)


def _norm_off(model: GPT2, before: Trace, after: Trace, line: int, reader: Component | None = None) -> Tensor:
    """How far the normalised vector's change before a line is from linear, scale live: [pos, d_model]."""
    old, new = (stream_met(model, run, line, reader) for run in (before, after))
    scale, scale_after = (scale_met(model, run, line, reader) for run in (before, after))
    changed = _normalized(new, scale_after) - _normalized(old, scale)
    live = slope_of_scale(model, before, line, reader)
    return changed - through_norm(old, scale, new - old, live=live)


def _normalized(x: Tensor, scale: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / scale


def _read(of: Slopes, after: Trace) -> tuple[float, float]:
    """The remainders of the norm through which the target reads, and of the metric itself."""
    model, asked, before, target = of.swap.model, of.swap.asked, of.before, of.inputs.target
    change = stream_met(model, after, target.line) - stream_met(model, before, target.line)
    linear = (change * of.inputs.final).sum()
    for reader, pull in of.inputs.own.items():
        streams = [stream_met(model, run, target.line, reader) for run in (before, after)]
        linear = linear + ((streams[1] - streams[0] - change) * pull).sum()
    whole = value_of(model, after, asked) - value_of(model, before, asked) - float(linear)
    if target.raw:
        return 0.0, whole  # a direction of the residual stream itself meets no norm
    weight, norm = wide(norm_before(model, target.line).weight), 0.0
    for read in target.reads:
        off = _norm_off(model, before, after, target.line, read.reader)[read.pos] * weight
        norm += float(off @ read.normed)
    return norm, whole - norm
