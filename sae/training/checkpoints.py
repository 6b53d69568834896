"""Training, kept: everything that a step depends on, in one safetensors file, so that a resumed run is the same run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae.training.learner import Learner, assemble
from sae.training.plan import Plan, Target

SCHEMA = "tdb-tui/sae-checkpoint/1"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class ResumeError(ValueError):
    """A checkpoint that training can't go on from; one sentence."""


def save_checkpoint(learners: Sequence[Learner], plan: Plan, step: int, data: str, path: Path) -> None:
    """Write the state after `step` steps, whole or not at all; `data` names what was trained on."""
    tensors = {
        f"{learner.target.name}/{name}": x.detach().cpu().contiguous()
        for learner in learners
        for name, x in _state(learner).items()
    }
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(
            tensors, part, metadata={"schema": SCHEMA, "plan": repr(plan), "data": data, "step": str(step)}
        )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(
    targets: Sequence[Target], plan: Plan, data: str, path: Path, device: torch.device
) -> tuple[list[Learner], int]:
    """The learners as they were, and how many steps had been taken.

    Raises ResumeError where there is no checkpoint, or it is of another plan, other data or other dictionaries.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            said = file.metadata() or {}
            # copied, to lie in memory as they did: sums over unaligned rows are rounded otherwise
            tensors = {name: file.get_tensor(name).clone().to(device) for name in list(file.keys())}
    except FileNotFoundError:
        raise ResumeError(f"{path.parent} has no checkpoint to go on from: train without --resume") from None
    except (SafetensorError, OSError) as error:
        raise ResumeError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    if said.get("schema") != SCHEMA:
        raise ResumeError(f"{path} is no checkpoint of this version ({SCHEMA} was expected)")
    if said.get("plan") != repr(plan) or said.get("data") != data:
        raise ResumeError(f"{path} is of other settings or other text: resume with those it was begun with")
    names = {target.name for target in targets}
    if {name.partition("/")[0] for name in tensors} != names:
        raise ResumeError(f"{path} is of other dictionaries than {', '.join(sorted(names))}")
    return [_learner(target, tensors) for target in targets], int(said["step"])


def _state(learner: Learner) -> dict[str, Tensor]:
    found = dict(learner.weights)
    for name, weight in learner.weights.items():
        found |= {f"{moment}.{name}": learner.optimizer.state[weight][moment] for moment in MOMENTS}
    numbers = [learner.scale_in, learner.scale_out, learner.counted]
    return found | {
        "silent": learner.silent,
        "least": learner.least,
        "counts": learner.counts,
        "numbers": torch.tensor(numbers, dtype=torch.float64),
    }


def _learner(target: Target, tensors: Mapping[str, Tensor]) -> Learner:
    """The learner of a target out of a checkpoint's tensors."""
    own = {name.partition("/")[2]: x for name, x in tensors.items() if name.partition("/")[0] == target.name}
    names = [name for name in own if f"exp_avg.{name}" in own]
    order = ["w_enc", "b_enc", "w_dec", "b_dec", "log_threshold"]
    scale_in, scale_out, counted = own["numbers"].tolist()
    learner = assemble(
        target, {name: own[name] for name in sorted(names, key=order.index)}, scale_in, scale_out
    )
    for name, weight in learner.weights.items():
        learner.optimizer.state[weight] = {
            moment: own[f"{moment}.{name}"].cpu() if moment == "step" else own[f"{moment}.{name}"]
            for moment in MOMENTS
        }
    learner.silent, learner.least, learner.counts = own["silent"], own["least"], own["counts"]
    learner.counted = int(counted)
    return learner
