"""The whole node table of GPT-2 small on the README's prompt, against one forward plus one backward of the model.

python tests/bench/bench_node_table.py [--device cuda] [--threads N] [--rounds N]
"""

import argparse

import torch

from model.effects import attribution
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.trace import record
from tests.bench.measuring import JOHN, MARY, PROMPT, Row, here, in_turn, over, random_small, table

METRIC = Metric(Quantity.LOGIT_DIFF, (MARY,), (JOHN,), len(PROMPT) - 1)
TABLES = (
    attribution.embed_table,
    attribution.head_table,
    attribution.pair_table,
    attribution.mlp_table,
    attribution.neuron_table,
    attribution.bias_table,
)


def passes(model: GPT2) -> None:
    """Forward, every token's logits over the whole vocabulary, and backward to the embeddings."""
    tokens = torch.tensor([PROMPT], device=model.wte.weight.device)
    resid = model.embed(tokens).detach().requires_grad_()
    logits = model.unembed(model.final_norm(model.layers(resid)))
    METRIC.of(logits[0, -1]).backward()


def scored_passes(model: GPT2) -> None:
    """The same, with the logits of the two tokens that are asked about and no other."""
    tokens = torch.tensor([PROMPT], device=model.wte.weight.device)
    resid = model.embed(tokens).detach().requires_grad_()
    METRIC.of_normed(model.final_norm(model.layers(resid))[0, -1], model.unembedding).backward()


def every_row(model: GPT2) -> int:
    """A recorded run, its gradients, and a row for every node: how many."""
    trace = record(model, PROMPT)
    by = attribution.gradients(model, trace, METRIC)
    return sum(len(make(model, trace, by)) for make in TABLES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = random_small().to(args.device)
    works = {
        "whole": here(lambda: every_row(model)),
        "passes": here(lambda: passes(model)),
        "scored": here(lambda: scored_passes(model)),
    }
    took = in_turn(works, args.rounds)
    rows = [
        Row(f"run, gradients and {every_row(model):,} rows", took["whole"]),
        Row("one forward and one backward; ours / it", took["passes"], over(took["whole"], took["passes"])),
        Row("the same, scored logits only; ours / it", took["scored"], over(took["whole"], took["scored"])),
    ]
    print(table(f"node table, {len(PROMPT)} tokens, {args.device}", rows))


if __name__ == "__main__":
    main()
