"""What the programs that train and evaluate bundled models have in common: how they are asked, and how they end."""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

Act = Callable[[argparse.Namespace], int]
"""What a command does; the exit code."""


def demo_parser(
    name: str, about: str | None, bundled: Path, train: Act, evaluate: Act
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """`train --out DIR [--resume]` and `evaluate [DIR] [--card]`: all of it, and `train`, which may have more."""
    top = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    top.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use (default 2)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="train from scratch, with checkpoints, then evaluate")
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result goes")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    training.set_defaults(run=train)
    evaluating = commands.add_parser("evaluate", help="print the table that the card has")
    evaluating.add_argument("directory", type=Path, nargs="?", default=bundled, metavar="DIR")
    evaluating.add_argument("--card", action="store_true", help="write the card into DIR as README.md")
    evaluating.set_defaults(run=evaluate)
    return top, training


def carried_out(parser: argparse.ArgumentParser) -> int:
    """Do what the command line says: the exit code.  What goes wrong ends the program with one sentence."""
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        parser.exit(1, f"demo: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "demo: interrupted\n")
