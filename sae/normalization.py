"""What is done to a dictionary's input before it is encoded, and undone to what it puts out."""

import math
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-5


class Normalization(Enum):
    """Each token by itself; a scale that is the same for all tokens is folded into the weights instead."""

    NONE = "none"
    CENTRE = "centre"
    "Minus the mean, as in a model whose writing weights are centred."
    LAYER_NORM = "layer_norm"
    "Minus the mean, over the standard deviation: unbiased, eps outside the root, as OpenAI's v5 and SAELens have it."
    UNIT_NORM = "unit_norm"
    "Over the root mean square (SAELens: `constant_norm_rescale`)."


class Scales(NamedTuple):
    """encoded = (x - mean) / divisor; put out = decoded * factor + mean.  Each [..., 1]."""

    mean: Tensor
    divisor: Tensor
    factor: Tensor


def scales(normalization: Normalization, x: Tensor) -> Scales:
    """A dictionary's input [..., d_in] -> what normalises it, differentiable."""
    zero, one = x.new_zeros(()).expand(*x.shape[:-1], 1), x.new_ones(()).expand(*x.shape[:-1], 1)
    match normalization:
        case Normalization.NONE:
            return Scales(zero, one, one)
        case Normalization.CENTRE:
            return Scales(x.mean(-1, keepdim=True), one, one)
        case Normalization.LAYER_NORM:
            std, mean = torch.std_mean(x, dim=-1, keepdim=True)
            return Scales(mean, std + EPS, std)
        case Normalization.UNIT_NORM:
            rms = x.norm(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
            rms = torch.where(rms > 0, rms, torch.ones_like(rms))  # a token of zeros, ablated say, stays one
            return Scales(zero, rms, rms)
