"""One dictionary while it is trained: its weights, its optimizer, and what is known of its latents."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from sae.activations import Batch
from sae.autoencoder import Autoencoder
from sae.seeds import generator
from sae.training.losses import squared_error
from sae.training.plan import Plan, Target

START = 0.1
"""Where learnt thresholds begin, in the scale of training."""
EPS = 1e-9
"""Adam's: gradients of latents that are rarely active are small."""


@dataclass(slots=True, eq=False)
class Learner:
    """What training changes as it goes.  Inputs and outputs are multiplied by a scale first; see `losses`."""

    target: Target
    weights: dict[str, Tensor]
    """`w_enc` [latent, d_in], `b_enc` [latent], `w_dec` [latent, d_out], `b_dec` [d_out], `log_threshold` [latent].

    The encoder lies with a row a latent, so that few of them are found side by side.
    """
    optimizer: torch.optim.Adam
    scale_in: float
    scale_out: float
    silent: Tensor
    """[latent] activations since each was last active."""
    least: Tensor
    """[] float64: the running mean of a batch's least active latent."""
    counts: Tensor
    """[latent] float64: how often each was active in the counted steps."""
    counted: int = field(default=0)
    """Activations in those."""

    @property
    def threshold(self) -> Tensor:
        """[latent], positive."""
        return self.weights["log_threshold"].exp()

    @property
    def ties_bias(self) -> bool:
        """Whether the output's bias is subtracted from the input: in autoencoders, not in transcoders."""
        return self.target.reads == self.target.writes

    def pre_activations(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """Scaled inputs [row, d_in] -> [row, latent], of `latents` alone where given."""
        w_enc, b_enc = self.weights["w_enc"], self.weights["b_enc"]
        if latents is not None:
            w_enc, b_enc = w_enc[latents], b_enc[latents]
        return F.linear(self.centred(x), w_enc, b_enc)

    def each_own(self, x: Tensor, latents: Tensor) -> Tensor:
        """Pre-activations of each row's own latents [row, k]: [row, k]."""
        rows = F.embedding(latents, self.weights["w_enc"])  # [row, k, d_in]
        return (rows * self.centred(x)[:, None, :]).sum(-1) + self.weights["b_enc"][latents]

    def centred(self, x: Tensor) -> Tensor:
        return x - self.weights["b_dec"] if self.ties_bias else x

    def scaled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows of a batch that are read and those that should be put out, in the scale of training."""
        dtype = self.weights["w_enc"].dtype
        x = batch[self.target.reads].to(dtype) * self.scale_in
        return x, x if self.ties_bias else batch[self.target.writes].to(dtype) * self.scale_out


def new_learner(target: Target, plan: Plan, sample: Batch, number: int = 0) -> Learner:
    """A dictionary to begin with: random directions, the encoder the decoder's transpose, and biases from a sample.

    The bias of the output is the geometric median of the sample's; that of a transcoder's encoder takes the input's
    centre away.  `number` tells dictionaries of one training apart.
    """
    x, y = sample[target.reads].float(), sample[target.writes].float()
    centre_in, scale_in = centre_and_scale(x)
    centre_out, scale_out = centre_and_scale(y)
    rng = generator("directions", plan.seed, number)
    w_enc = F.normalize(torch.randn(plan.n_latent, x.shape[1], generator=rng), dim=1).to(x.device)
    if target.reads == target.writes:
        w_dec, b_enc = w_enc.clone(), torch.zeros(plan.n_latent, device=x.device)
    else:
        w_dec = torch.randn(plan.n_latent, y.shape[1], generator=rng).to(x.device)
        w_dec, b_enc = F.normalize(w_dec, dim=1), -w_enc @ (centre_in * scale_in)
    weights = {
        "w_enc": w_enc,
        "b_enc": b_enc,
        "w_dec": w_dec,
        "b_dec": centre_out * scale_out,
        "log_threshold": torch.full_like(b_enc, START).log(),
    }
    return assemble(target, weights, scale_in, scale_out)


def assemble(target: Target, weights: dict[str, Tensor], scale_in: float, scale_out: float) -> Learner:
    """A learner of these weights that has seen nothing."""
    for weight in weights.values():
        weight.requires_grad_()
    latents = weights["b_enc"].detach()
    optimizer = torch.optim.Adam(weights.values(), eps=EPS, foreach=False)
    silent = torch.zeros_like(latents, dtype=torch.int64)
    least, counts = latents.new_zeros((), dtype=torch.float64), torch.zeros_like(latents, dtype=torch.float64)
    return Learner(target, weights, optimizer, scale_in, scale_out, silent, least, counts)


def centre_and_scale(x: Tensor) -> tuple[Tensor, float]:
    """The geometric median of rows [row, d] -> [d], and what makes their mean squared distance from it 1."""
    centre = geometric_median(x)
    spread = squared_error(centre.expand_as(x), x).mean().sqrt().item()
    return centre, 1 / spread if spread > 0 else 1.0


def geometric_median(x: Tensor, rounds: int = 50) -> Tensor:
    """The point of least summed distance from the rows [row, d] -> [d]; a few far ones move it little.

    Weiszfeld 1937: a weighted mean, again and again, each row weighted by the inverse of its distance.
    """
    centre = x.mean(0)
    for _ in range(rounds):
        weight = 1 / (x - centre).norm(dim=1).clamp_min(1e-6)
        centre = (weight[:, None] * x).sum(0) / weight.sum()
    return centre


def as_autoencoder(learner: Learner, plan: Plan, drop_after: int = 0) -> Autoencoder:
    """The dictionary as it is now, on raw activations: the scales are folded in, decoder rows keep their norm of 1.

    With `drop_after`, without the latents that have been silent for so many activations; the others do what they did.
    """
    kept = learner.silent < drop_after if drop_after else torch.ones_like(learner.silent, dtype=torch.bool)
    w = {name: x.detach() if name == "b_dec" else x.detach()[kept] for name, x in learner.weights.items()}
    out = learner.scale_out
    least = float(learner.least) / out
    learnt = w["log_threshold"].exp() / out
    density = (learner.counts[kept] / learner.counted).float() if learner.counted else None
    return Autoencoder(
        w_enc=w["w_enc"].T.contiguous() * (learner.scale_in / out),
        b_enc=w["b_enc"] / out,
        w_dec=w["w_dec"].clone(),
        b_dec=w["b_dec"] / out,
        reads=learner.target.reads,
        writes=learner.target.writes,
        nonlinearity=plan.rule.trained(least, learnt),
        pre_bias=learner.ties_bias,
        density=density,
    )
