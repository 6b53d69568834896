"""Dictionaries in the node table: active latents, what is left over, and what stands beside them.

Their rows take the place of those of the sub-layer, or of everything before in the residual stream, and the books
balance as before.  Only the layers and tokens that are asked for are encoded.
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.components import Component, Kind, Node
from model.dictionaries import LETTER_OF, Recorded, place_of
from model.effects.gradients import Gradients
from model.effects.sublayers import overwritten
from model.effects.vector_tables import sublayer
from model.gpt2 import GPT2, wide
from model.latents import Active, active, beside, blocks, error, matrix_out, moved_by_patch
from model.lines import written_on
from model.nodes import KINDS, NodeTable, joined
from model.sites import Site, Where
from model.trace import Trace


def in_use(trace: Trace, letters: Collection[str], line: int, asked: Node | None = None) -> tuple[Where, ...]:
    """The dictionaries of these letters that can stand side by side for what a line reads: nothing is counted twice.

    Of two for one sub-layer that of its output; of those of the residual stream the last, and nothing before it.
    Where a latent is `asked` about, its own dictionary says nothing of what it reads.
    """
    own = None if asked is None else place_of(asked.component)
    there = [
        at
        for at in trace.dictionaries
        if LETTER_OF[at[0]] in letters and line_of_place(at) < line and at != own
    ]
    stream = max((at for at in there if at[0] in STREAM), key=line_of_place, default=None)
    found: list[Where] = [] if stream is None else [stream]
    for inside, whole in ((Site.MLP_POST, Site.MLP_OUT), (Site.Z, Site.ATTN_OUT)):
        for site, layer in there:
            used = site is whole or (site is inside and (whole, layer) not in there)
            if used and (stream is None or line_of_place((site, layer)) > line_of_place(stream)):
                found.append((site, layer))
    return tuple(sorted(found, key=line_of_place))


STREAM = (Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST)


def line_of_place(at: Where) -> int:
    """The line after which what a dictionary takes apart is in the stream."""
    return written_on(Component(Kind.ERROR, at[1], None, LETTER_OF[at[0]]))


def stands_for(table: NodeTable, places: Collection[Where]) -> NDArray[np.bool_]:
    """Rows of sub-layers' parts, biases and embeddings that these dictionaries' rows stand for: bool [row]."""
    found = np.zeros(len(table), dtype=bool)
    for site, layer in places:
        if site in STREAM:
            found |= (_lines(table) <= line_of_place((site, layer))) & ~_reading(table)
            if site is Site.RESID_POST:  # edits of the next layer's `resid_pre` come after it
                found &= (table.kind != KINDS.index(Kind.RESID_PRE)) | (table.layer != layer + 1)
        else:
            found |= np.isin(table.kind, [KINDS.index(kind) for kind in _PARTS[site]]) & (
                table.layer == layer
            )
    return found


_PARTS = {
    Site.MLP_OUT: (Kind.MLP, Kind.NEURON, Kind.MLP_BIAS),
    Site.MLP_POST: (Kind.MLP, Kind.NEURON),
    Site.ATTN_OUT: (Kind.ATTN, Kind.HEAD, Kind.ATTN_BIAS),
    Site.Z: (Kind.ATTN, Kind.HEAD),
}


def _lines(table: NodeTable) -> NDArray[np.int64]:
    """The line on which each row's part writes: [row]."""
    found = np.zeros(len(table), dtype=np.int64)
    for number in np.unique(table.kind):
        rows = table.kind == number
        part = Component(KINDS[number], 0)
        found[rows] = written_on(part) + (2 * table.layer[rows] if part.kind.has_layer else 0)
    return found


def _reading(table: NodeTable) -> NDArray[np.bool_]:
    """Rows of biases that are met as the target reads."""
    return np.isin(table.kind, [KINDS.index(kind) for kind in (Kind.FINAL_BIAS, Kind.TARGET_BIAS)])


GROUPS = ("latent", "error", "beside")
"What a dictionary has rows of: active latents, what they leave over, what stands beside them (its bias)."


@torch.no_grad()
def dictionary_tables(
    model: GPT2, trace: Trace, by: Gradients, places: Sequence[Where], positions: Sequence[int] | None = None
) -> dict[str, NodeTable]:
    """Every row of these dictionaries by its group, made of one encoding (`positions`: these tokens only).

    A row an active latent and token, and a row a token of what they leave over and of what stands beside them.
    """
    chosen = list(range(len(trace.tokens))) if positions is None else list(positions)
    tables = [_tables(model, trace, by, at, chosen) for at in places]
    none = NodeTable.empty()
    return {group: joined([none, *(each[group] for each in tables)]) for group in GROUPS}


