"""Make the demo model's store: `python -m explanations.demo [--out FILE]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch

from explanations.collation.collecting import Collector, collect
from explanations.collation.corpus import Row
from explanations.collation.finishing import write
from explanations.collation.groups import model_groups
from explanations.collation.plans import Plan
from explanations.demo import STORE
from explanations.demo.text import documents
from explanations.schema import Identity
from explanations.writing import finish, writing
from model.demo.__main__ import BUNDLED
from model.tokenizer import Tokenizer, load_tokenizer
from model.weights import load_model, model_hash

PLAN = Plan(length=48, batch=32, top=9, active=7, random=4)
DOCUMENTS, SEED = 2500, 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m explanations.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=STORE, metavar="FILE", help="where the store goes")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, metavar="N", help="how much text")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use (default 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    part = arguments.out.with_name(f"{arguments.out.name}.part")
    part.unlink(missing_ok=True)
    make(part, arguments.documents)
    finish(part)
    part.replace(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return 0


def make(path: Path, count: int) -> None:
    """Collate the demo model over `count` documents."""
    model, tokenizer = load_model(BUNDLED), load_tokenizer(BUNDLED)
    collector = Collector(model, model_groups(model), PLAN, tokenizer.eos)
    collected = collector.nothing()
    texts = [*documents(count, SEED)]
    Random(SEED).shuffle(texts)
    for progress in collect(collector, collected, iter(rows(texts, tokenizer))):
        print(f"\r{progress.tokens:,} tokens", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    corpus = {"files": [{"name": "held-out text"}], "documents": count, "seed": SEED}
    with writing(path, Identity(BUNDLED.name, model_hash(BUNDLED))) as connection:
        for _ in write(connection, collector, collected, tokenizer, corpus):
            pass


def rows(texts: Sequence[str], tokenizer: Tokenizer) -> list[Row]:
    found: list[Row] = []
    for document, text in enumerate(texts):
        tokens = tokenizer.encode(text, special=False)
        for start in range(0, len(tokens), PLAN.length):
            part = tuple(tokens[start : start + PLAN.length])
            found.append(Row(len(found), part, 0, document, start))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
