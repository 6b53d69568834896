"""What is found on stepping into a line: its parts, and how each moves what is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.components import Component, Kind
from model.effects import attribution
from model.effects.attribution import Gradients
from model.gpt2 import GPT2
from model.measured.scorers import Scorer
from model.sites import Site
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What is found on stepping into a line: its parts in order, the rest in one row, the bias last."""

    parts: tuple[Component, ...]
    delta: NDArray[np.float64]
    "How much each row moves the lens: [row]; rows are the parts, then `rest` if any, then the bias."
    value: NDArray[np.float64]
    "The lens after each row: [row]."
    rest: int
    "How many parts share the row after the named ones; 0 and there is no such row."

    def names(self, bias: str) -> list[str]:
        return [str(part) for part in self.parts] + [f"{self.rest:,} more"] * bool(self.rest) + [bias]


@torch.no_grad()
def open_line(
    model: GPT2,
    trace: Trace,
    scorer: Scorer,
    by: Gradients,
    part: Component,
    most: int,
) -> Inside:
    """The parts of an attention or MLP line, in order, and how each moves the target where `scorer` reads it."""
    positions = scorer.positions
    entering = Site.RESID_PRE if part.kind is Kind.ATTN else Site.RESID_MID
    chosen = _chosen(model, trace, by, part, positions, most)
    steps: list[torch.Tensor] = []
    for pos in positions:
        start = trace[entering, part.layer][pos].double()
        writes, bias = _writes(model, trace, part, pos, chosen)
        steps.append(torch.cat([start[None], writes, bias[None]]).cumsum(0))
    stream = torch.stack(steps, 1).to(trace[entering, part.layer].dtype)  # [row + 1, read, d_model]
    after = scorer.score(stream, trace).double().cpu().numpy()
    config = model.config
    if part.kind is Kind.ATTN:
        named = tuple(Component(Kind.HEAD, part.layer, head) for head in range(config.n_head))
        return Inside(named, np.diff(after), after[1:], 0)
    named = tuple(Component(Kind.NEURON, part.layer, int(index)) for index in chosen)
    return Inside(named, np.diff(after), after[1:], config.d_mlp - len(named))


def _chosen(
    model: GPT2, trace: Trace, by: Gradients, part: Component, positions: Sequence[int], most: int
) -> torch.Tensor:
    """The neurons of an MLP with the largest estimated total effect, all heads of an attention: [index]."""
    if part.kind is Kind.ATTN:
        return torch.arange(model.config.n_head)
    w_out = model.blocks[part.layer].mlp.c_proj.weight.double()
    effect = torch.zeros(model.config.d_mlp, dtype=torch.float64, device=w_out.device)
    for pos in positions:
        effect += trace[Site.MLP_POST, part.layer][pos].double() * (w_out @ by.post[part.layer][pos].double())
    return effect.abs().argsort(descending=True)[:most]


def _writes(
    model: GPT2, trace: Trace, part: Component, pos: int, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The writes at one token [row, d_model], one row more for neurons not chosen, and the bias [d_model]."""
    layer = part.layer
    # An edit of the whole line replaces what its parts write: they add nothing then.
    live = float(not bool(attribution.overwritten(trace, part.kind, layer)[pos]))
    if part.kind is Kind.ATTN:
        z = trace[Site.Z, layer][:, pos].double()  # [head, d_head]
        writes = live * torch.einsum("hd,hdm->hm", z, attribution.head_matrices(model)[layer].double())
        return writes, trace[Site.ATTN_OUT, layer][pos].double() - writes.sum(0)
    post = live * trace[Site.MLP_POST, layer][pos].double()  # [d_mlp]
    w_out = model.blocks[layer].mlp.c_proj.weight.double()
    everything = post @ w_out
    writes = post[chosen, None] * w_out[chosen]
    if len(chosen) < len(post):
        writes = torch.cat([writes, (everything - writes.sum(0))[None]])
    return writes, trace[Site.MLP_OUT, layer][pos].double() - everything
