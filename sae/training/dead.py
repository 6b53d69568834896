"""Latents that have died, begun again where the dictionary reconstructs badly.

Bricken et al. 2023, "Towards Monosemanticity", appendix "Neuron Resampling".
"""

import torch
from torch import Tensor

from sae.training.learner import Learner
from sae.training.world import World

ENCODER_NORM = 0.2
"""The norm of an encoder row that begins again, as a fraction of the mean norm of the live ones."""


@torch.no_grad()
def resample(
    learner: Learner, rows: Tensor, error: Tensor, world: World, dead_after: int, rng: torch.Generator
) -> int:
    """Point each dead latent at an input drawn in proportion to its squared loss; how many there were.

    rows [row, d_in] are this process's inputs, scaled, and error [row] their squared errors.  Every process draws
    the same.  Transcoders get the input as what is read, and keep what they put out.
    """
    dead = (learner.silent >= dead_after).nonzero()[:, 0]
    every_row, loss = world.gather(rows), world.gather(error).double().cpu()
    if not len(dead) or not loss.sum() > 0:
        return 0
    drawn = torch.multinomial(loss.square(), len(dead), replacement=True, generator=rng)
    inputs = every_row[drawn.to(rows.device)]
    if learner.ties_bias:
        inputs = inputs - learner.weights["b_dec"]
    directions = inputs / inputs.norm(dim=1, keepdim=True).clamp_min(1e-12)  # [dead, d_in]
    begin_again(learner, dead, directions)
    return len(dead)


def begin_again(learner: Learner, dead: Tensor, directions: Tensor) -> None:
    """New weights for the dead latents, and no memory of the old ones in the optimizer: directions [dead, d_in]."""
    w = learner.weights
    live = torch.ones_like(learner.silent, dtype=torch.bool)
    live[dead] = False
    norm = w["w_enc"].norm(dim=1)[live].mean() if live.any() else w["w_enc"].new_ones(())
    w["w_enc"][dead] = directions * (ENCODER_NORM * norm)
    w["b_enc"][dead] = 0.0
    if learner.ties_bias:
        w["w_dec"][dead] = directions
    learner.silent[dead] = 0
    for name in ("w_enc", "b_enc", "w_dec"):
        for moment in ("exp_avg", "exp_avg_sq"):
            learner.optimizer.state[w[name]][moment][dead] = 0.0
