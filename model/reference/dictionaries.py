"""Sparse autoencoders and transcoders a second time, from the equations that were published for them.

Shares no computation with the package that reads and runs them: a vector's mean and variance are sums over it, the
bias that is subtracted from the input is folded into the encoder's, the largest latents are found by sorting, and
decoder rows are added one active latent after the other.  Everything can be differentiated.

Bricken et al. 2023; Gao et al. 2024, 2406.04093; Bussmann et al. 2024, 2412.06410; Rajamanoharan et al. 2024,
2407.14435; Dunefsky et al. 2024, 2406.11944.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

EPS = 1e-5
"""Added to a standard deviation, outside of the root."""

BLOCK = 1 << 13
"""Latents whose encoder is converted at a time."""

HEADS = "z"
"""A place whose vectors are those of heads side by side."""

NORMALIZED = {"ln1_normalized": ("resid_pre", "ln1_scale"), "ln2_normalized": ("resid_mid", "ln2_scale")}
"""Places that are read and that no run keeps: the stream and the scale that they are made of."""

Values = Mapping[tuple[str, int], Tensor]
"""What a run has at its places."""


class Rule(Enum):
    """What becomes of a pre-activation; in all of them one that is not positive is 0."""

    ALL = "all"
    LARGEST = "largest"
    "Of a token, the `k` largest."
    ABOVE = "above"
    "Those above a threshold, of all latents or each latent's own."


@dataclass(frozen=True, slots=True, eq=False)
class PlainDictionary:
    """What a dictionary's file says."""

    encoder: Tensor
    "[d_in, latent]"
    encoder_bias: Tensor
    decoder: Tensor
    "[latent, d_out]"
    decoder_bias: Tensor
    reads: tuple[str, int]
    writes: tuple[str, int]
    rule: Rule = Rule.ALL
    k: int = 0
    threshold: Tensor | None = None
    "[latent], or of one number."
    centres: bool = False
    "Whether a vector's mean is taken off before it is encoded."
    divides: str = ""
    "By what it is divided then: its `deviation` (unbiased), its `size` (root mean square), nothing."
    subtracts: bool = False
    "Whether the decoder's bias is taken off the input."
    skip: Tensor | None = None
    "[d_in, d_out]: what is put out of the raw input beside."

    def read(self, values: Values) -> Tensor:
        """What it is given in a run: [pos, d_in]."""
        name, layer = self.reads
        if name not in NORMALIZED:
            return side_by_side(name, values[self.reads])
        stream, scale = (values[each, layer] for each in NORMALIZED[name])
        return (stream - stream.mean(-1, keepdim=True)) / scale

    def pre(self, x: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Before the nonlinearity: [..., d_in] -> [..., latent], of some latents alone where they are named."""
        seen, _, _ = self._scaled(x)
        every = range(self.encoder.shape[1]) if latents is None else latents
        found: list[Tensor] = []
        for first in range(0, len(every), BLOCK):
            block = torch.tensor(every[first : first + BLOCK])
            weight, bias = self.encoder[:, block].to(x.dtype), self.encoder_bias[block].to(x.dtype)
            if self.subtracts:
                bias = bias - self.decoder_bias.to(x.dtype) @ weight
            found.append(torch.einsum("...i,ij->...j", seen, weight) + bias)
        return torch.cat(found, -1)

    def latents(self, x: Tensor) -> Tensor:
        """[..., d_in] -> [..., latent]"""
        pre = self.pre(x)
        kept = pre > 0
        if self.rule is Rule.LARGEST:
            place = pre.argsort(dim=-1, descending=True, stable=True).argsort(-1)
            kept = kept & (place < self.k)
        elif self.rule is Rule.ABOVE and self.threshold is not None:
            kept = kept & (pre > self.threshold.to(pre.dtype))
        return torch.where(kept, pre, torch.zeros_like(pre))

    def sum_of(self, x: Tensor, latents: Tensor) -> Tensor:
        """What latents of an input write together: [pos, d_in], [pos, latent] -> [pos, d_out]."""
        rows: list[Tensor] = []
        for row in latents:
            total = torch.zeros(self.decoder.shape[1], dtype=x.dtype)
            for latent in row.detach().nonzero()[:, 0].tolist():
                total = total + row[latent] * self.decoder[latent].to(x.dtype)
            rows.append(total)
        return torch.stack(rows) * self.factor(x)

    def factor(self, x: Tensor) -> Tensor:
        """What the decoder's output is multiplied by for an input: [..., 1]."""
        _, _, size = self._scaled(x)
        return size if self.undoes else torch.ones_like(size)

    def beside(self, x: Tensor) -> Tensor:
        """What is put out beside the latents: [..., d_in] -> [..., d_out]."""
        _, mean, size = self._scaled(x)
        bias = self.decoder_bias.to(x.dtype)
        found = bias * size + mean if self.undoes else bias + torch.zeros_like(size)
        return found if self.skip is None else found + torch.einsum("...i,ij->...j", x, self.skip.to(x.dtype))

    def direction(self, x: Tensor, latent: int) -> Tensor:
        """What a pre-activation reads of an input, the size that it is divided by held: [d_in] -> [d_in]."""
        _, _, divisor = self._divisors(x)
        read = self.encoder[:, latent].to(x.dtype) / divisor
        return read - read.sum() / len(read) if self.centres else read

    @property
    def undoes(self) -> bool:
        """Whether what was done to the input is undone in the output."""
        return self.reads == self.writes

    def _scaled(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The input as it is encoded; the mean and the size that are put back."""
        mean, size, divisor = self._divisors(x)
        return (x - mean) / divisor, mean, size

    def _divisors(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A vector's mean, its size, and what it is divided by: [..., 1] each."""
        width = x.shape[-1]
        mean = x.sum(-1, keepdim=True) / width * float(self.centres)
        one = torch.ones_like(mean)
        match self.divides:
            case "deviation":
                size = (((x - mean) ** 2).sum(-1, keepdim=True) / (width - 1)).sqrt()
                return mean, size, size + EPS
            case "size":
                size = (x * x).sum(-1, keepdim=True).sqrt() / math.sqrt(width)
                size = torch.where(size == 0, one, size)
                return mean, size, size
            case _:
                return mean, one, one


def side_by_side(name: str, x: Tensor) -> Tensor:
    """Heads of `z` side by side, others as they are: [head, pos, d_head] -> [pos, width]."""
    return torch.cat(list(x), -1) if name == HEADS else x


def apart(name: str, x: Tensor, n_head: int) -> Tensor:
    """The opposite."""
    return torch.stack(x.chunk(n_head, -1)) if name == HEADS else x
