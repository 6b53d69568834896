"""Rows of parts whose whole write is at hand: embeddings, attention and MLP outputs, and every bias."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.components import Component, Kind
from model.effects.cut_edges import corrected
from model.effects.gradients import Gradients, is_upstream
from model.effects.sublayers import added_by_edits, overwritten, stream_edits
from model.gpt2 import GPT2, wide
from model.lines import norm_before, written_on
from model.nodes import Floats, NodeTable, joined
from model.sites import Site
from model.trace import Trace


@torch.no_grad()
def embed_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a token: token and position embedding together."""
    return vectors(Kind.EMBED, 0, wide(trace[Site.RESID_PRE, 0]), by.embed, by)


@torch.no_grad()
def attn_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a layer and token: all heads together, without the bias (with it where the output was edited)."""
    return joined([sublayer(Kind.ATTN, trace, layer, by) for layer in range(model.config.n_layer)])


@torch.no_grad()
def mlp_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a layer and token: all neurons together, without the bias (with it where the output was edited)."""
    return joined([sublayer(Kind.MLP, trace, layer, by) for layer in range(model.config.n_layer)])


@torch.no_grad()
def bias_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """Every bias: attention's and MLP's of each layer at each token, and the final layer norm's.

    And what edits of the residual stream have added to it, as rows of their own: no part has written that.
    """
    tables: list[NodeTable] = []
    for layer in range(model.config.n_layer):
        for kind, part, site, gradient in (
            (Kind.ATTN_BIAS, Kind.ATTN, Site.ATTN_BIAS, by.mid[layer]),
            (Kind.MLP_BIAS, Kind.MLP, Site.MLP_BIAS, by.post[layer]),
        ):
            live = ~overwritten(trace, part, layer)
            tables.append(vectors(kind, layer, wide(trace[site, layer]) * live[:, None], gradient, by))
    return joined([*tables, *edit_tables(trace, by), *_reading_biases(model, trace, by)])


def edit_tables(trace: Trace, by: Gradients) -> list[NodeTable]:
    """Edits of the residual stream, at the tokens that they touch.

    And what edges into those who read for the target add, at the place where they read.
    """
    tables: list[NodeTable] = []
    places, end = stream_edits(trace), place_read(by)
    for part in places if not by.own or end in places else [*places, end]:
        line, kind, length = written_on(part), part.kind, len(by.direct)
        after = by.mid[part.layer] if kind is Kind.RESID_MID else by.post[(line - 1) // 2]
        added = added_by_edits(trace, part) if part in places else torch.zeros_like(by.direct)
        found = vectors(kind, part.layer, added, by.edited.get(line, after), by)
        touched = set(overwritten(trace, kind, part.layer).nonzero().flatten().tolist())
        if part == end:
            found = _with_edges(found, added, by)
            touched |= set(by.scored) if by.own else set[int]()
        tables.append(found.at([pos for pos in range(length) if pos in touched]))
    return tables


def place_read(by: Gradients) -> Component:
    """The place of the residual stream that the target reads."""
    line, last = by.target.line, len(by.post)
    if line > 2 * last:
        return Component(Kind.RESID_POST, last - 1)
    return Component(Kind.RESID_PRE if line % 2 else Kind.RESID_MID, (line - 1) // 2)


def _with_edges(table: NodeTable, added: Tensor, by: Gradients) -> NodeTable:
    """With what edges add for those who read: that a tail's write is missing there, its own row says."""
    direct, total = table.direct.copy(), table.total.copy()
    for own in by.own:
        direct += _summed(own.added * own.direct)
        total += _summed(own.added * own.final)
    for each in by.missing:
        direct -= _summed(each.in_the_books * each.direct)
        total -= _summed(each.in_the_books * each.final)
    read = (own.added * own.direct.any(-1, keepdim=True) for own in by.own)
    written = sum(read, added)
    return replace(table, direct=direct, total=total, write_norm=written.norm(dim=-1).double().cpu().numpy())


def _summed(x: Tensor) -> Floats:
    return x.sum(-1).double().cpu().numpy()


def _reading_biases(model: GPT2, trace: Trace, by: Gradients) -> list[NodeTable]:
    """The biases that the target meets as it reads: its layer norm's (BU, the final one) and its own constant (BT)."""
    final = by.target.line == 2 * model.config.n_layer + 1
    tables: list[NodeTable] = []
    for read in () if by.target.raw else by.target.reads:
        bias = wide(
            trace[Site.LN_FINAL_BIAS, 0][read.pos] if final else norm_before(model, by.target.line).bias
        )
        effect = (bias @ read.normed).view(1, 1)
        kind = Kind.FINAL_BIAS if final else Kind.TARGET_BIAS
        one, norm = torch.ones_like(effect), bias.norm().view(1, 1)
        tables.append(NodeTable.grid(kind, 0, one, norm, effect, effect, positions=[read.pos]))
    if by.target.constant:
        effect = by.direct.new_tensor([[by.target.constant]])
        one, none = torch.ones_like(effect), torch.zeros_like(effect)
        tables.append(
            NodeTable.grid(Kind.TARGET_BIAS, 0, one, none, effect, effect, positions=[by.target.reads[0].pos])
        )
    return tables


def sublayer(kind: Kind, trace: Trace, layer: int, by: Gradients) -> NodeTable:
    out, bias, gradient = (
        (Site.ATTN_OUT, Site.ATTN_BIAS, by.mid)
        if kind is Kind.ATTN
        else (Site.MLP_OUT, Site.MLP_BIAS, by.post)
    )
    live = ~overwritten(trace, kind, layer)
    write = wide(trace[out, layer]) - wide(trace[bias, layer]) * live[:, None]
    return vectors(kind, layer, write, gradient[layer], by)


def replaced(kind: Kind, trace: Trace, layer: int, by: Gradients) -> list[NodeTable]:
    """The rows of an edited sub-layer output, which its parts no longer explain."""
    gone = overwritten(trace, kind, layer).nonzero().flatten().tolist()
    return [sublayer(kind, trace, layer, by).at(gone)] if gone else []


def vectors(
    kind: Kind,
    layer: int,
    write: Tensor,
    gradient: Tensor,
    by: Gradients,
    positions: Sequence[int] | None = None,
    index: int | None = None,
) -> NodeTable:
    """Rows for one component whose write vector is at hand: write [pos, d_model], gradient [pos, d_model]."""
    chosen = list(range(len(write))) if positions is None else list(positions)
    upstream = is_upstream(by, kind, layer)
    direct = (write * by.direct[chosen]).sum(-1) if upstream else write.new_zeros(len(write))
    more, further = corrected(by.missing, Component(kind, layer, index), write, chosen)
    return NodeTable.grid(
        kind,
        layer,
        act=torch.ones(1, len(write), device=write.device),
        write_norm=write.norm(dim=-1)[None],
        direct=(direct + more)[None],
        total=((write * gradient).sum(-1) + further)[None],
        positions=chosen,
        index=index,
    )
