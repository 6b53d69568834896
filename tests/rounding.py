"""How far float32 may stray: a bound on the rounding of the metric, first order in the unit roundoff.

Each site's value is rounded by at most `_rounding` (Higham, Accuracy and Stability of Numerical Algorithms,
2002: an inner product of n terms errs by at most gamma_n times the inner product of absolute values,
gamma_n = n u / (1 - n u)); what that does to the metric is the gradient of the metric by the site, so

    |error of the metric| <= sum over sites of |d metric / d site| . rounding of site

with both factors taken from a float64 run of the same weights.  No constant is fitted.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.edits.interventions import Change, as_hook
from model.gpt2 import GPT2, LayerNorm, Projection
from model.metrics import Metric
from model.sites import Site, compose
from model.trace import Trace

UNIT = 2.0**-24
"Unit roundoff of float32."

Seen = Mapping[tuple[Site, int], Tensor]


def gamma(n: int, unit: float = UNIT) -> float:
    """n roundings in a row, in relative error."""
    return n * unit / (1 - n * unit)


def metric_bound(exact: GPT2, tokens: Sequence[int], metric: Metric, changes: Sequence[Change] = ()) -> float:
    """The most by which float32 can miss a linear metric of this run; `exact` holds the weights as float64."""
    seen: dict[tuple[Site, int], Tensor] = {}

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        seen[site, layer] = x if x.requires_grad else x.detach().requires_grad_()
        return seen[site, layer]

    with torch.enable_grad():
        hook = compose(as_hook(changes), watch)
        ids = torch.tensor([list(tokens)])
        normed = exact.final_norm(exact.layers(exact.embed(ids, hook), hook), hook)[0, metric.pos]
        score = metric.of_normed(normed, exact.unembedding)
        gradients = torch.autograd.grad(score, list(seen.values()), allow_unused=True)
    with torch.no_grad():
        total = gamma(exact.config.d_model + 4) * float(normed.abs() @ absolute_direction(exact, metric))
        for (site, layer), gradient in zip(seen, gradients, strict=True):
            if gradient is not None:
                total += float((gradient.abs() * _rounding(exact, site, layer, seen)).sum())
    return total


def absolute_direction(model: GPT2, metric: Metric) -> Tensor:
    """The metric's direction with every entry's terms counted positive: [d_model]."""
    rows = model.unembedding.abs()
    parts = [rows[list(some)].mean(0) for some in (metric.targets, metric.distractors) if some]
    return torch.stack(parts).sum(0)


def _rounding(model: GPT2, site: Site, layer: int, seen: Seen) -> Tensor:
    """A bound on the rounding made in computing this site from those before it, entry by entry."""
    x, c, block = seen[site, layer], model.config, model.blocks[layer]
    match site:
        case Site.EMBED | Site.POS_EMBED | Site.ATTN_BIAS | Site.MLP_BIAS | Site.LN_FINAL_BIAS:
            return torch.zeros_like(x)  # read from the weights
        case Site.RESID_PRE | Site.RESID_MID | Site.RESID_POST:
            return UNIT * x.abs()
        case Site.LN1_SCALE | Site.LN2_SCALE | Site.LN_FINAL_SCALE:
            return gamma(2 * c.d_model + 8) * x
        case Site.LN1_NORMALIZED:
            return _normalizing(seen[Site.RESID_PRE, layer], seen[Site.LN1_SCALE, layer])
        case Site.LN2_NORMALIZED:
            return _normalizing(seen[Site.RESID_MID, layer], seen[Site.LN2_SCALE, layer])
        case Site.LN_FINAL_NORMALIZED:
            last = seen[Site.RESID_POST, c.n_layer - 1]
            return _normalizing(last, seen[Site.LN_FINAL_SCALE, 0])
        case Site.Q | Site.K | Site.V:
            flat = _reading(seen[Site.LN1_NORMALIZED, layer], block.ln_1, block.attn.c_attn)
            part = flat.chunk(3, -1)[(Site.Q, Site.K, Site.V).index(site)]
            return part.view(*part.shape[:2], c.n_head, c.d_head).transpose(1, 2)
        case Site.SCORES:
            q, k = seen[Site.Q, layer].abs(), seen[Site.K, layer].abs()
            return gamma(c.d_head + 2) * q @ k.transpose(-1, -2) / math.sqrt(c.d_head)
        case Site.PATTERN:
            scores = seen[Site.SCORES, layer].tril().abs().amax(-1, keepdim=True)
            return x.abs() * (4 * UNIT * scores + gamma(x.shape[-1] + 12))
        case Site.Z:
            return gamma(x.shape[-2] + 1) * seen[Site.PATTERN, layer].abs() @ seen[Site.V, layer].abs()
        case Site.ATTN_OUT:
            heads = seen[Site.Z, layer].abs().transpose(1, 2).flatten(2)
            return gamma(c.d_model + 3) * (
                heads @ block.attn.c_proj.weight.abs() + block.attn.c_proj.bias.abs()
            )
        case Site.MLP_PRE:
            return _reading(seen[Site.LN2_NORMALIZED, layer], block.ln_2, block.mlp.c_fc)
        case Site.MLP_POST:
            return 16 * UNIT * seen[Site.MLP_PRE, layer].abs()
        case Site.MLP_OUT:
            post, out = seen[Site.MLP_POST, layer].abs(), block.mlp.c_proj
            return gamma(c.d_mlp + 3) * (post @ out.weight.abs() + seen[Site.MLP_BIAS, layer].abs())
        case Site.LN_FINAL:
            weighted = seen[Site.LN_FINAL_NORMALIZED, 0] * model.ln_f.weight
            return gamma(3) * (weighted.abs() + seen[Site.LN_FINAL_BIAS, 0].abs())
        case _:
            raise ValueError(f"no rounding bound for {site}")


def _normalizing(x: Tensor, scale: Tensor) -> Tensor:
    """(x - mean) / scale."""
    mean = x.abs().mean(-1, keepdim=True)
    return (gamma(x.shape[-1] + 4) * mean + gamma(4) * x.abs()) / scale


def _reading(normalized: Tensor, norm: LayerNorm, into: Projection) -> Tensor:
    """Layer norm's weight and bias, then a projection."""
    seen = normalized.abs() * norm.weight.abs() + norm.bias.abs()
    return gamma(seen.shape[-1] + 6) * (seen @ into.weight.abs() + into.bias.abs())