def _tables(
    model: GPT2, trace: Trace, by: Gradients, at: Where, chosen: Sequence[int]
) -> dict[str, NodeTable]:
    found, aside = active(trace, at, chosen), wide(beside(trace, at))
    left = error(trace, at, chosen, found, aside)
    return {
        "latent": _latents(model, trace, by, at, found),
        "error": _vectors(model, trace, by, at, Kind.ERROR, left, chosen),
        "beside": _vectors(model, trace, by, at, Kind.SAE_BIAS, aside[list(chosen)], chosen),
    }


def _latents(model: GPT2, trace: Trace, by: Gradients, at: Where, found: Active) -> NodeTable:
    dictionary, out = trace.dictionaries[at], matrix_out(model, at)
    total, direct = (
        _by_place(gradient * reaching(trace, at)[:, None], out) for gradient in _gradients(trace, by, at)
    )
    amount = found.value * found.scale
    columns = [torch.zeros_like(amount) for _ in range(3)]
    for rows in blocks(found, dictionary.w_dec):
        write, pos = wide(dictionary.w_dec[found.index[rows]]), found.pos[rows]
        norm = (write if out is None else write @ out).norm(dim=-1)
        for column, each in zip(
            columns, (norm, (write * direct[pos]).sum(-1), (write * total[pos]).sum(-1)), strict=True
        ):
            column[rows] = each
    norm, of_direct, of_total = (column * amount for column in columns)
    norm, site = norm.abs() * reaching(trace, at)[found.pos], LETTER_OF[at[0]]
    return NodeTable.latents(site, at[1], found.pos, found.index, found.value, norm, of_direct, of_total)


def patched_table(
    model: GPT2,
    trace: Trace,
    by: Gradients,
    at: Where,
    other: Recorded,
    here: Sequence[int],
    there: Sequence[int],
) -> NodeTable:
    """A row each latent and token of `here` that has another activation at its counterpart in another run.

    Activation, norm and effects are those of what a patch from there would add: its total is attribution patching's.
    """
    return _latents(model, trace, by, at, moved_by_patch(trace, at, other, here, there))


def replaced_rows(trace: Trace, by: Gradients, places: Sequence[Where]) -> NodeTable:
    """Rows of whole outputs that were edited after a dictionary inside of them, whose rows no longer reach."""
    tables = [NodeTable.empty()]
    for at in places:
        gone = (~reaching(trace, at)).nonzero().flatten().tolist()
        if gone:
            kind = Kind.MLP if at[0] is Site.MLP_POST else Kind.ATTN
            tables.append(sublayer(kind, trace, at[1], by).at(gone))
    return joined(tables)


def _vectors(
    model: GPT2, trace: Trace, by: Gradients, at: Where, kind: Kind, x: Tensor, chosen: Sequence[int]
) -> NodeTable:
    out = matrix_out(model, at)
    write = (x if out is None else x @ out) * reaching(trace, at)[list(chosen), None]
    total, direct = ((write * gradient[list(chosen)]).sum(-1)[None] for gradient in _gradients(trace, by, at))
    one, norm = torch.ones_like(total), write.norm(dim=-1)[None]
    return NodeTable.grid(kind, at[1], one, norm, direct, total, positions=chosen, site=LETTER_OF[at[0]])


def reaching(trace: Trace, at: Where) -> Tensor:
    """Where what a dictionary inside a sub-layer takes apart still reaches the stream: bool [pos]."""
    kind = {Site.MLP_POST: Kind.MLP, Site.Z: Kind.ATTN}.get(at[0])
    if kind is None:
        return torch.ones(len(trace.tokens), dtype=torch.bool, device=trace[at].device)
    return ~overwritten(trace, kind, at[1])


def _by_place(gradient: Tensor, out: Tensor | None) -> Tensor:
    """A gradient by the stream as one by what is taken apart: [pos, d_model] -> [pos, d_out]."""
    return gradient if out is None else gradient @ out.T


def _gradients(trace: Trace, by: Gradients, at: Where) -> tuple[Tensor, Tensor]:
    """By the residual stream right after a place, in full and direct: both [pos, d_model]."""
    return after(by, at), by.direct if line_of_place(at) < by.target.line else torch.zeros_like(by.direct)


def after(by: Gradients, at: Where) -> Tensor:
    """By the residual stream right after what a dictionary takes apart, edits of the stream there made."""
    (site, layer), line = at, line_of_place(at)
    match site:
        case Site.MLP_OUT | Site.MLP_POST:
            return by.post[layer]
        case Site.ATTN_OUT | Site.Z:
            return by.mid[layer]
        case Site.RESID_PRE:
            return by.edited.get(line, by.post[layer - 1] if layer else by.embed)
        case Site.RESID_MID:
            return by.edited.get(line, by.mid[layer])
        case _:
            return by.edited.get(line, by.post[layer])
