"""The number under study by its formula: of the logits, or inside the model; and what moves it, without autograd."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from model.components import Component, Kind
from model.metrics import Metric, Quantity
from model.probes import Activation
from model.reference.run import PlainGPT2, gelu, gelu_slope


def metric_of(metric: Metric, logits: Tensor, base: Tensor | None = None) -> Tensor:
    """The metric of full logits, `base` those of the run that a divergence is from: [..., vocab] -> [...]."""
    aims, others = list(metric.targets), list(metric.distractors)
    mean = sum((logits[..., aim] for aim in aims), torch.zeros(())) / len(aims)
    match metric.quantity:
        case Quantity.LOGIT_DIFF:
            return mean - sum((logits[..., other] for other in others), torch.zeros(())) / len(others)
        case Quantity.LOGIT:
            return mean
        case Quantity.LOGIT_MINUS_MEAN:
            return mean - logits.sum(-1) / logits.shape[-1]
        case Quantity.PROB:
            return torch.softmax(logits, -1)[..., sorted(set(aims))].sum(-1)
        case Quantity.LOGPROB:
            return torch.log_softmax(logits, -1)[..., sorted(set(aims))].exp().sum(-1).log()
        case Quantity.KL if base is not None:
            p, q = torch.log_softmax(base, -1), torch.log_softmax(logits, -1)
            return (p.exp() * (p - q)).sum(-1)
        case _:
            raise ValueError(f"{metric.quantity.value} is unknown to the independent pass")


def weights_of(metric: Metric, logits: Tensor, base: Tensor | None = None) -> Tensor:
    """d metric / d logits, by its formula: [vocab] -> [vocab]."""
    weights = torch.zeros_like(logits)
    for aim in metric.targets:
        weights[aim] += 1 / len(metric.targets)
    match metric.quantity:
        case Quantity.LOGIT_DIFF:
            for other in metric.distractors:
                weights[other] -= 1 / len(metric.distractors)
        case Quantity.LOGIT_MINUS_MEAN:
            weights -= 1 / len(logits)
        case Quantity.PROB | Quantity.LOGPROB:
            p = torch.softmax(logits, -1)
            aims = sorted(set(metric.targets))
            share = torch.zeros_like(p)
            share[aims] = p[aims] / p[aims].sum()
            weights = share - p
            if metric.quantity is Quantity.PROB:
                weights = weights * p[aims].sum()
        case Quantity.KL if base is not None:
            weights = torch.softmax(logits, -1) - torch.softmax(base, -1)
        case Quantity.LOGIT:
            pass
        case _:
            raise ValueError(f"{metric.quantity.value} is unknown to the independent pass")
    return weights


def activation_line(probe: Activation) -> int:
    """The line that computes an activation."""
    return (1 if probe.component.kind is Kind.HEAD else 2) + 2 * probe.component.layer


def activation_reads(probe: Activation, pos: int) -> list[tuple[int, Component]]:
    """The tokens that an activation at token `pos` is made of, and what reads them: keys, and last the query."""
    part = probe.component
    if part.kind is Kind.NEURON:
        return [(pos, Component(Kind.MLP, part.layer))]
    keys = [(at, Component(Kind.K, part.layer, part.index)) for at in range(pos + 1)]
    return [*keys, (pos, Component(Kind.Q, part.layer, part.index))]


def activation_of(plain: PlainGPT2, probe: Activation, seen: Sequence[Tensor]) -> float:
    """A neuron after its nonlinearity, or a key's part of a head's attention, of what the layer norm made.

    `seen` [read, d_model] is of `activation_reads`.
    """
    if probe.component.kind is Kind.NEURON:
        return float(gelu(_pre(plain, probe, seen[-1])))
    return float(_shares(plain, probe, seen)[probe.key or 0])


def activation_weights(plain: PlainGPT2, probe: Activation, seen: Sequence[Tensor]) -> list[Tensor]:
    """d activation / d(what the layer norm made at each read), by hand: as many as `seen`."""
    part, layer, head = probe.component, probe.component.layer, probe.component.index or 0
    if part.kind is Kind.NEURON:
        column = plain.weight(f"h.{layer}.mlp.c_fc.weight")[:, head]
        return [gelu_slope(_pre(plain, probe, seen[-1])) * column]
    shares, key, (*keys, query) = _shares(plain, probe, seen), probe.key or 0, seen
    slopes = shares[key] * (torch.eye(len(keys), dtype=plain.dtype)[key] - shares)  # by each score
    (w_q, b_q), (w_k, b_k) = (plain.columns(layer, head, letter) for letter in "qk")
    root = math.sqrt(len(b_q))
    found = [slope * (w_k @ (query @ w_q + b_q)) / root for slope in slopes]
    by_query = w_q @ sum(slope * (x @ w_k + b_k) for slope, x in zip(slopes, keys, strict=True)) / root
    return [*found, by_query]


def _pre(plain: PlainGPT2, probe: Activation, seen: Tensor) -> Tensor:
    layer, index = probe.component.layer, probe.component.index
    weight, bias = (plain.weight(f"h.{layer}.mlp.c_fc.{name}")[..., index] for name in ("weight", "bias"))
    return seen @ weight + bias


def _shares(plain: PlainGPT2, probe: Activation, seen: Sequence[Tensor]) -> Tensor:
    """The attention of the query, the last, to every key: [key]."""
    layer, head, (*keys, last) = probe.component.layer, probe.component.index or 0, seen
    query = plain.project(layer, head, "q", last)
    scores = [query @ plain.project(layer, head, "k", x) / math.sqrt(len(query)) for x in keys]
    return torch.softmax(torch.stack(scores), 0)
