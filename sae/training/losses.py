"""The terms of the loss of one shard, each a mean over its rows.

Inputs are scaled so that their mean squared distance from their centre is 1: the squared error is then a fraction of
variance unexplained, and one weight of a penalty means the same at every site.
"""

import torch
from torch import Tensor


def squared_error(recon: Tensor, target: Tensor) -> Tensor:
    """The squared distance of each row from its target: two of [row, d] -> [row]."""
    return (recon - target).square().sum(-1)


def l1(latents: Tensor, w_dec: Tensor) -> Tensor:
    """Mean over rows of the sum of latents, each times its decoder row's norm (Anthropic 2024, April update): []."""
    return (latents @ w_dec.norm(dim=-1)).mean()


def l0(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Mean over rows of how many latents are above their threshold, with a gradient by the threshold alone: [].

    Rajamanoharan et al. 2024 (2407.14435), equation 12.
    """
    return Step.apply(pre, threshold, bandwidth).sum(-1).mean()  # pyright: ignore[reportOptionalMemberAccess]


def aux_k(pre: Tensor, k: int, w_dec: Tensor, error: Tensor) -> Tensor:
    """How badly the `k` most active dead latents reconstruct what others left, as a fraction of its variance: [].

    Of the dead latents alone: pre [row, dead] and w_dec [dead, d]; error [row, d], into which no gradient goes.
    Gao et al. 2024 (2406.04093), appendix A.2.
    """
    values, at = pre.topk(min(k, pre.shape[1]), dim=-1, sorted=False)
    latents = torch.zeros_like(pre).scatter(-1, at, values.relu())
    error = error.detach()
    spread = squared_error(error.mean(0).expand_as(error), error).mean()
    return squared_error(latents @ w_dec, error).mean() / spread.clamp_min(1e-12)


def near(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """Whether a pre-activation is within half a bandwidth of its threshold: the kernel of the two gradients below."""
    return (pre - threshold).abs() < bandwidth / 2


class Step(torch.autograd.Function):
    """pre > threshold, as 0 or 1; its gradient by the threshold is estimated with a rectangular kernel."""

    @staticmethod
    def forward(ctx, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pre, threshold = ctx.saved_tensors
        return None, -(grad * near(pre, threshold, ctx.bandwidth)).sum(0) / ctx.bandwidth, None


class Jump(torch.autograd.Function):
    """pre where it is above the threshold, else 0; the gradient by the threshold is estimated in the same way."""

    @staticmethod
    def forward(ctx, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pre, threshold = ctx.saved_tensors
        by_threshold = -(grad * near(pre, threshold, ctx.bandwidth)).sum(0) * threshold / ctx.bandwidth
        return grad * (pre > threshold), by_threshold, None
