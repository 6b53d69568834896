"""The logit lens: what the model would say if a residual stream went straight to the final norm.

nostalgebraist 2020.  The norm's scale is computed anew at every place, so the last line is the model itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.gpt2 import GPT2
from model.held import held_scales
from model.lines import last_line, residual_site
from model.metrics import Metric
from model.probes import Probe, met_by, positions_of, probe_line, probed, set_scales
from model.sites import Site
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """One entry a line of the pass (`E, A0, M0, ..., U`), read at one token."""

    value: NDArray[np.float64]
    "The metric: [line]."
    target_rank: NDArray[np.int64]
    "Rank of the first target, 0 the most likely: [line]."
    top: NDArray[np.int64]
    "The most likely tokens, best first: [line, k]."
    top_prob: NDArray[np.float64]
    "Their probabilities: [line, k]."


def residuals(trace: Trace, n_layer: int, pos: int) -> Tensor:
    """The residual stream after each line at one token, as the next one reads it: [line, d_model]."""
    after = [trace[residual_site(line, n_layer)][pos] for line in range(1, last_line(n_layer) + 1)]
    return torch.stack([*after, after[-1]])


@torch.no_grad()
def read(model: GPT2, trace: Trace, resid: Tensor, pos: int) -> Tensor:
    """The final norm's output for residuals at token `pos`: [..., d_model].

    With the run's own final bias, and its scale where an edit has set that.
    """
    held = held_scales(model, trace, last_line(model.config.n_layer))

    def hold(site: Site, layer: int, x: Tensor) -> Tensor:
        return x if held is None or site is not Site.LN_FINAL_SCALE else held.at(pos).of(x)

    seen = model.ln_f.normalize(resid, 0, hold, Site.LN_FINAL_SCALE, Site.LN_FINAL_NORMALIZED)
    return seen * model.ln_f.weight + trace[Site.LN_FINAL_BIAS, 0][pos]


@torch.no_grad()
def lens_values(model: GPT2, trace: Trace, metric: Metric, pos: int) -> NDArray[np.float64]:
    """The metric after each line, read at token `pos`: [line].

    A probe is read so up to its own line; after it, it stays.  A head's attention is always read at its own query.
    """
    if metric.probe is not None:
        through_attention = len(positions_of(metric.probe, metric.pos)) > 1
        return _probe_values(model, trace, metric.probe, metric.pos if through_attention else pos)
    normed = read(model, trace, residuals(trace, model.config.n_layer, pos), pos)
    return metric.of_normed(normed, model.unembedding).double().cpu().numpy()


def _probe_values(model: GPT2, trace: Trace, probe: Probe, pos: int) -> NDArray[np.float64]:
    positions, line = positions_of(probe, pos), probe_line(probe)
    streams = torch.stack([residuals(trace, model.config.n_layer, at) for at in positions], 1)
    streams[line - 1] = met_by(probe, pos, streams[line - 1], trace.added)
    held = set_scales(model, trace, probe, pos)
    found = probed(model, probe, streams[:line], held=held)  # [line, read, d_model] -> [line]
    return torch.cat([found, found[-1:].expand(len(streams) - len(found))]).double().cpu().numpy()


@torch.no_grad()
def lens(model: GPT2, trace: Trace, metric: Metric, pos: int, k: int = 3) -> Lens:
    """The metric, the target's rank and the top `k` tokens after each line, read at token `pos`."""
    normed = read(model, trace, residuals(trace, model.config.n_layer, pos), pos)
    logits = model.unembed(normed).double()  # [line, vocab]
    prob, top = logits.softmax(-1).topk(min(k, logits.shape[-1]))
    target = logits[:, metric.targets[0], None]
    return Lens(
        value=lens_values(model, trace, metric, pos) if metric.probe else metric.of(logits).cpu().numpy(),
        target_rank=(logits > target).sum(-1).cpu().numpy(),
        top=top.cpu().numpy(),
        top_prob=prob.cpu().numpy(),
    )
