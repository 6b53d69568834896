"""Effects summed token by token: embeddings, MLPs, attention by the token that reads and by the one that is read.

The token-effect strips of the Transformer Debugger (Mossing et al. 2024).  Attention by query adds up the heads' rows.
Attention by key adds up their pairs, one layer after the other and without a row for any of them; the value's bias is
in every pair, and an edited head has no pairs, so both are named.
"""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.components import RESIDUAL, Component, Kind
from model.effects.attribution import head_matrices, is_upstream, live_heads, overwritten
from model.gpt2 import wide
from model.nodes import KINDS, NodeTable
from model.sites import Site
from tdb_tui.asked import Asked

Floats = NDArray[np.float64]
By = Literal["total", "direct"]

NAMES = ("embed", "mlp", "query", "key")
"The strips, in the order in which they are shown."
EDITS = "edits"
"The strip of what edits of the residual stream have added, shown where there are any."


@dataclass(frozen=True, slots=True, eq=False)
class Strips:
    """Sums over all layers and nodes of a kind, in the unit of what is asked about: [pos] each."""

    embed: Floats
    mlp: Floats
    query: Floats
    "Attention, at the token that reads."
    key: Floats
    "Attention, at the token that is read."
    unpaired: Floats
    "Of `query`: edited heads and attention outputs, which are no sum over keys; `key` has all but these."
    value_bias: Floats
    "Of `key`: what the values' biases write, which is the same whatever token is read."
    biases: Floats
    "Attention's and MLPs' output biases, the final layer norm's, the target's own."
    edits: Floats
    "What edits of the residual stream have added to it: steering, patches, edges into the unembedding."

    @property
    def names(self) -> tuple[str, ...]:
        """The strips that have something to show."""
        return (*NAMES, EDITS) if self.edits.any() else NAMES

    @property
    def sum(self) -> float:
        """Every node once and every bias: by `direct`, what is asked about."""
        return float((self.embed + self.mlp + self.query + self.biases + self.edits).sum())


def strips(asked: Asked, by: By = "total") -> Strips:
    """The strips of what is asked about, by direct or by estimated total effect."""
    length = len(asked.run.trace.tokens)

    def at_tokens(table: NodeTable) -> Floats:
        out = np.zeros(length)
        np.add.at(out, table.pos, getattr(table, by))
        return out

    heads, biases = asked.table("head"), asked.table("bias")
    edited = np.isin(biases.kind, [KINDS.index(kind) for kind in RESIDUAL])
    key, value_bias = _by_key(asked, by)
    return Strips(
        embed=at_tokens(asked.table("embed")),
        mlp=at_tokens(asked.table("mlp")),
        query=at_tokens(heads),
        key=key,
        unpaired=at_tokens(heads.take(_unpaired(asked, heads))),
        value_bias=value_bias,
        biases=at_tokens(biases.take(~edited)),
        edits=at_tokens(biases.take(edited)),
    )


def less(left: Strips, right: Strips, partner: NDArray[np.int64]) -> Strips:
    """Left minus right at each left token, then minus right at each right token that is nobody's partner.

    `partner` is each left token's right one, -1 where it has none: [left pos].
    """
    alone = np.setdiff1d(np.arange(len(right.embed)), partner)
    both = partner >= 0

    def difference(a: Floats, b: Floats) -> Floats:
        out = a.copy()
        out[both] -= b[partner[both]]
        return np.concatenate([out, -b[alone]])

    return Strips(*(difference(getattr(left, f.name), getattr(right, f.name)) for f in fields(Strips)))


def _paired(asked: Asked, layer: int) -> Tensor:
    """Where a head's output is its attention times its values, no edit having replaced it: bool [head, query]."""
    model, trace = asked.run.model, asked.run.trace
    return live_heads(trace, layer, model.config.n_head) & ~overwritten(trace, Kind.ATTN, layer)


def _unpaired(asked: Asked, heads: NodeTable) -> NDArray[np.bool_]:
    """Rows of the heads' table that no pairs explain: edited heads, and attention outputs edited as a whole."""
    layers = range(asked.run.model.config.n_layer)
    paired = torch.stack([_paired(asked, layer) for layer in layers]).cpu().numpy()  # [layer, head, query]
    whole = heads.index < 0
    return whole | ~paired[heads.layer, np.maximum(heads.index, 0), heads.pos]


@torch.no_grad()
def _by_key(asked: Asked, by: By) -> tuple[Floats, Floats]:
    """Pairs' effects added up over layers, heads and queries, and of that the values' biases: [key], [key].

    Sum over q of A_qk (v_k W_O . g_q) = v_k . (sum over q of A_qk g_q W_O^T), so the largest tensor is the pattern.
    """
    model, trace, gradients = asked.run.model, asked.run.trace, asked.gradients
    config = model.config
    key = gradients.direct.new_zeros(len(trace.tokens))
    bias = torch.zeros_like(key)
    for layer, w_o in enumerate(head_matrices(model)):
        if not is_upstream(gradients, Kind.HEAD, layer):
            continue
        gradient = gradients.mid[layer] if by == "total" else gradients.direct  # [query, d_model]
        pattern = wide(trace[Site.PATTERN, layer]) * _paired(asked, layer)[..., None]  # [head, query, key]
        wanted = pattern.mT @ (gradient @ w_o.mT)  # [head, key, d_head]
        b_v = wide(model.blocks[layer].attn.c_attn.bias)[2 * config.d_model :].view(-1, 1, config.d_head)
        key += (wanted * wide(trace[Site.V, layer])).sum((0, 2))
        for gap in gradients.missing:
            pull = gap.total if by == "total" else gap.direct
            for head in range(len(w_o)):
                part = Component(Kind.HEAD, layer, head)
                if gap.within(part):
                    less = (pattern[head].mT @ (pull @ w_o[head].T)) * wide(trace[Site.V, layer][head])
                    key += gap.lost * less.sum(-1)
                elif gap.around(part) and gap.tail[1] is not None:
                    key[gap.tail[1]] += (gap.added * pull).sum()
        bias += (wanted * b_v).sum((0, 2))
    return key.double().cpu().numpy(), bias.double().cpu().numpy()
