"""A sparse autoencoder, or a transcoder, as a frozen value: its weights, its equations, and where it reads and writes.

    pre     = (normalised x - b_dec) @ w_enc + b_enc        minus b_dec where `pre_bias` says so
    latents = nonlinearity(pre)
    x_hat   = latents @ w_dec + b_dec                       normalisation undone

All formats are read into this one form (`formats/`).  Everything is differentiable, by the input and by the weights.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from model.sites import Where
from sae.nonlinearities import JumpRelu, Nonlinearity, Relu, TopK, activate, some_of
from sae.normalization import Normalization, scales

COPIED = 256 << 20
"Bytes of an encoder that is laid out anew."


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """One dictionary.  Raises ValueError, one sentence, where its tensors don't fit each other."""

    w_enc: Tensor
    "[d_in, latent]"
    b_enc: Tensor
    "[latent]"
    w_dec: Tensor
    "[latent, d_out]: a latent's row times its activation is its write."
    b_dec: Tensor
    "[d_out]"
    reads: Where
    "The site and layer whose activations it encodes; `z` is read with its heads side by side."
    writes: Where
    "Those it puts out: the same for an autoencoder, others for a transcoder."
    nonlinearity: Nonlinearity = field(default_factory=Relu)
    normalization: Normalization = Normalization.NONE
    pre_bias: bool = True
    "Whether `b_dec` is subtracted from the normalised input (`apply_b_dec_to_input`, OpenAI's `pre_bias`)."
    w_skip: Tensor | None = None
    "[d_in, d_out]: what a skip transcoder adds of its raw input."
    density: Tensor | None = None
    "[latent]: on which fraction of tokens each was active in training, where the file says so."

    def __post_init__(self) -> None:
        _check(self)

    @property
    def d_in(self) -> int:
        return self.w_enc.shape[0]

    @property
    def n_latent(self) -> int:
        return self.w_enc.shape[1]

    @property
    def d_out(self) -> int:
        return self.w_dec.shape[1]

    @property
    def transcodes(self) -> bool:
        """Whether it predicts one site from another; then nothing of the input's normalisation is undone."""
        return self.reads != self.writes

    def normalized(self, x: Tensor) -> Tensor:
        """What the encoder's matrix reads: [..., d_in] -> the same."""
        mean, divisor, _ = scales(self.normalization, x)
        x = x if self.normalization is Normalization.NONE else (x - mean) / divisor
        return x - self.b_dec if self.pre_bias else x

    def pre_activations(self, x: Tensor, latents: slice | Tensor | None = None) -> Tensor:
        """x [..., d_in] -> before the nonlinearity: [..., latent], of `latents` alone where given."""
        if latents is None:
            return linear(self.normalized(x), self.w_enc, self.b_enc)
        return linear(self.normalized(x), self.w_enc[:, latents], self.b_enc[latents])

    def direction(self, x: Tensor, latent: int) -> Tensor:
        """d pre-activation / d x, the input's scale held: x [..., d_in] -> [..., d_in]."""
        found = self.w_enc[:, latent] / scales(self.normalization, x).divisor
        centred = self.normalization in (Normalization.CENTRE, Normalization.LAYER_NORM)
        return found - found.mean(-1, keepdim=True) if centred else found

    def encode(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """x [..., d_in] -> latents [..., latent], dense; `latents` alone where given."""
        if latents is None or isinstance(self.nonlinearity, TopK):
            every = activate(self.nonlinearity, self.pre_activations(x))
            return every if latents is None else every[..., latents]
        return activate(some_of(self.nonlinearity, latents), self.pre_activations(x, latents))

    def decode(self, latents: Tensor, x: Tensor | None = None) -> Tensor:
        """Latents [..., latent] -> [..., d_out].  `x`, the input, is needed where the output depends on it."""
        out = linear(latents, self.w_dec, self.b_dec)
        if x is None:
            if self.w_skip is not None or self.undoes:
                raise ValueError("this dictionary's output depends on its input, not on its latents alone")
            return out
        return self.put_out(out, x)

    def beside(self, x: Tensor) -> Tensor:
        """What is put out for input x beside the latents' writes: [..., d_out]."""
        return self.put_out(self.b_dec.expand(*x.shape[:-1], -1), x)

    def put_out(self, decoded: Tensor, x: Tensor) -> Tensor:
        """A decoded vector as it is written for input x: [..., d_out]."""
        if self.undoes:
            mean, _, factor = scales(self.normalization, x)
            decoded = decoded * factor + mean
        return decoded if self.w_skip is None else decoded + x @ self.w_skip

    def factor(self, x: Tensor) -> Tensor:
        """What each latent's decoder row is multiplied by when it is written for input x: [..., 1]."""
        return (
            scales(self.normalization, x).factor if self.undoes else x.new_ones(()).expand(*x.shape[:-1], 1)
        )

    @property
    def undoes(self) -> bool:
        """Whether the input's normalisation is undone in the output."""
        return self.normalization is not Normalization.NONE and not self.transcodes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [..., d_in] -> what is put out [..., d_out], and the latents [..., latent]."""
        latents = self.encode(x)
        return self.decode(latents, x), latents

    def to(self, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "Autoencoder":
        """The same elsewhere, or in another dtype; tensors that are there already are shared."""

        def moved(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=dtype)

        changes: dict[str, Any] = {
            name: moved(x) for name, x in self.tensors().items() if name not in ("threshold", "density")
        }
        if isinstance(self.nonlinearity, JumpRelu):
            changes["nonlinearity"] = JumpRelu(moved(self.nonlinearity.threshold))
        return replace(self, **changes)

    def in_columns(self) -> "Autoencoder":
        """The same with the encoder's weights of each latent side by side in memory: a prompt is encoded faster so.

        Above COPIED it stays as it is, so that a file that is mapped is not read whole.
        """
        if self.w_enc.T.is_contiguous() or self.w_enc.nbytes > COPIED:
            return self
        return replace(self, w_enc=self.w_enc.T.contiguous().T)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name, in the file's words."""
        found = {"w_enc": self.w_enc, "b_enc": self.b_enc, "w_dec": self.w_dec, "b_dec": self.b_dec}
        if self.w_skip is not None:
            found["w_skip"] = self.w_skip
        if isinstance(self.nonlinearity, JumpRelu):
            found["threshold"] = self.nonlinearity.threshold
        if self.density is not None:
            found["density"] = self.density
        return found


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias in one pass over the result: x [..., in], weight [in, out] -> [..., out]."""
    return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], weight.shape[1])


def _check(given: Autoencoder) -> None:
    if given.w_enc.ndim != 2 or given.w_dec.ndim != 2:
        raise ValueError("w_enc and w_dec are matrices: [d_in, latent] and [latent, d_out]")
    d_in, n_latent = given.w_enc.shape
    d_out = given.w_dec.shape[1]
    wanted = {
        "b_enc": (n_latent,),
        "w_dec": (n_latent, d_out),
        "b_dec": (d_out,),
        "w_skip": (d_in, d_out),
        "threshold": (n_latent,),
        "density": (n_latent,),
    }
    for name, tensor in given.tensors().items():
        shape = wanted.get(name, tensor.shape)
        if tensor.shape != shape:
            raise ValueError(f"{name} is {list(tensor.shape)}: {list(shape)} was expected beside w_enc")
    if isinstance(given.nonlinearity, TopK) and not 0 < given.nonlinearity.k <= n_latent:
        raise ValueError(f"k is {given.nonlinearity.k}: from 1 to the {n_latent} latents was expected")
    if not given.transcodes and d_in != d_out:
        raise ValueError(f"an autoencoder of {given.reads[0]} reads {d_in} numbers and puts out {d_out}")
    if given.pre_bias and given.transcodes:
        raise ValueError("a transcoder has no bias to subtract from its input: b_dec is of its output")
