"""Collating every neuron, head and MLP of GPT-2 small, against the bare pass over the same blocks, and its floor.

python tests/bench/bench_collate.py [--device cuda] [--threads N] [--rounds N] [--warm N] [--layers N]
                                    [--text FILE... --vocabulary DIRECTORY [--whole]]

The bare pass goes through all layers without a hook and leaves the unembedding out.  A collation keeps finding better
examples at first and seldom later: `--warm` blocks are collated before the clock starts, or with `--whole` a corpus is
collated from its first block to its last, and every tenth block bare as well.  The bar is 85 % of the bare pass's
tokens a second.  Layers cost the same: fewer of them (`--layers 2`) give the same ratio sooner.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from explanations.collation.collecting import Collector
from explanations.collation.corpus import Row, blocks
from explanations.collation.groups import model_groups
from explanations.collation.plans import Plan
from explanations.collation.reading import Rows
from model.gpt2 import GPT2, Config
from model.tokenizer import load_tokenizer
from tdb_tui.machine.memory import keep_freed_memory
from tests.bench.floors import floor_of, product
from tests.bench.measuring import SMALL, Took, Work, here, in_turn, over, random_small, scaled, table
from tests.bench.measuring import Row as Line

BAR = 0.85
END_OF_TEXT = SMALL.n_vocab - 1
BARE_EVERY = 10
"Blocks, where a whole corpus is collated."


def zipfian(length: int) -> Iterator[Row]:
    """Rows of tokens as frequent as words are."""
    random = np.random.default_rng(0)
    number = 0
    while True:
        tokens = np.minimum(random.zipf(1.2, length), END_OF_TEXT) - 1
        yield Row(number, tuple(tokens.tolist()), 0, 0, number * length)
        number += 1


def of_text(paths: list[Path], vocabulary: Path, length: int) -> Iterator[Row]:
    tokenizer = load_tokenizer(vocabulary)
    return Rows(paths, "text", lambda text: tokenizer.encode(text, special=False), length)


def collating(
    collector: Collector, stream: Iterator[tuple[Row, ...]], warm: int
) -> tuple[Work, Callable[[], tuple[Row, ...]]]:
    """Collate the next block; and the block that was collated last."""
    collected = collector.nothing()
    for block in islice(stream, warm):
        collector.add(collected, block)
    last: list[tuple[Row, ...]] = [()]

    def add() -> None:
        last[0] = next(stream)
        collector.add(collected, last[0])

    return here(add), lambda: last[0]


def bare(model: GPT2, block: Callable[[], tuple[Row, ...]], device: torch.device) -> Work:
    @torch.no_grad()
    def run() -> None:
        ids = torch.tensor([[END_OF_TEXT, *row.tokens] for row in block()], device=device)
        model.layers(model.embed(ids))
        if device.type == "cuda":
            torch.cuda.synchronize()

    return here(run)


def over_all(collate: Work, pass_: Work, one_product: Work) -> dict[str, Took]:
    """Means of a block: of all until there are no more, and of the other works beside every few of them."""
    found: dict[str, list[Took]] = {"collate": [], "bare": [], "product": []}
    while True:
        try:
            found["collate"].append(collate())
        except StopIteration:
            return {name: mean(each) for name, each in found.items()}
        if len(found["collate"]) % BARE_EVERY == 1:
            found["bare"].append(pass_())
            found["product"].append(one_product())


def mean(took: list[Took]) -> Took:
    return Took(sum(each.wall for each in took) / len(took), sum(each.cpu for each in took) / len(took))


def flops(tokens: int, length: int, config: Config) -> int:
    """The layers' products over so many tokens in rows of `length` and the token before them."""
    d, with_start = config.d_model, length + 1
    a_token = 2 * (4 * d * d + 2 * d * config.d_mlp) + 2 * d * (with_start + 1)
    return config.n_layer * a_token * tokens * with_start // length


def report(plan: Plan, config: Config, took: dict[str, Took], device: str) -> str:
    tokens = plan.batch * plan.length
    floor = scaled(took["product"], floor_of(flops(tokens, plan.length, config)))
    ratio = over(took["bare"], took["collate"])
    lines = [
        Line(f"collating a block of {tokens:,} tokens", took["collate"]),
        Line("the bare pass over it; it / collating", took["bare"], ratio),
        Line("the floor of its products; it / collating", floor, over(floor, took["collate"])),
    ]
    title = f"collating all neurons, heads and MLPs of GPT-2 small, {config.n_layer} layers, {device}"
    rate = tokens / took["collate"].wall
    verdict = "holds" if ratio.cpu >= BAR else "does not hold"
    said = f"  {rate:,.0f} tokens/s, {ratio.wall:.0%} of the bare pass by the clock, {ratio.cpu:.0%} by processor time: "
    return f"{table(title, lines)}\n{said}{BAR:.0%} {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm", type=int, default=20, help="blocks collated before the clock starts")
    parser.add_argument("--layers", type=int, default=SMALL.n_layer)
    parser.add_argument("--text", type=Path, nargs="+", help="a corpus; without: words drawn at random")
    parser.add_argument(
        "--whole", action="store_true", help="of the text: every block, none before the clock"
    )
    parser.add_argument("--vocabulary", type=Path, help="GPT-2's, for --text")
    parser.add_argument("--batch", type=int, default=Plan().batch)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    plan, device = Plan(batch=args.batch), torch.device(args.device)
    config = replace(SMALL, n_layer=args.layers)
    model = random_small(config=config).to(device)
    keep_freed_memory()  # as the program does
    stream = of_text(args.text, args.vocabulary, plan.length) if args.text else zipfian(plan.length)
    full = (
        block for block in blocks(stream, plan.batch) if all(len(row.tokens) == plan.length for row in block)
    )
    collector = Collector(model, model_groups(model), plan, END_OF_TEXT)
    collate, last = collating(collector, full, 0 if args.whole else args.warm)
    works = {"collate": collate, "bare": bare(model, last, device), "product": product()}
    took = over_all(*works.values()) if args.whole else in_turn(works, args.rounds)
    print(report(plan, config, took, args.device))


if __name__ == "__main__":
    main()