def balance_bound(model: GPT2, trace: Trace, metric: Metric) -> float:
    """The most by which rows of a float32 trace can miss the metric: gamma_n times all terms counted positive.

    n adds up the longest chain: a write's inner product, its projection, the residual's additions, the norm.
    """
    c, pos = model.config, metric.pos
    writes = trace[Site.RESID_PRE, 0][pos].double().abs()
    for layer, block in enumerate(model.blocks):
        at = {site: x.double().abs() for (site, where), x in trace.acts.items() if where == layer}
        heads = (at[Site.PATTERN] @ at[Site.V])[:, pos] + at[Site.Z][:, pos]
        writes = writes + heads.flatten() @ block.attn.c_proj.weight.double().abs()
        writes = writes + at[Site.MLP_POST][pos] @ block.mlp.c_proj.weight.double().abs()
        for site in (Site.ATTN_BIAS, Site.ATTN_OUT, Site.MLP_BIAS, Site.MLP_OUT):
            writes = writes + at[site][pos]
    direction = absolute_direction(model, metric).double()
    weighted = direction * model.ln_f.weight.double().abs()
    gradient = (weighted + weighted.mean()) / trace[Site.LN_FINAL_SCALE, 0][pos].double()
    bias = trace[Site.LN_FINAL_BIAS, 0][pos].double().abs()
    chain = c.d_mlp + len(trace.tokens) + 3 * c.d_model + 2 * c.n_layer + 24
    return gamma(chain) * float(writes @ gradient + bias @ direction)
