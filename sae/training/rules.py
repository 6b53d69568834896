"""What keeps a dictionary sparse: a rule is an activation with the penalty that belongs to it, as a frozen value."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sae import nonlinearities
from sae.nonlinearities import Nonlinearity
from sae.training.losses import Jump, l0, l1


class Rule(Protocol):
    """What training asks of one."""

    def activate(self, pre: Tensor, threshold: Tensor) -> Tensor:
        """Pre-activations of a shard's rows [row, latent] -> latents, differentiable; `threshold` is [latent]."""
        ...

    def penalty(self, pre: Tensor, latents: Tensor, w_dec: Tensor, threshold: Tensor) -> Tensor:
        """What is added to the squared error: []."""
        ...

    def trained(self, least: float, threshold: Tensor) -> Nonlinearity:
        """The nonlinearity afterwards; `least` is the running mean of a batch's least active latent."""
        ...


@dataclass(frozen=True, slots=True)
class L1:
    """ReLU and a penalty on the sum of the latents (Bricken et al. 2023)."""

    weight: float

    def activate(self, pre: Tensor, threshold: Tensor) -> Tensor:
        return pre.relu()

    def penalty(self, pre: Tensor, latents: Tensor, w_dec: Tensor, threshold: Tensor) -> Tensor:
        return self.weight * l1(latents, w_dec)

    def trained(self, least: float, threshold: Tensor) -> Nonlinearity:
        return nonlinearities.Relu()


@dataclass(frozen=True, slots=True)
class TopK:
    """The `k` largest of each row, and no penalty (Gao et al. 2024)."""

    k: int

    def activate(self, pre: Tensor, threshold: Tensor) -> Tensor:
        return nonlinearities.activate(nonlinearities.TopK(self.k), pre)

    def penalty(self, pre: Tensor, latents: Tensor, w_dec: Tensor, threshold: Tensor) -> Tensor:
        return pre.new_zeros(())

    def trained(self, least: float, threshold: Tensor) -> Nonlinearity:
        return nonlinearities.TopK(self.k)


@dataclass(frozen=True, slots=True)
class BatchTopK:
    """The `k` per row that are largest over all rows of a shard (Bussmann et al. 2024, 2412.06410).

    Afterwards a threshold stands in for the other rows: the mean, over the last steps, of the least active latent.
    """

    k: int

    def activate(self, pre: Tensor, threshold: Tensor) -> Tensor:
        flat = pre.relu().flatten()
        values, at = flat.topk(self.k * len(pre), sorted=False)
        return torch.zeros_like(flat).scatter(0, at, values).view_as(pre)

    def penalty(self, pre: Tensor, latents: Tensor, w_dec: Tensor, threshold: Tensor) -> Tensor:
        return pre.new_zeros(())

    def trained(self, least: float, threshold: Tensor) -> Nonlinearity:
        return nonlinearities.BatchTopK(self.k, least)


@dataclass(frozen=True, slots=True)
class JumpRelu:
    """A learnt threshold each, and a penalty on how many are above it (Rajamanoharan et al. 2024, 2407.14435)."""

    weight: float
    bandwidth: float = 0.1
    """Of the kernel by which the thresholds' gradients are estimated."""

    def activate(self, pre: Tensor, threshold: Tensor) -> Tensor:
        return Jump.apply(pre, threshold, self.bandwidth)  # pyright: ignore[reportReturnType]

    def penalty(self, pre: Tensor, latents: Tensor, w_dec: Tensor, threshold: Tensor) -> Tensor:
        return self.weight * l0(pre, threshold, self.bandwidth)

    def trained(self, least: float, threshold: Tensor) -> Nonlinearity:
        return nonlinearities.JumpRelu(threshold)


def lowest(latents: Tensor) -> Tensor:
    """The least active latent of a shard, of those that are active: []; 0 where none is."""
    return torch.where(latents > 0, latents, torch.inf).min().nan_to_num(posinf=0.0)
