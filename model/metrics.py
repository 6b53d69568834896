"""The number under study, read at one token: of its logits, in logits unless it says otherwise, or inside the model."""

from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from model.probes import Direction, Probe


class Quantity(Enum):
    LOGIT_DIFF = "logit_diff"
    "Mean target logit minus mean distractor logit (the Transformer Debugger's)."
    LOGIT = "logit"
    "Mean target logit."
    LOGIT_MINUS_MEAN = "logit_minus_mean"
    "Mean target logit minus the mean logit of the whole vocabulary."
    LOGPROB = "logprob"
    "Log of the summed probability of the targets, in nats."
    PROB = "prob"
    "Summed probability of the targets."
    KL = "kl"
    "KL(reference || run): how far the next token's distribution is from another run's, in nats; no token is named."
    DIRECTION = "direction"
    "The residual stream along a direction, no layer norm between; it and an activation are probes, not of logits."
    ACTIVATION = "activation"
    "A neuron after its nonlinearity, or a head's attention from one token to another."


LINEAR = (Quantity.LOGIT_DIFF, Quantity.LOGIT, Quantity.LOGIT_MINUS_MEAN)
PROBES = (Quantity.DIRECTION, Quantity.ACTIVATION)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a run is compared with by its divergence.  Compared by identity, as a run is."""

    logprob: Tensor
    "Of every token as the next one, in nats: [vocab], float64."


@dataclass(frozen=True, slots=True)
class Metric:
    """What is asked at token `pos`.  Comparable and hashable, so that runs can be kept by it."""

    quantity: Quantity
    targets: tuple[int, ...]
    distractors: tuple[int, ...]
    pos: int
    probe: Probe | None = None
    "What a direction or an activation is of; None for what is read off the logits."
    reference: Reference | None = None
    "What a divergence is from, once it is known: the number is of two runs, the question is not."

    def __post_init__(self) -> None:
        if not self.targets:
            raise ValueError("a metric needs at least one target token")
        if self.quantity is Quantity.LOGIT_DIFF and not self.distractors:
            raise ValueError("a logit difference needs at least one distractor token")
        if (self.quantity in PROBES) != (self.probe is not None):
            raise ValueError(
                f"{self.quantity.value}: a direction and an activation have a probe, no other metric has"
            )

    @property
    def linear(self) -> bool:
        """Whether the metric is a weighted sum of what it reads, so that direct effects add up to it."""
        return self.quantity in LINEAR or isinstance(self.probe, Direction)

    def against(self, reference: Reference) -> "Metric":
        """The divergence from that; any other metric as it is."""
        return replace(self, reference=reference) if self.quantity is Quantity.KL else self

    def of(self, logits: Tensor) -> Tensor:
        """The metric of full logits: [..., vocab] -> [...].

        Raises ValueError for a metric that is read inside the model, and for a divergence from nothing.
        """
        targets = logits[..., list(self.targets)]
        match self.quantity:
            case Quantity.LOGIT_DIFF:
                return targets.mean(-1) - logits[..., list(self.distractors)].mean(-1)
            case Quantity.LOGIT:
                return targets.mean(-1)
            case Quantity.LOGIT_MINUS_MEAN:
                return targets.mean(-1) - logits.mean(-1)
            case Quantity.LOGPROB:
                return self._logprob(logits)
            case Quantity.PROB:
                return self._logprob(logits).exp()
            case Quantity.KL:
                return self._divergence(logits)
            case _:
                raise ValueError(f"{self.quantity.value} is read inside the model: it is not of its logits")

    def _divergence(self, logits: Tensor) -> Tensor:
        if self.reference is None:
            raise ValueError("kl is of two runs: give the one it is from with `against`")
        base = self.reference.logprob
        apart = base - logits.double().log_softmax(-1)
        return (base.exp() * apart).sum(-1).clamp_min(0.0)  # only rounding brings it below

    def _logprob(self, logits: Tensor) -> Tensor:
        once = list(dict.fromkeys(self.targets))  # a token named twice is no likelier
        return logits[..., once].logsumexp(-1) - logits.logsumexp(-1)

    def direction(self, unembedding: Tensor) -> Tensor:
        """The weighted sum of unembedding rows that a linear metric is: [vocab, d_model] -> [d_model]."""
        if self.quantity not in LINEAR:
            raise ValueError(f"{self.quantity.value} is not a direction: it is not linear in the logits")
        up = unembedding[list(self.targets)].mean(0)
        if self.quantity is Quantity.LOGIT:
            return up
        if self.quantity is Quantity.LOGIT_MINUS_MEAN:
            return up - unembedding.mean(0)
        return up - unembedding[list(self.distractors)].mean(0)

    def of_normed(self, normed: Tensor, unembedding: Tensor) -> Tensor:
        """The metric from the final layer norm's output, unembedding only what it needs: [..., d_model] -> [...]."""
        if self.quantity in LINEAR:
            return normed @ self.direction(unembedding)
        return self.of(normed @ unembedding.T)


def final_gradient(metric: Metric, normed: Tensor, unembedding: Tensor) -> Tensor:
    """d metric / d (final layer norm's output at the metric's position): normed [d_model] -> [d_model]."""
    if metric.quantity in LINEAR:
        return metric.direction(unembedding)
    with torch.enable_grad():
        leaf = normed.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(metric.of_normed(leaf, unembedding), leaf)
    return gradient
