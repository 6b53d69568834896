"""What a dictionary does to its pre-activations: frozen values, applied by `activate`."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Relu:
    """max(0, pre) (Cunningham et al. 2023, 2309.08600; Bricken et al. 2023)."""


@dataclass(frozen=True, slots=True)
class TopK:
    """The `k` largest of a token, those of them that are positive (Gao et al. 2024, 2406.04093)."""

    k: int


@dataclass(frozen=True, slots=True)
class BatchTopK:
    """As used after training, token by token: positive and above one threshold (Bussmann et al. 2024, 2412.06410)."""

    k: int
    "How many a token had on average in training."
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class JumpRelu:
    """pre where it is positive and above the latent's threshold (Rajamanoharan et al. 2024, 2407.14435).

    A gated autoencoder is one (ibid., appendix): its gate reads the direction that its magnitude reads.
    """

    threshold: Tensor
    "[latent]"


Nonlinearity = Relu | TopK | BatchTopK | JumpRelu


def activate(nonlinearity: Nonlinearity, pre: Tensor) -> Tensor:
    """Pre-activations [..., latent] -> latents [..., latent].

    Differentiable by `pre`: an active latent moves with it, an inactive one does not.
    """
    match nonlinearity:
        case Relu():
            return pre.relu()
        case TopK(k):
            values, indices = pre.topk(k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, indices, values.relu())
        case BatchTopK(_, threshold):
            return pre.relu() * (pre > threshold)
        case JumpRelu(threshold):
            return pre.relu() * (pre > threshold)


def some_of(nonlinearity: Nonlinearity, latents: Tensor) -> Nonlinearity:
    """The same for some latents alone; not for TopK, which compares all of them."""
    return JumpRelu(nonlinearity.threshold[latents]) if isinstance(nonlinearity, JumpRelu) else nonlinearity
