"""What each node does to a target, by default the metric: activation, write norm, direct and estimated total effect.

Both effects are the node's write times a gradient (Mossing et al. 2024, Transformer Debugger):

    direct  w . dS/d(the residual that the target reads), its layer norm's scale held at its value
    total   w . dS/d(residual right after the node's own sub-layer) = activation x gradient, same freeze

so one forward and one backward pass give them for every node, and no [query, key, head, d_model] tensor is
ever built: directions meet `W_O` and `W_out` first.  Writes exclude biases, which have rows of their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.components import Component, Kind
from model.effects.backward import Treatment
from model.effects.cut_edges import corrected
from model.effects.gradients import Gradients, gradients, is_upstream
from model.effects.sublayers import head_matrices, head_matrix, live_heads, overwritten
from model.effects.vector_tables import attn_table, bias_table, embed_table, mlp_table, replaced, vectors
from model.gpt2 import GPT2, wide
from model.nodes import NodeTable, joined
from model.sites import Site
from model.trace import Trace

__all__ = [
    "Gradients",
    "Treatment",
    "attn_table",
    "bias_table",
    "embed_table",
    "gradients",
    "head_matrices",
    "head_matrix",
    "head_table",
    "is_upstream",
    "live_heads",
    "mlp_table",
    "neuron_table",
    "overwritten",
    "pair_table",
]


@torch.no_grad()
def head_table(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """One row a head and query token; where the whole attention output was edited, one row for that instead."""
    tables: list[NodeTable] = []
    for layer, w_o in enumerate(head_matrices(model)):
        z = wide(trace[Site.Z, layer])  # [head, pos, d_head]
        live = ~overwritten(trace, Kind.ATTN, layer)  # [pos]
        total = _heads(z, w_o, by.mid[layer])  # [head, pos]
        direct = torch.zeros_like(total)
        if is_upstream(by, Kind.ATTN, layer):
            direct[:, by.scored] = _heads(z[:, by.scored], w_o, by.direct[by.scored])
        every = range(z.shape[1])
        for head in _tails_within(by, Kind.ATTN, layer, len(w_o)):
            more = corrected(by.missing, Component(Kind.HEAD, layer, head), z[head] @ w_o[head], every)
            direct[head], total[head] = direct[head] + more[0], total[head] + more[1]
        tables.append(
            NodeTable.grid(
                Kind.HEAD,
                layer,
                act=live.expand(total.shape),
                write_norm=(z @ w_o).norm(dim=-1) * live,
                direct=direct * live,
                total=total * live,
            )
        )
        tables += replaced(Kind.ATTN, trace, layer, by)
    return joined(tables)


@torch.no_grad()
def pair_table(model: GPT2, trace: Trace, by: Gradients, positions: Sequence[int] | None = None) -> NodeTable:
    """One row a head, query and key <= query (`positions`: these queries only); an edited head keeps one row."""
    tables: list[NodeTable] = []
    chosen = sorted(set(range(len(trace.tokens)) if positions is None else positions))
    rows = [row for row, pos in enumerate(chosen) if pos in by.scored]
    for layer, w_o in enumerate(head_matrices(model)):
        pattern, v = wide(trace[Site.PATTERN, layer])[:, chosen], wide(trace[Site.V, layer])
        alive = live_heads(trace, layer, len(w_o)) & ~overwritten(trace, Kind.ATTN, layer)  # [head, pos]
        live = alive[:, chosen, None]
        written = (v @ w_o).norm(dim=-1)  # [head, key]
        total = _pairs(pattern, v, w_o, by.mid[layer][chosen])  # [head, query, key]
        direct = torch.zeros_like(total)
        if rows and is_upstream(by, Kind.ATTN, layer):
            read = by.direct[[chosen[row] for row in rows]]
            direct[:, rows] = _pairs(pattern[:, rows], v, w_o, read)
        for head in _tails_within(by, Kind.ATTN, layer, len(w_o)):
            one = pattern[head : head + 1], v[head : head + 1], w_o[head : head + 1]
            for gap in by.missing:
                (part, key), columns = gap.tail, slice(None)
                if part == Component(Kind.HEAD, layer, head) and key is not None:
                    columns = slice(key, key + 1)
                elif not gap.within(Component(Kind.HEAD, layer, head)):
                    continue
                for into, pull in ((direct, gap.direct), (total, gap.total)):
                    into[head, :, columns] += gap.lost * _pairs(*one, pull[chosen])[0, :, columns]
        tables.append(
            NodeTable.pairs(
                layer,
                act=pattern,
                write_norm=pattern.abs() * written[:, None] * live,
                direct=direct * live,
                total=total * live,
                queries=chosen,
            )
        )
        tables += replaced(Kind.ATTN, trace, layer, by)
        tables += _edited_heads(trace, layer, w_o, ~alive, by)
    return joined(tables) if positions is None else joined(tables).at(positions)


@torch.no_grad()
def neuron_table(
    model: GPT2, trace: Trace, by: Gradients, positions: Sequence[int] | None = None
) -> NodeTable:
    """One row a neuron and token (`positions`: these only); an edited MLP output has one row instead."""
    tables: list[NodeTable] = []
    chosen = list(range(len(trace.tokens))) if positions is None else list(positions)
    for layer, block in enumerate(model.blocks):
        w_out = wide(block.mlp.c_proj.weight)  # [d_mlp, d_model]
        post = wide(trace[Site.MLP_POST, layer])[chosen]  # [pos, d_mlp]
        live = ~overwritten(trace, Kind.MLP, layer)[chosen]
        total = post * (by.post[layer][chosen] @ w_out.T) * live[:, None]
        direct = torch.zeros_like(total)
        rows = [row for row, pos in enumerate(chosen) if pos in by.scored]
        if rows and is_upstream(by, Kind.MLP, layer):
            read = by.direct[[chosen[row] for row in rows]]
            direct[rows] = post[rows] * (read @ w_out.T) * live[rows, None]
        for gap in by.missing:
            part = gap.tail[0]
            if part == Component(Kind.MLP, layer):
                columns = slice(None)
            elif part.kind is Kind.NEURON and part.layer == layer and part.index is not None:
                columns = slice(part.index, part.index + 1)
            else:
                continue
            for into, pull in ((direct, gap.direct), (total, gap.total)):
                into[:, columns] += gap.lost * (post * (pull[chosen] @ w_out.T) * live[:, None])[:, columns]
        norm = post.abs() * w_out.norm(dim=-1) * live[:, None]
        tables.append(NodeTable.grid(Kind.NEURON, layer, post.T, norm.T, direct.T, total.T, positions=chosen))
        tables += replaced(Kind.MLP, trace, layer, by)
    return joined(tables) if positions is None else joined(tables).at(positions)


def _tails_within(by: Gradients, kind: Kind, layer: int, count: int) -> list[int]:
    """The heads of which something is missing: those that are tails, all where the whole attention is one."""
    parts = {gap.tail[0] for gap in by.missing if gap.tail[0].layer == layer}
    if Component(kind, layer) in parts:
        return list(range(count))
    return sorted(part.index for part in parts if part.kind is Kind.HEAD and part.index is not None)


def _edited_heads(trace: Trace, layer: int, w_o: Tensor, dead: Tensor, by: Gradients) -> list[NodeTable]:
    """Rows for heads whose output was edited, which their attention pairs no longer explain."""
    dead = dead & ~overwritten(trace, Kind.ATTN, layer)
    z = wide(trace[Site.Z, layer])
    tables: list[NodeTable] = []
    for head, pos in dead.nonzero().tolist():
        write = (z[head, pos] @ w_o[head])[None]
        table = vectors(
            Kind.HEAD, layer, write, by.mid[layer][pos : pos + 1], by, positions=[pos], index=head
        )
        tables.append(table)
    return tables


def _heads(z: Tensor, w_o: Tensor, gradient: Tensor) -> Tensor:
    """Each head's write against a gradient: z [head, pos, d_head], w_o [head, d_head, d_model] -> [head, pos]."""
    return (z * _wanted(w_o, gradient)).sum(-1)


def _pairs(pattern: Tensor, v: Tensor, w_o: Tensor, gradient: Tensor) -> Tensor:
    """Each pair's write against the query's gradient: pattern [head, query, key], gradient [query, d_model]."""
    return pattern * (_wanted(w_o, gradient) @ v.transpose(1, 2))


def _wanted(w_o: Tensor, gradient: Tensor) -> Tensor:
    """A gradient by each head's z: gradient [pos, d_model] -> [head, pos, d_head], one product for all heads."""
    return (gradient @ w_o.flatten(0, 1).T).view(len(gradient), len(w_o), -1).transpose(0, 1)
