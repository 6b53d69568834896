"""Numbers inside the model that a metric may be: the residual stream along a direction, a component's activation.

A probe reads the residual stream before one line, at one token or, for attention, at all that the query sees.
An activation is what the component computes from that, so that an edit of the component itself comes after it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.met import Added, as_met
from model.gpt2 import GPT2, Config, wide
from model.held import Edited, Held, held_scales
from model.lines import last_line, norm_before, normed, residual_site


@dataclass(frozen=True, slots=True)
class Direction:
    """resid . vector, no layer norm between: exactly the sum of what was written before the line."""

    line: int
    "The line before which the residual stream is read (numbered E = 0, A0 = 1, M0 = 2, ..., U)."
    vector: tuple[float, ...]
    "[d_model]"
    text: str = ""
    "How it was asked for."


@dataclass(frozen=True, slots=True)
class Activation:
    """A neuron after its nonlinearity, or the part of a head's attention that a key has, after the softmax.

    Raises ValueError for components that have no single activation.
    """

    component: Component
    key: int | None = None
    "The token that the head reads; None for a neuron."

    def __post_init__(self) -> None:
        part = self.component
        if part.kind not in (Kind.NEURON, Kind.HEAD) or part.index is None:
            raise ValueError(f"{part} has no single activation: a neuron and a head's pair do")
        if (part.kind is Kind.HEAD) != (self.key is not None):
            raise ValueError(f"{part}: a head's activation has a key, a neuron's has none")


Probe = Direction | Activation


def probe_line(probe: Probe) -> int:
    """The line that reads: a direction's own, a head's attention, a neuron's MLP."""
    if isinstance(probe, Direction):
        return probe.line
    part = probe.component
    return (1 if part.kind is Kind.HEAD else 2) + 2 * part.layer


def positions_of(probe: Probe, pos: int) -> tuple[int, ...]:
    """The tokens that a probe at token `pos` reads: of a head's attention every key's, and last the query's."""
    return tuple(range(pos + 1)) * (len(readers_of(probe, pos)) > 1) + (pos,)


def readers_of(probe: Probe, pos: int) -> tuple[Component | None, ...]:
    """Who reads there, for each: None is no part of the model."""
    if isinstance(probe, Direction):
        return (None,)
    part = probe.component
    if part.kind is Kind.NEURON:
        return (Component(Kind.MLP, part.layer),)
    query, key = (Component(kind, part.layer, part.index) for kind in (Kind.Q, Kind.K))
    return (key,) * (pos + 1) + (query,)


def refuse_probe(probe: Probe, pos: int, config: Config) -> None:
    """Raises ValueError, one sentence, for a probe that this model does not have."""
    if isinstance(probe, Direction):
        if not 1 <= probe.line <= last_line(config.n_layer):
            raise ValueError(
                f"no line {probe.line} to read a direction at: from 1 to {last_line(config.n_layer)}"
            )
        if len(probe.vector) != config.d_model:
            raise ValueError(
                f"the direction has {len(probe.vector)} numbers: this model has {config.d_model}"
            )
        return
    part = probe.component
    of_kind = config.n_head if part.kind is Kind.HEAD else config.d_mlp
    if not (0 <= part.layer < config.n_layer and 0 <= (part.index or 0) < of_kind):
        raise ValueError(f"this model has no {part}: {config.n_layer} layers of {of_kind} each")
    if probe.key is not None and not 0 <= probe.key <= pos:
        raise ValueError(f"key {probe.key} is after query {pos}: attention is causal")


def probed(
    model: GPT2, probe: Probe, resid: Tensor, *, live: bool = True, held: Held | None = None
) -> Tensor:
    """A probe of the residual stream at the tokens it reads: [..., read, d_model] -> [...].

    Its scale can be taken for a constant; `held` is what edits make of scales there.
    """
    return _of_seen(model, probe, seen(model, probe, resid, live=live, held=held))


def seen(model: GPT2, probe: Probe, resid: Tensor, *, live: bool = True, held: Held | None = None) -> Tensor:
    """What a probe reads: the residual stream itself, or what the layer norm makes of it; both [..., d_model]."""
    if isinstance(probe, Direction):
        return wide(resid)
    norm = norm_before(model, probe_line(probe))
    return normed(norm, resid, norm.bias, live=live, edited=None if held is None else held.of)


@torch.no_grad()
def probe_value(model: GPT2, trace: Edited, probe: Probe, pos: int) -> float:
    """A probe in a run, read at token `pos`, in its unit."""
    held = set_scales(model, trace, probe, pos)
    return float(probed(model, probe, recorded(model, trace, probe, pos), held=held))


def set_scales(model: GPT2, trace: Edited, probe: Probe, pos: int) -> Held | None:
    """What edits make of scales where a probe at token `pos` reads, None where none is of them."""
    held = held_scales(model, trace, probe_line(probe))
    return None if held is None else held.at(positions_of(probe, pos))


def recorded(model: GPT2, trace: Edited, probe: Probe, pos: int) -> Tensor:
    """The residual stream that a probe read in a run, as each of its readers met it: [read, d_model]."""
    resid = trace[residual_site(probe_line(probe), model.config.n_layer)]
    return met_by(probe, pos, resid[list(positions_of(probe, pos))], trace.added)


def met_by(probe: Probe, pos: int, read: Tensor, added: Added) -> Tensor:
    """What a probe reads, with what edges add for its readers: [..., read, d_model] -> the same."""
    return as_met(read, positions_of(probe, pos), readers_of(probe, pos), added)


def linear_part(model: GPT2, probe: Probe, read: Tensor) -> Tensor:
    """d probe / d(what it reads): [read, d_model] -> the same."""
    with torch.enable_grad():
        leaf = read.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_of_seen(model, probe, leaf), leaf)
    return gradient


def _of_seen(model: GPT2, probe: Probe, read: Tensor) -> Tensor:
    """A probe of what it reads: [..., read, d_model] -> [...]."""
    if isinstance(probe, Direction):
        return read[..., -1, :] @ read.new_tensor(probe.vector)
    part = probe.component
    block = model.blocks[part.layer]
    if part.kind is Kind.NEURON:
        fc = block.mlp.c_fc
        pre = read[..., -1, :] @ wide(fc.weight[:, part.index]) + wide(fc.bias[part.index])
        return torch.nn.functional.gelu(pre, approximate="tanh")
    query, keys = _projected(model, part, 0, read[..., -1, :]), _projected(model, part, 1, read[..., :-1, :])
    scores = (keys * query[..., None, :]).sum(-1) / math.sqrt(model.config.d_head)  # [..., key]
    return scores.softmax(-1)[..., probe.key]


def _projected(model: GPT2, part: Component, which: int, read: Tensor) -> Tensor:
    """A head's query (0) or keys (1): [..., d_model] -> [..., d_head]."""
    config, c_attn = model.config, model.blocks[part.layer].attn.c_attn
    first = which * config.d_model + (part.index or 0) * config.d_head
    columns = slice(first, first + config.d_head)
    return read @ wide(c_attn.weight[:, columns]) + wide(c_attn.bias[columns])
