"""The demo model's dictionaries: `python -m sae.demo train --out DIR`, `python -m sae.demo evaluate`."""

import argparse
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from sae.demo.bundle import BUNDLED, PLAN, train_bundle
from sae.demo.card import judge_bundle, table, write_card
from sae.training.loop import Progress


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
    top = argparse.ArgumentParser(prog="python -m sae.demo", description=__doc__)
    top.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use (default 2)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="train all twelve, with checkpoints, then evaluate them")
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the dictionaries go")
    training.add_argument("--steps", type=int, default=PLAN.schedule.steps, metavar="N")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    training.set_defaults(run=run_training)
    evaluating = commands.add_parser("evaluate", help="print the table that the card has")
    evaluating.add_argument("directory", type=Path, nargs="?", default=BUNDLED, metavar="DIR")
    evaluating.add_argument("--card", action="store_true", help="write the card into DIR as README.md")
    evaluating.set_defaults(run=run_evaluation)
    return top


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
