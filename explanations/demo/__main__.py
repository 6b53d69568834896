"""Make the demo model's store: `python -m explanations.demo [--out FILE]`."""

import argparse
import sys
from pathlib import Path

import torch

from explanations.demo import STORE
from explanations.demo.making import KEPT, collated, explained, thinned
from explanations.writing import finish

DOCUMENTS = 2500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m explanations.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=STORE, metavar="FILE", help="where the store goes")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, metavar="N", help="how much text")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    part = arguments.out.with_name(f"{arguments.out.name}.part")
    part.unlink(missing_ok=True)
    for said in collated(part, arguments.documents):
        show(said)
    for said in explained(part):
        show(said)
    thinned(part, KEPT)
    finish(part)
    part.replace(arguments.out)
    print(f"\n{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return 0


def show(said: str) -> None:
    print(f"\r{said}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
