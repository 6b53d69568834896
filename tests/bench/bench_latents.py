"""Encoding against one matrix product of the same size, and the node table of GPT-2 small with twelve SAEs.

python tests/bench/bench_latents.py [--threads N] [--rounds N] [--latents N] [--shared]
"""

import argparse
from dataclasses import replace

import torch

from model.dictionaries import Dictionaries
from model.edits.interventions import Sources
from model.effects import attribution
from model.effects.latents import dictionary_tables
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import record
from sae.autoencoder import Autoencoder
from sae.nonlinearities import Relu, TopK
from tests.bench.bench_node_table import METRIC, TABLES, every_row
from tests.bench.measuring import PROMPT, Row, here, in_turn, over, random_small, table

ROWS, WIDTH, D_MODEL = 512, 32_768, 768


def random_sae(layer: int, n_latent: int, k: int = 32) -> Autoencoder:
    generator = torch.Generator().manual_seed(layer)
    w_dec = torch.nn.functional.normalize(torch.randn(n_latent, D_MODEL, generator=generator), dim=1)
    at = Site.MLP_OUT, layer
    bias = torch.zeros(D_MODEL)
    return Autoencoder(w_dec.T.contiguous(), torch.zeros(n_latent), w_dec, bias, at, at, TopK(k))


def twelve(n_latent: int, shared: bool) -> Dictionaries:
    """One at every layer, as a session keeps them."""
    found = [random_sae(layer, n_latent).in_columns() for layer in range(1 if shared else 12)]
    places = [(Site.MLP_OUT, layer) for layer in range(12)]
    return {at: replace(found[at[1] % len(found)], reads=at, writes=at) for at in places}


def with_saes(model: GPT2, saes: Dictionaries) -> int:
    """The whole table, and a row for every active latent, error and bias of the SAEs: how many."""
    given = Sources(dictionaries=saes)
    trace = record(model, PROMPT, (), given)
    by = attribution.gradients(model, trace, METRIC, given)
    plain = sum(len(make(model, trace, by)) for make in TABLES)
    return plain + sum(map(len, dictionary_tables(model, trace, by, tuple(saes)).values()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latents", type=int, default=WIDTH)
    parser.add_argument(
        "--shared", action="store_true", help="one SAE's weights at every layer, where twelve would not fit"
    )
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    x, relu = torch.randn(ROWS, D_MODEL), random_sae(0, WIDTH)
    relu = Autoencoder(relu.w_enc, relu.b_enc, relu.w_dec, relu.b_dec, relu.reads, relu.writes, Relu())
    model = random_small()
    saes: Dictionaries = {
        (Site.MLP_OUT, layer): random_sae(layer, args.latents).in_columns() for layer in range(12)
    }
    works = {
        "encode": here(lambda: relu.encode(x)),
        "matmul": here(lambda: x @ relu.w_enc),
        "plain": here(lambda: every_row(model)),
        "saes": here(lambda: with_saes(model, saes)),
    }
    with torch.no_grad():
        took = in_turn(works, args.rounds)
        counted = with_saes(model, saes)
    rows = [
        Row(f"encode {ROWS} tokens, {WIDTH:,} latents", took["encode"]),
        Row(
            "one matrix product of that size; ours / it", took["matmul"], over(took["encode"], took["matmul"])
        ),
        Row(f"node table with 12 SAEs of {args.latents:,}: {counted:,} rows", took["saes"]),
        Row("node table without; ours / it", took["plain"], over(took["saes"], took["plain"])),
    ]
    print(table(f"dictionaries, {len(PROMPT)} tokens in the table", rows))


if __name__ == "__main__":
    main()
