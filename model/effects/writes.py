"""One node at a time: the vector it adds to the residual stream, and that vector's effects."""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Kind, Node
from model.dictionaries import place_of
from model.edits.interventions import where
from model.effects.attribution import Gradients, overwritten
from model.effects.cut_edges import corrected
from model.effects.latents import after
from model.effects.sublayers import added_by_edits, stream_edits
from model.effects.vector_tables import edit_tables
from model.gpt2 import GPT2, wide
from model.latents import latent_value, part_write
from model.lines import written_on
from model.sites import Site
from model.trace import Trace


@dataclass(frozen=True, slots=True)
class Effects:
    """The measures of one node, as in a row of the node table."""

    act: float
    write_norm: float
    direct: float
    total: float


@torch.no_grad()
def write_of(model: GPT2, trace: Trace, node: Node) -> Tensor:
    """What a node adds to the residual stream (a final bias: to the final norm's output): [d_model].

    A place of the stream adds what edits of it do.  Raises ValueError for parts that put nothing out.
    """
    part, pos = node.component, node.pos
    if part.kind in DICTIONARY:
        return part_write(model, trace, part, pos)
    where(part)  # refuses parts that put nothing out
    if part.kind in RESIDUAL and part in stream_edits(trace):
        return added_by_edits(trace, part)[pos] * overwritten(trace, part.kind, part.layer)[pos]
    if not part.kind.writes:
        what = (
            "has no edit that adds to it" if part.kind in RESIDUAL else "puts nothing into the stream itself"
        )
        raise ValueError(f"{part} {what}: name a part that writes, as in L1H2 or M1")
    match part.kind:
        case Kind.HEAD if part.index is not None:
            d_head = model.config.d_head
            rows = slice(part.index * d_head, (part.index + 1) * d_head)
            w_o = wide(model.blocks[part.layer].attn.c_proj.weight[rows])
            if node.key is None:
                return wide(trace[Site.Z, part.layer][part.index, pos]) @ w_o
            weight = trace[Site.PATTERN, part.layer][part.index, pos, node.key]
            return wide(weight * trace[Site.V, part.layer][part.index, node.key]) @ w_o
        case Kind.NEURON if part.index is not None:
            row = wide(model.blocks[part.layer].mlp.c_proj.weight[part.index])
            return wide(trace[Site.MLP_POST, part.layer][pos, part.index]) * row
        case Kind.ATTN | Kind.MLP if not bool(overwritten(trace, part.kind, part.layer)[pos]):
            bias = Site.ATTN_BIAS if part.kind is Kind.ATTN else Site.MLP_BIAS
            return wide(trace[where(part)][pos]) - wide(trace[bias, part.layer][pos])
        case _:
            return wide(trace[where(part)][pos])


@torch.no_grad()
def effects_of(model: GPT2, trace: Trace, by: Gradients, node: Node) -> Effects:
    """Activation, write norm, direct and estimated total effect of one node, in the metric's unit."""
    part, pos = node.component, node.pos
    if part.kind in RESIDUAL:
        return _of_an_edit(trace, by, node)
    write = write_of(model, trace, node)
    act = 1.0
    if part.kind is Kind.NEURON:
        act = float(trace[Site.MLP_POST, part.layer][pos, part.index])
    elif part.kind is Kind.LATENT:
        act = latent_value(trace, part, pos)
    elif node.key is not None:
        act = float(trace[Site.PATTERN, part.layer][part.index, pos, node.key])
    if not reaches(trace, node):
        return Effects(act, float(write.norm()), 0.0, 0.0)
    if part.kind is Kind.FINAL_BIAS:
        final = by.target.line == 2 * model.config.n_layer + 1
        effect = sum(float(write @ read.normed) for read in by.target.reads if final and read.pos == pos)
        return Effects(act, float(write.norm()), effect, effect)
    direct = float(write @ by.direct[pos]) if written_on(part) < by.target.line else 0.0
    total = float(write @ _after(by, node))
    (more,), (further,) = corrected(by.missing, part, write[None], [pos], node.key)
    return Effects(act, float(write.norm()), direct + float(more), total + float(further))


def _of_an_edit(trace: Trace, by: Gradients, node: Node) -> Effects:
    """What edits add at a place of the stream, or edges to what the target reads there.  Raises ValueError."""
    for table in edit_tables(trace, by):
        for row in range(len(table)):
            if table.node(row) == node:
                columns = table.act, table.write_norm, table.direct, table.total
                return Effects(*(float(column[row]) for column in columns))
    if node.component in stream_edits(trace):
        return Effects(1.0, 0.0, 0.0, 0.0)  # at other tokens
    raise ValueError(
        f"{node.component} has no edit that adds to it: name a part that writes, as in L1H2 or M1"
    )


def _after(by: Gradients, node: Node) -> Tensor:
    """The gradient by the residual right after the node's own sub-layer: [d_model]."""
    part = node.component
    match part.kind:
        case kind if kind in DICTIONARY:
            return after(by, place_of(part))[node.pos]
        case Kind.EMBED | Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return by.embed[node.pos]
        case Kind.HEAD | Kind.ATTN | Kind.ATTN_BIAS:
            return by.mid[part.layer][node.pos]
        case _:
            return by.post[part.layer][node.pos]


def reaches(trace: Trace, node: Node) -> bool:
    """Whether the node's write is still in the stream: an edit of its whole sub-layer replaces it."""
    part = node.component
    whole = {
        Kind.HEAD: Kind.ATTN,
        Kind.ATTN_BIAS: Kind.ATTN,
        Kind.NEURON: Kind.MLP,
        Kind.MLP_BIAS: Kind.MLP,
    }.get(part.kind)
    if part.kind in DICTIONARY:
        whole = {"p": Kind.MLP, "z": Kind.ATTN}.get(part.site)
    if whole is not None:
        return not bool(overwritten(trace, whole, part.layer)[node.pos])
    return True
