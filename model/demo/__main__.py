"""Train the demo model, or evaluate it: `python -m model.demo train --out DIR`, `python -m model.demo evaluate`."""

import argparse
import sys
import time
from pathlib import Path

from model.demo.program import carried_out, demo_parser
from model.demo.report import evaluate
from model.demo.train import Plan, train

PLAN = Plan()
BUNDLED = Path(__file__).parent / "gpt2-demo"


def main() -> int:
    parser, training = demo_parser("model.demo", __doc__, BUNDLED, run_training, run_evaluation)
    training.add_argument("--seed", type=int, default=PLAN.seed, metavar="N")
    training.add_argument("--steps", type=int, default=PLAN.steps, metavar="N")
    training.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default=PLAN.dtype, help="of matrix products"
    )
    return carried_out(parser)


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
