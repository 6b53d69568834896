"""What stands between a sub-layer's parts and the residual stream: W_O by head, and the edits on the way."""

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind
from model.edits.interventions import SINGLE, Change, place_of_stream
from model.gpt2 import GPT2, wide
from model.sites import Site
from model.trace import Trace

STREAM = {
    Kind.RESID_PRE: Site.RESID_PRE,
    Kind.RESID_MID: Site.RESID_MID,
    Kind.RESID_POST: Site.RESID_POST,
}


def head_matrices(model: GPT2) -> list[Tensor]:
    """W_O of each layer, split by head: [head, d_head, d_model]."""
    return [head_matrix(model, layer) for layer in range(model.config.n_layer)]


def head_matrix(model: GPT2, layer: int) -> Tensor:
    """W_O of one layer, split by head: [head, d_head, d_model]."""
    weight = model.blocks[layer].attn.c_proj.weight
    return wide(weight).view(model.config.n_head, model.config.d_head, -1)


def overwritten(trace: Trace, kind: Kind, layer: int) -> Tensor:
    """At which tokens an edit replaced the whole output of an attention or MLP sub-layer: bool [pos]."""
    mask = torch.zeros(len(trace.tokens), dtype=torch.bool, device=trace[Site.RESID_MID, layer].device)
    for change in trace.changes:
        part = edited_part(trace, change)
        if part.kind is kind and part.layer == layer:
            mask[slice(None) if change.span is None else change.span.slice] = True
    return mask


def edited_part(trace: Trace, change: Change) -> Component:
    """What a change edits; of edges and paths into the unembedding, the stream that leaves the last layer.

    An edit of a dictionary's part edits what that takes apart.
    """
    if isinstance(change, SINGLE) or not change.ends:
        return taken_apart(change.component)
    return Component(Kind.RESID_POST, max(layer for _, layer in trace.acts))


def taken_apart(part: Component) -> Component:
    """What a dictionary's part is a part of: a whole sub-layer's output, all neurons, the stream; others themselves."""
    if part.kind not in DICTIONARY:
        return part
    kinds = {"m": Kind.MLP, "p": Kind.NEURON, "a": Kind.ATTN, "z": Kind.HEAD}
    kind = place_of_stream(part) or kinds[part.site]
    return Component(kind, part.layer)


def live_heads(trace: Trace, layer: int, n_head: int) -> Tensor:
    """Where a head's output is still pattern x values, no edit having replaced it: bool [head, pos]."""
    live = torch.ones(n_head, len(trace.tokens), dtype=torch.bool, device=trace[Site.Z, layer].device)
    for change in trace.changes:
        part = edited_part(trace, change)
        if part.kind is Kind.HEAD and part.layer == layer and change.key is None:
            heads = slice(None) if part.index is None else part.index
            live[heads, slice(None) if change.span is None else change.span.slice] = False
    return live


def stream_edits(trace: Trace) -> list[Component]:
    """The places of the residual stream that have been edited, in the order of the pass; the embedding's is its own."""
    places = {edited_part(trace, change) for change in trace.changes}
    places = {part for part in places if part.kind in RESIDUAL}
    places.discard(Component(Kind.RESID_PRE, 0))
    return sorted(places, key=lambda part: (part.line or 0, part.kind is Kind.RESID_PRE))


def added_by_edits(trace: Trace, part: Component) -> Tensor:
    """What edits of one place of the residual stream have added to what was there: [pos, d_model].

    Earlier writes count as they were written, so that all writes and these add up to the stream.
    """
    layer, here = part.layer, wide(trace[STREAM[part.kind], part.layer])
    match part.kind:
        case Kind.RESID_PRE if layer == 0:
            return torch.zeros_like(here)
        case Kind.RESID_PRE:
            return here - wide(trace[Site.RESID_POST, layer - 1])
        case Kind.RESID_MID:
            return here - wide(trace[Site.RESID_PRE, layer] + trace[Site.ATTN_OUT, layer])
        case _:
            return here - wide(trace[Site.RESID_MID, layer] + trace[Site.MLP_OUT, layer])
