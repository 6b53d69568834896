"""The embedding's two parts as nodes of their own: a token's row of W_E, a position's row of W_P.

Their writes, and so their effects, add up to those of the embedding.
"""

import torch
from torch import Tensor

from model.components import Component, Kind
from model.effects.attribution import Gradients, embed_table, overwritten
from model.effects.cut_edges import corrected
from model.gpt2 import GPT2, wide
from model.nodes import NodeTable, joined
from model.sites import Site
from model.trace import Trace


@torch.no_grad()
def token_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a token embedding; where the whole embedding was edited, one row for that as well."""
    gone = overwritten(trace, Kind.EMBED, 0).nonzero().flatten().tolist()
    table = _table(Kind.TOKEN_EMBED, trace, wide(trace[Site.EMBED, 0]), by)
    return joined([table, embed_table(model, trace, by).at(gone)]) if gone else table


@torch.no_grad()
def position_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a position embedding; 0 where the whole embedding was edited, which `token_table` has a row for."""
    return _table(Kind.POS_EMBED, trace, wide(trace[Site.POS_EMBED, 0]), by)


def _table(kind: Kind, trace: Trace, write: Tensor, by: Gradients) -> NodeTable:
    live = ~overwritten(trace, Kind.EMBED, 0)
    write = write * live[:, None]
    direct, total = ((write * gradient).sum(-1) for gradient in (by.direct, by.embed))
    more, further = corrected(by.missing, Component(kind), write, range(len(write)))
    norm = write.norm(dim=-1)[None]
    return NodeTable.grid(kind, 0, live[None], norm, (direct + more)[None], (total + further)[None])
