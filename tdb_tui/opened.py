"""What is found on stepping into a line: its parts, and how each moves what is asked about."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.components import Component, Kind
from model.dictionaries import LETTER_OF, recorded_at
from model.effects import attribution
from model.effects.attribution import Gradients
from model.effects.latents import dictionary_tables, reaching
from model.gpt2 import GPT2, wide
from model.latents import active, beside, error, matrix_out
from model.measured.scorers import Scorer
from model.sites import Site, Where
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What is found on stepping into a line: its parts, the rest of them in one row, and what stands beside them."""

    parts: tuple[Component, ...]
    rest: int
    "How many parts share the row after the named ones; 0 and there is no such row."
    after: tuple[Component, ...]
    "Of a dictionary its bias and what it leaves over; of a line what it adds that is none of these: its bias."
    delta: NDArray[np.float64]
    "How much each row moves the lens: [row]."
    value: NDArray[np.float64]
    "The lens after each row: [row]."

    @property
    def rows(self) -> tuple[Component | None, ...]:
        """What each row is; None is the rest."""
        return (*self.parts, *([None] if self.rest else []), *self.after)

    @property
    def word(self) -> str:
        """What the parts are: `heads of A3`, `neurons of M3`, `latents of Fm3`."""
        first = self.after[0]
        if first.kind is Kind.SAE_BIAS:
            return f"latents of F{first.site}{first.layer}"
        return f"heads of A{first.layer}" if first.kind is Kind.ATTN_BIAS else f"neurons of M{first.layer}"

    @property
    def names(self) -> list[str]:
        return [f"{self.rest:,} more" if part is None else str(part) for part in self.rows]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What a line is taken apart into."""

    parts: tuple[Component, ...]
    rest: int
    after: tuple[Component, ...]
    writes: Callable[[int], Tensor]
    "What each row adds at a token: [row, d_model]; together what the line adds."


def swapped_in(trace: Trace, part: Component, letters: Collection[str]) -> Where | None:
    """The dictionary of these letters that takes an attention or MLP line apart: of its output before one inside."""
    sites = (Site.ATTN_OUT, Site.Z) if part.kind is Kind.ATTN else (Site.MLP_OUT, Site.MLP_POST)
    places = ((site, part.layer) for site in sites if LETTER_OF[site] in letters)
    return next((at for at in places if at in trace.dictionaries), None)


@torch.no_grad()
def open_line(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    by: Gradients,
    part: Component,
    most: int,
    letters: Collection[str] = (),
) -> Inside:
    """An attention or MLP line's parts, and how each moves the target where `scorer` reads it.

    All heads in order, or the `most` neurons with the largest estimated total effect; latents, likewise, where a
    dictionary of these letters takes the line apart.
    """
    positions, entering = scorer.positions, Site.RESID_PRE if part.kind is Kind.ATTN else Site.RESID_MID
    at = swapped_in(trace, part, letters)
    if at is not None:
        rows = _latents(model, trace, by, at, positions, most)
    elif part.kind is Kind.ATTN:
        rows = _heads(model, trace, part.layer)
    else:
        rows = _neurons(model, trace, by, part.layer, positions, most)
    entered = trace[entering, part.layer]
    steps = [torch.cat([entered[pos, None].double(), rows.writes(pos)]).cumsum(0) for pos in positions]
    stream = torch.stack(steps, 1).to(entered.dtype)  # [row + 1, read, d_model]
    lens = scorer.score(stream, trace).double().cpu().numpy()
    return Inside(rows.parts, rows.rest, rows.after, np.diff(lens), lens[1:])


def _heads(model: GPT2, trace: Trace, layer: int) -> _Rows:
    w_o = attribution.head_matrix(model, layer).double()

    def writes(pos: int) -> Tensor:
        z = trace[Site.Z, layer][:, pos].double()  # [head, d_head]
        live = _live(trace, Kind.ATTN, layer, pos)
        return _with_bias(live * torch.einsum("hd,hdm->hm", z, w_o), trace[Site.ATTN_OUT, layer][pos])

    parts = tuple(Component(Kind.HEAD, layer, head) for head in range(model.config.n_head))
    return _Rows(parts, 0, (Component(Kind.ATTN_BIAS, layer),), writes)


def _neurons(
    model: GPT2, trace: Trace, by: Gradients, layer: int, positions: Sequence[int], most: int
) -> _Rows:
    w_out = model.blocks[layer].mlp.c_proj.weight.double()
    effect = torch.zeros(model.config.d_mlp, dtype=torch.float64, device=w_out.device)
    for pos in positions:
        effect += trace[Site.MLP_POST, layer][pos].double() * (w_out @ by.post[layer][pos].double())
    chosen = effect.abs().argsort(descending=True)[:most]

    def writes(pos: int) -> Tensor:
        post = _live(trace, Kind.MLP, layer, pos) * trace[Site.MLP_POST, layer][pos].double()  # [d_mlp]
        named = _with_rest(post[chosen, None] * w_out[chosen], post @ w_out, len(post))
        return _with_bias(named, trace[Site.MLP_OUT, layer][pos])

    parts = tuple(Component(Kind.NEURON, layer, int(index)) for index in chosen)
    rest = model.config.d_mlp - len(parts)
    return _Rows(parts, rest, (Component(Kind.MLP_BIAS, layer),), writes)


def _live(trace: Trace, kind: Kind, layer: int, pos: int) -> float:
    """An edit of the whole line replaces what its parts write: they add nothing then."""
    return float(not bool(attribution.overwritten(trace, kind, layer)[pos]))


def _with_rest(named: Tensor, every: Tensor, count: int) -> Tensor:
    """Writes of the named parts, and in one row more what all `count` of them write beside: [row, d_model]."""
    return named if len(named) == count else torch.cat([named, (every - named.sum(0))[None]])


def _with_bias(writes: Tensor, out: Tensor) -> Tensor:
    """And what else the line adds: [row, d_model]."""
    return torch.cat([writes, (out.double() - writes.sum(0))[None]])


def _latents(
    model: GPT2, trace: Trace, by: Gradients, at: Where, positions: Sequence[int], most: int
) -> _Rows:
    """Active latents, what the dictionary puts out beside them, and what it leaves over."""
    table = dictionary_tables(model, trace, by, [at], positions)["latent"]
    index, row = np.unique(table.index, return_inverse=True)
    effect = np.bincount(row, weights=table.total, minlength=len(index))
    chosen = index[np.argsort(-np.abs(effect), kind="stable")][:most].tolist()
    found, aside, live = active(trace, at, positions), wide(beside(trace, at)), reaching(trace, at)
    left = error(trace, at, positions, found, aside)  # [read, d_out]
    w_dec, matrix = trace.dictionaries[at].w_dec[chosen].double(), matrix_out(model, at)
    there, numbered = recorded_at(trace, at), torch.tensor(chosen, dtype=torch.long, device=w_dec.device)

    def writes(pos: int) -> Tensor:
        here, beside_them = found.pos == pos, aside[pos].double()
        amounts = (found.value * found.scale)[here].double() * (numbered[:, None] == found.index[here])
        over = left[positions.index(pos)].double()
        every = there[pos].double() - beside_them - over
        rows = _with_rest(amounts.sum(1, keepdim=True) * w_dec, every, len(index))
        rows = torch.cat([rows, beside_them[None], over[None]])
        if matrix is None:
            return rows
        kind = Site.ATTN_OUT if at[0] is Site.Z else Site.MLP_OUT
        return _with_bias(float(live[pos]) * (rows @ matrix.double()), trace[kind, at[1]][pos])

    layer, letter = at[1], LETTER_OF[at[0]]
    after = [Component(Kind.SAE_BIAS, layer, None, letter), Component(Kind.ERROR, layer, None, letter)]
    if matrix is not None:
        after.append(Component(Kind.ATTN_BIAS if at[0] is Site.Z else Kind.MLP_BIAS, layer))
    parts = tuple(Component(Kind.LATENT, layer, each, letter) for each in chosen)
    return _Rows(parts, len(index) - len(parts), tuple(after), writes)
