"""A head's attention as more than weights: how much it carries from each key, and what that does to a target."""

import torch
from torch import Tensor

from model.components import Component, Kind
from model.effects.gradients import Gradients
from model.effects.sublayers import head_matrix, live_heads, overwritten
from model.gpt2 import GPT2, wide
from model.sites import Site
from model.trace import Trace


@torch.no_grad()
def written_norms(model: GPT2, trace: Trace, head: Component) -> Tensor:
    """The size of what a head writes from each key: its weight times the norm of that key's value through W_O.

    [query, key], in units of the residual stream (Kobayashi et al. 2020, "Attention is not only a weight").
    """
    layer, at = head.layer, head.index or 0
    written = wide(trace[Site.V, layer])[at] @ head_matrix(model, layer)[at]  # [key, d_model]
    return wide(trace[Site.PATTERN, layer])[at].abs() * written.norm(dim=-1)


@torch.no_grad()
def pair_effects(model: GPT2, trace: Trace, by: Gradients, head: Component) -> Tensor:
    """What a head brings from each key times its gradient, in the target's unit: [query, key].

    The total effects that `pair_table` gives for this head; 0 for queries whose output an edit has replaced.
    """
    layer, at = head.layer, head.index or 0
    wanted = by.mid[layer] @ head_matrix(model, layer)[at].T  # [query, d_head]
    effects = wide(trace[Site.PATTERN, layer])[at] * (wanted @ wide(trace[Site.V, layer])[at].T)
    live = live_heads(trace, layer, model.config.n_head)[at] & ~overwritten(trace, Kind.ATTN, layer)
    return effects * live[:, None]
