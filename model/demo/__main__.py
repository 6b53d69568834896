"""Train the demo model, or evaluate it: `python -m model.demo train --out DIR`, `python -m model.demo evaluate`."""

import argparse
import sys
import time
from pathlib import Path

import torch

from model.demo.report import evaluate
from model.demo.train import Plan, train

PLAN = Plan()
BUNDLED = Path(__file__).parent / "gpt2-demo"


def main() -> int:
    arguments = parser().parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m model.demo", description=__doc__)
    top.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use (default 2)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="train from scratch, with checkpoints, then evaluate")
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the model goes")
    training.add_argument("--seed", type=int, default=PLAN.seed, metavar="N")
    training.add_argument("--steps", type=int, default=PLAN.steps, metavar="N")
    training.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default=PLAN.dtype, help="of matrix products"
    )
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    training.set_defaults(run=run_training)
    evaluating = commands.add_parser("evaluate", help="print the table of held-out tasks and the circuit")
    evaluating.add_argument("directory", type=Path, nargs="?", default=BUNDLED, metavar="DIR")
    evaluating.add_argument("--card", action="store_true", help="write the card into DIR as README.md")
    evaluating.set_defaults(run=run_evaluation)
    return top


def run_training(arguments: argparse.Namespace) -> int:
    plan = Plan(seed=arguments.seed, steps=arguments.steps, dtype=arguments.dtype)
    began = time.monotonic()
    for progress in train(plan, arguments.out, arguments.resume):
        if progress.step % 10 == 0 or progress.step == progress.steps:
            minutes = (time.monotonic() - began) / 60
            print(
                f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  guide {progress.guide:.3f}  "
                f"rivals {progress.rivals:.3f}  learning rate {progress.learning_rate:.1e}  {minutes:.1f} min",
                flush=True,
            )
    return report(arguments.out, plan.seed, write_card=True)


def run_evaluation(arguments: argparse.Namespace) -> int:
    return report(arguments.directory, PLAN.seed, arguments.card)


def report(directory: Path, seed: int, write_card: bool) -> int:
    """Print what was measured; 1 if a task is below its bar."""
    measured = evaluate(directory, f"python -m model.demo train --out DIR --seed {seed}")
    print(measured.card)
    if write_card:
        (directory / "README.md").write_text(measured.card, encoding="utf-8")
    for task in measured.failing:
        print(
            f"demo: {task.name} is right on {task.accuracy:.1%} of the prompts, which is too few",
            file=sys.stderr,
        )
    return 1 if measured.failing else 0


if __name__ == "__main__":
    raise SystemExit(main())
