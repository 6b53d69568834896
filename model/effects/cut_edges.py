"""Edited edges in the effects of nodes: what an edge no longer carries, its tail has no part in.

A tail's write goes into the residual stream, where a gradient finds all that reads it.  An edge that carries something
else adds `what it carries - the write` for its head, so of the write itself nothing arrives there (of a scaled one, the
factor).  That is taken away again here: from the tail, from what is part of it, and from the whole that it is part of.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.edge_tables import Tail, contains, left_by
from model.edits.edges import NODE_CHANGES
from model.edits.interventions import where
from model.edits.links import WHOLES
from model.edits.wiring import Wiring
from model.effects.sublayers import overwritten
from model.gpt2 import GPT2, wide
from model.sites import Site
from model.trace import Trace

NODES = (Kind.EMBED, Kind.HEAD, Kind.ATTN, Kind.MLP, Kind.ATTN_BIAS, Kind.MLP_BIAS)
"Parts that have a row in the books; others are counted in their wholes'."
BIASES = (Kind.ATTN_BIAS, Kind.MLP_BIAS)


@dataclass(frozen=True, slots=True, eq=False)
class Missing:
    """What does not arrive of one tail's write, by its gradient at all heads of its edges together."""

    tail: Tail
    lost: float
    "How much of it less arrives, as a factor: -1 where it is replaced."
    write: Tensor
    "The tail's own: [pos, d_model]."
    added: Tensor
    "What its edges add in the place of it; an edit of a whole that it is part of edits this too: [pos, d_model]."
    total: Tensor
    "Gradient by that: [pos, d_model]."
    direct: Tensor
    "The same for the target's own reading."
    final: Tensor
    "As `total`, for edges into what reads for the target alone."
    gone: Tensor
    "Where an edit has replaced the whole that it is a part of, which then has the row: bool [pos, 1]."

    def within(self, part: Component, key: int | None = None) -> bool:
        """Whether a part belongs to the tail."""
        return contains(self.tail, (part, key))

    def around(self, part: Component, key: int | None = None) -> bool:
        """Whether the tail is less than a part that it belongs to."""
        return contains((part, key), self.tail) and not self.within(part, key)

    @property
    def of_the_whole(self) -> Tensor:
        """What the row of a part that it belongs to has more of: a bias has its own row. [pos, d_model]"""
        return self.added * self.gone if self.tail[0].kind in BIASES else self.added

    @property
    def in_the_books(self) -> Tensor:
        """What rows of whole nodes have less of, as a vector: [pos, d_model]."""
        (part, key) = self.tail
        if part.kind not in NODES or key is not None:
            return self.added
        return torch.where(self.gone, self.added, self.lost * self.write)


def missing(
    model: GPT2,
    trace: Trace,
    wiring: Wiring,
    pulled: Mapping[NODE_CHANGES, Tensor],
    direct: Mapping[NODE_CHANGES, Tensor],
    final: Mapping[NODE_CHANGES, Tensor],
) -> tuple[Missing, ...]:
    """From gradients by what edges add, [pos, d_model] each; tails that nothing is missing of are left out.

    Of what the last layer's MLP writes only the unembedding reads: `pulled` does not know of it.
    """
    found: list[Missing] = []
    for change in dict.fromkeys((*pulled, *final)):
        gradient = pulled[change] if change in pulled else final[change]
        if bool(gradient.any()):
            none = torch.zeros_like(gradient)
            pulls = gradient, direct.get(change, none), final.get(change, none)
            found.append(missing_of(model, trace, wiring, change, *pulls))
    return tuple(found)


def missing_of(
    model: GPT2,
    trace: Trace,
    wiring: Wiring,
    change: NODE_CHANGES,
    total: Tensor,
    direct: Tensor,
    final: Tensor,
) -> Missing:
    """What is missing of one tail, by these gradients: [pos, d_model] each."""
    tail, lost, added = (change.component, change.key), left_by(change) - 1, wiring.delta(change)[0].detach()
    write, gone = whole_write(model, trace, change), _gone(trace, change)
    return Missing(tail, lost, write, wide(added), total, direct, final, gone)


def _gone(trace: Trace, change: NODE_CHANGES) -> Tensor:
    """Where an edit has replaced the whole that a tail is a part of: bool [pos, 1]."""
    part = change.component
    if part.kind not in WHOLES:
        return torch.zeros(len(trace.tokens), 1, dtype=torch.bool, device=trace[Site.RESID_PRE, 0].device)
    return overwritten(trace, WHOLES[part.kind], part.layer)[:, None]


def whole_write(model: GPT2, trace: Trace, change: NODE_CHANGES) -> Tensor:
    """What a tail writes, at every token: [pos, d_model]."""
    part, layer = change.component, change.component.layer
    if part.kind is Kind.NEURON and part.index is not None:
        row = wide(model.blocks[layer].mlp.c_proj.weight[part.index])
        return wide(trace[Site.MLP_POST, layer])[:, part.index, None] * row
    if part.kind is not Kind.HEAD or part.index is None:
        return wide(trace[where(part)])
    width = model.config.d_head
    w_o = wide(model.blocks[layer].attn.c_proj.weight[part.index * width : (part.index + 1) * width])
    if change.key is None:
        return wide(trace[Site.Z, layer][part.index]) @ w_o
    weights = wide(trace[Site.PATTERN, layer][part.index, :, change.key])
    return weights[:, None] * (wide(trace[Site.V, layer][part.index, change.key]) @ w_o)


def corrected(
    gaps: Iterable[Missing], part: Component, write: Tensor, positions: Sequence[int], key: int | None = None
) -> tuple[Tensor, Tensor]:
    """What to add to a part's direct and total effects: write [pos, d_model] at `positions` -> two [pos]."""
    direct, total = torch.zeros_like(write[:, 0]), torch.zeros_like(write[:, 0])
    at = list(positions)
    for gap in gaps:
        if gap.within(part, key):
            less = gap.lost * write
        elif gap.around(part, key):
            less = gap.of_the_whole[at]
        else:
            continue
        direct, total = direct + (less * gap.direct[at]).sum(-1), total + (less * gap.total[at]).sum(-1)
    return direct, total
