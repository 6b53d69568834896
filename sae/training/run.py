"""A training from start to files: learners new or resumed, checkpoints on the way, dictionaries at the end."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sae.activations import Batch, Source, activations, stream
from sae.files import CHECKPOINT, save_autoencoder
from sae.training.checkpoints import load_checkpoint, save_checkpoint
from sae.training.learner import Learner, as_autoencoder, new_learner
from sae.training.loop import Progress, train
from sae.training.plan import Plan, Target
from sae.training.world import Alone, World, shards_of

SAMPLE = 8192
"""Activations by which scales and biases are set."""


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Where batches come from: a model on text, or a toy."""

    name: str
    """Says in a checkpoint what was trained on."""
    stream: Callable[[int, int, int, int], Iterator[Batch]]
    """(size, shard, shards, from which batch on) -> batches."""
    sample: Callable[[], Batch]


def model_data(source: Source, name: str) -> Data:
    """The activations of a model on a corpus."""

    def sample() -> Batch:
        return {place: x[:SAMPLE] for place, x in activations(source, 0).items()}

    return Data(name, lambda *which: stream(source, *which), sample)


def run(
    targets: Sequence[Target],
    plan: Plan,
    data: Data,
    directory: Path,
    *,
    world: World | None = None,
    resume: bool = False,
    checkpoint_every: int = 500,
    dtype: torch.dtype = torch.float32,
    drop_after: int = 0,
    notes: dict[str, Any] | None = None,
    asked_to_stop: Callable[[], bool] = lambda: False,
    suffix: str = "",
) -> Generator[Progress, None, None]:
    """Train a dictionary for each target into `directory`: `<name>.safetensors` in `dtype`, when all steps are done;
    without the latents that have then been silent for `drop_after` activations, unless that is 0.

    Where it is stopped, or abandoned between two steps, a checkpoint is left to go on from.  The process of rank 0
    writes; `suffix` keeps apart the checkpoints of processes that train dictionaries of their own.
    """
    world = world or Alone()
    directory.mkdir(parents=True, exist_ok=True)
    own = shards_of(world, plan.shards)
    path = directory / f"{CHECKPOINT}{suffix}.safetensors"
    learners, start = _begin(targets, plan, data, path, resume)
    streams = [data.stream(plan.share, shard, plan.shards, start) for shard in own]
    step = start

    def keep() -> None:
        if world.rank == 0 and step > start:
            save_checkpoint(learners, plan, step, data.name, path)

    try:
        for progress in train(learners, plan, streams, world, start, asked_to_stop):
            step = progress.step
            if step % checkpoint_every == 0 and step < plan.schedule.steps:
                keep()
            yield progress
    except GeneratorExit:
        keep()
        raise
    keep()
    if step == plan.schedule.steps and world.rank == 0:
        for learner in learners:
            made = as_autoencoder(learner, plan, drop_after).to(dtype=dtype)
            save_autoencoder(made, directory / f"{learner.target.name}.safetensors", notes)


def _begin(
    targets: Sequence[Target], plan: Plan, data: Data, path: Path, resume: bool
) -> tuple[list[Learner], int]:
    sample = data.sample()
    device = next(iter(sample.values())).device
    if resume:
        return load_checkpoint(targets, plan, data.name, path, device)
    return [new_learner(target, plan, sample, n) for n, target in enumerate(targets)], 0
