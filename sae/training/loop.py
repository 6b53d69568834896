"""The training loop: the same for every rule, one process or many."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.gpt2 import wide
from sae.activations import Batch
from sae.seeds import generator
from sae.training.dead import resample
from sae.training.learner import Learner
from sae.training.losses import aux_k, squared_error
from sae.training.plan import Plan
from sae.training.rules import Rule, TopK, lowest
from sae.training.world import World

COUNTED = 0.9
"""The share of the steps after which it is counted how often each latent is active."""
MEMORY = 0.99
"""Of the running mean of the least active latent, from step to step."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How one dictionary does on one batch."""

    name: str
    loss: float
    l0: float
    """Mean number of active latents."""
    fvu: float
    """Fraction of the batch's variance unexplained."""
    dead: int


@dataclass(frozen=True, slots=True)
class Progress:
    """One step taken."""

    step: int
    steps: int
    learning_rate: float
    figures: tuple[Figures, ...]
    stopped: bool = False
    """Whether a process was asked to stop: all of them do, after this step."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """What one dictionary makes of one shard."""

    sums: Tensor
    """Gradients in the order of the weights, then five numbers, then how often each latent was active."""
    inputs: Tensor
    error: Tensor
    """[row]"""


def train(
    learners: Sequence[Learner],
    plan: Plan,
    streams: Sequence[Iterator[Batch]],
    world: World,
    start: int = 0,
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Steps `start` and on; `streams` are those of this process's shards, from batch number `start` on.

    Ends after the last step, or after one at which any process was asked to stop.
    """
    for step in range(start, plan.schedule.steps):
        batches = [next(stream) for stream in streams]
        figures = tuple(take_step(learner, plan, batches, world, step) for learner in learners)
        device = learners[0].silent.device
        stopping = torch.full((1,), float(asked_to_stop()), device=device)
        stopped = bool(world.total([stopping] * len(streams)) > 0)
        yield Progress(step + 1, plan.schedule.steps, plan.schedule.rate(step), figures, stopped)
        if stopped:
            return


def take_step(learner: Learner, plan: Plan, batches: Sequence[Batch], world: World, step: int) -> Figures:
    """One optimizer step of one dictionary on this process's shards of a batch."""
    shards = [run_shard(learner, plan, batch, step) for batch in batches]
    total = world.total([shard.sums for shard in shards])
    gradients, (loss, error, spread, active, least), fired = split(learner, total)
    update(learner, plan, [gradient / plan.shards for gradient in gradients], step)
    note_active(learner, plan, fired, least / plan.shards, step)
    if plan.resamples(step):
        rows, errors = (torch.cat(list(x)) for x in zip(*((s.inputs, s.error) for s in shards), strict=True))
        rng = generator("resampling", plan.seed, step)
        resample(learner, rows, errors, world, plan.dead_after, rng)
    return Figures(
        learner.target.name,
        float(loss) / plan.shards,
        float(active) / plan.batch,
        float(error / spread),
        int((learner.silent >= plan.dead_after).sum()),
    )


def run_shard(learner: Learner, plan: Plan, batch: Batch, step: int) -> Shard:
    """The loss of one shard, its gradients, and what is counted."""
    x, y = learner.scaled(batch)
    w = learner.weights
    with torch.autocast(x.device.type, torch.bfloat16, enabled=plan.half):
        made = few(learner, plan.rule.k, x) if isinstance(plan.rule, TopK) else all_of(learner, plan.rule, x)
        error = squared_error(wide(made.recon), y)
        loss = error.mean() + plan.schedule.penalty(step) * made.penalty
        dead = (learner.silent >= plan.dead_after).nonzero()[:, 0]
        if plan.aux_k and len(dead):
            left = y - made.recon
            aux = aux_k(learner.pre_activations(x, dead), plan.aux_k, w["w_dec"][dead], left)
            loss = loss + plan.aux_weight * aux
    gradients = torch.autograd.grad(loss, list(w.values()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        spread = squared_error(y.mean(0).expand_as(y), y).sum()
        numbers = torch.stack([loss, error.sum(), spread, made.fired.sum(), made.least])
        sums = torch.cat([*(gradient.flatten() for gradient in gradients), numbers, made.fired])
    return Shard(sums, x, error.detach())


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a dictionary makes of a shard."""

    recon: Tensor
    """[row, d_out]"""
    penalty: Tensor
    fired: Tensor
    """[latent] on how many rows each is active."""
    least: Tensor
    """[] the least active latent."""


def all_of(learner: Learner, rule: Rule, x: Tensor) -> Made:
    """By any rule: every latent is computed, and has a gradient."""
    w, threshold = learner.weights, learner.threshold
    pre = learner.pre_activations(x)
    latents = rule.activate(pre, threshold)
    penalty = rule.penalty(pre, latents, w["w_dec"], threshold)
    fired = (latents > 0).sum(0).float()
    return Made(latents @ w["w_dec"] + w["b_dec"], penalty, fired, lowest(wide(latents.detach())))


def few(learner: Learner, k: int, x: Tensor) -> Made:
    """The same for TopK, at a fraction of the cost: only the `k` latents of each row are decoded and have gradients."""
    w = learner.weights
    with torch.no_grad():
        latents = learner.pre_activations(x).topk(k, dim=-1, sorted=False).indices  # [row, k]
    values = wide(learner.each_own(x, latents)).relu()
    recon = F.embedding_bag(latents, w["w_dec"], per_sample_weights=values, mode="sum") + w["b_dec"]
    fired = torch.bincount(latents[values > 0], minlength=len(learner.silent)).float()
    return Made(recon, x.new_zeros(()), fired, lowest(values.detach()))


def split(learner: Learner, total: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """The parts of a shard's `sums`, in their shapes."""
    weights = list(learner.weights.values())
    *flat, numbers, fired = total.split([*(w.numel() for w in weights), 5, len(learner.silent)])
    return [part.view_as(w) for part, w in zip(flat, weights, strict=True)], numbers, fired


@torch.no_grad()
def update(learner: Learner, plan: Plan, gradients: list[Tensor], step: int) -> None:
    """An Adam step that keeps decoder rows at norm 1: no gradient along them, and renormalised afterwards."""
    w = learner.weights
    for weight, gradient in zip(w.values(), gradients, strict=True):
        weight.grad = gradient.clone()
    w_dec, by_decoder = w["w_dec"], w["w_dec"].grad
    assert by_decoder is not None
    by_decoder -= (by_decoder * w_dec).sum(1, keepdim=True) * w_dec
    torch.nn.utils.clip_grad_norm_(w.values(), plan.clip)
    for group in learner.optimizer.param_groups:
        group["lr"] = plan.schedule.rate(step)
    learner.optimizer.step()
    w_dec /= w_dec.norm(dim=1, keepdim=True)


@torch.no_grad()
def note_active(learner: Learner, plan: Plan, fired: Tensor, least: Tensor, step: int) -> None:
    """Who was active in a step: fired [latent] how often, least [] the least active."""
    learner.silent = torch.where(fired > 0, 0, learner.silent + plan.batch)
    memory = MEMORY if step else 0.0
    learner.least = memory * learner.least + (1 - memory) * least.double()
    if step >= COUNTED * plan.schedule.steps:
        learner.counts += fired
        learner.counted += plan.batch
