"""AtP*'s QK fix: queries and keys estimated through the softmax exactly, and linearly only after it.

A saturated softmax has almost no gradient, so a query or key that matters looks idle to attribution patching.
Recomputing the pattern with the edited query or key costs what a pattern costs (Kramar et al. 2024, section 3.1).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.effects.backward import sweep
from model.estimates.swap import Swap
from model.sites import Site

INPUTS = (Site.Q, Site.K, Site.V)


@dataclass(frozen=True, slots=True, eq=False)
class InputEstimates:
    """The estimated change of a target if one head's query, key or value at one token took its other value.

    All [layer, head, pos], in the target's unit.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    "Linear up to where the head's output joins: attribution patching as it is."
    q_linear: Tensor
    "(other - own) . gradient, as attribution patching has it."
    k_linear: Tensor


def qk_fix(swap: Swap) -> InputEstimates:
    """Estimates for every head's inputs on the edited run; without another run they are set to zero.

    Never more than a few [head, query, key] tensors a layer.
    """
    none = swap.own(Site.RESID_PRE, 0).new_zeros(swap.model.config.n_head, len(swap.edited.tokens))
    layers = [[none] * 5 for _ in swap.model.blocks]  # those after what the target reads stay so
    for layer, by in sweep(swap.rerun(), INPUTS, computed=(Site.PATTERN,)):
        if Site.PATTERN not in by:
            continue
        q, k = swap.own(Site.Q, layer), swap.own(Site.K, layer)
        linear = swap.products(layer, {site: by[site] for site in INPUTS})
        layers[layer] = [
            query_effects(q, k, swap.new(Site.Q, layer), by[Site.PATTERN]),
            key_effects(q, k, swap.new(Site.K, layer), by[Site.PATTERN]),
            linear[Site.V],
            linear[Site.Q],
            linear[Site.K],
        ]
    return InputEstimates(*(torch.stack(column) for column in zip(*layers, strict=True)))


def query_effects(q: Tensor, k: Tensor, new_q: Tensor, gradient: Tensor) -> Tensor:
    """sum over keys of (new pattern - pattern) . gradient, one query edited at a time.

    q, k, new_q [head, pos, d_head], gradient [head, query, key] -> [head, query].
    """
    moved = causal_scores(new_q, k).softmax(-1) - causal_scores(q, k).softmax(-1)
    return (moved * gradient).sum(-1)


def key_effects(q: Tensor, k: Tensor, new_k: Tensor, gradient: Tensor) -> Tensor:
    """sum over queries and keys of (new pattern - pattern) . gradient, one key edited at a time -> [head, key].

    A row whose key t is edited keeps its other scores: its new mean gradient is that of the others and t's own,
    weighed by t's new probability.  The others' share comes from sums before and after t, in logs, so that it
    is right where t had all of the attention.
    """
    scores, new = causal_scores(q, k), causal_scores(q, new_k)
    seen = scores.isfinite()
    lowest = gradient.masked_fill(~seen, math.inf).amin(-1, keepdim=True)
    # rows sum to one before and after, so that a constant drops out
    above = torch.where(seen, gradient - lowest, 0.0)
    rest = _without_each(scores)
    alone = rest == -math.inf
    mean = (_without_each(scores + above.log()) - rest.masked_fill(alone, 0.0)).exp()
    share = torch.where(alone, torch.ones_like(new), (new - rest).sigmoid())
    after = share * above + (1 - share) * mean
    before = (scores.softmax(-1) * above).sum(-1, keepdim=True)
    return torch.where(seen, after - before, 0.0).sum(-2)


def causal_scores(q: Tensor, k: Tensor) -> Tensor:
    """q . k / sqrt(d_head), later keys at -inf: [head, pos, d_head] twice -> [head, query, key]."""
    ahead = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(ahead, -math.inf)


def _without_each(x: Tensor) -> Tensor:
    """log of the sum of exp over all other keys: [..., key] -> [..., key]."""
    none = torch.full_like(x[..., :1], -math.inf)
    before = torch.cat([none, x.logcumsumexp(-1)[..., :-1]], -1)
    after = torch.cat([x.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:], none], -1)
    return torch.logaddexp(before, after)
