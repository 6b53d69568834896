"""The demo model's dictionaries: `python -m sae.demo train --out DIR`, `python -m sae.demo evaluate`."""

import argparse
import signal
import sys
import time
from dataclasses import replace

from model.demo.program import carried_out, demo_parser
from sae.demo.bundle import BUNDLED, PLAN, train_bundle
from sae.demo.card import judge_bundle, table, write_card
from sae.training.loop import Progress


def main() -> int:
    parser, training = demo_parser("sae.demo", __doc__, BUNDLED, run_training, run_evaluation)
    training.add_argument("--steps", type=int, default=PLAN.schedule.steps, metavar="N")
    return carried_out(parser)


def run_training(arguments: argparse.Namespace) -> int:
    asked: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    plan = replace(PLAN, schedule=replace(PLAN.schedule, steps=arguments.steps))
    began, progress = time.monotonic(), None
    for progress in train_bundle(plan, arguments.out, arguments.resume, lambda: bool(asked)):
        if progress.step % 10 == 0:
            print(f"{line(progress)}  {(time.monotonic() - began) / 60:.1f} min", flush=True)
    if asked:
        print(f"demo: stopped; --resume goes on from {arguments.out}", file=sys.stderr)
        return 130
    print(write_card(arguments.out))
    return 0


def line(progress: Progress) -> str:
    """Means over the dictionaries."""
    count = len(progress.figures)
    fvu = sum(figures.fvu for figures in progress.figures) / count
    l0 = sum(figures.l0 for figures in progress.figures) / count
    dead = max(figures.dead for figures in progress.figures)
    return f"step {progress.step}/{progress.steps}  FVU {fvu:.4f}  L0 {l0:.1f}  dead at most {dead}"


def run_evaluation(arguments: argparse.Namespace) -> int:
    if arguments.card:
        print(write_card(arguments.directory))
    else:
        print(table(judge_bundle(arguments.directory)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
