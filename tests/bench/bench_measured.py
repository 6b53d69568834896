"""Sweeps of exact edits on GPT-2 small: 144 heads ablated, `resid_pre` patched at each layer and token.

Against the floor, and against running each edit whole or TransformerLens where it is installed somewhere.  The runs
that are edited and patched from are at hand before a clock starts, on every side.

    python tests/bench/bench_measured.py [--device cuda] [--threads N] [--rounds N] [--peer PYTHON]
"""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch

from model.components import Component, Kind
from model.edits.interventions import Ablate
from model.gpt2 import GPT2
from model.measured.replay import measure
from model.measured.scorers import metric_scorer
from model.measured.sweeps import patch_residuals
from model.metrics import Metric, Quantity
from model.trace import Trace, metric_value, record
from model.weights import save_model
from tests.bench.floors import floor_of, head_flops, product, residual_flops
from tests.bench.measuring import (
    JOHN,
    MARY,
    PROMPT,
    PROMPT_B,
    SMALL,
    Row,
    Work,
    here,
    in_turn,
    over,
    random_small,
    scaled,
    table,
)
from tests.bench.peers import TransformerLens
from tests.sessions import write_vocabulary

METRIC = Metric(Quantity.LOGIT_DIFF, (MARY,), (JOHN,), len(PROMPT) - 1)
HEADS = [
    Ablate(Component(Kind.HEAD, layer, head))
    for layer in range(SMALL.n_layer)
    for head in range(SMALL.n_head)
]
OTHER = (50256, *(token + 1 for token in PROMPT_B[1:]))
"A prompt B that differs everywhere, so that no patch changes nothing."


def replayed_heads(model: GPT2, run: Trace) -> list[float]:
    found = dict(measure(model, run, metric_scorer(model, METRIC), HEADS))
    return [found[at] for at in range(len(HEADS))]


def whole_heads(model: GPT2) -> list[float]:
    return [metric_value(model, record(model, PROMPT, (edit,)), METRIC) for edit in HEADS]


def replayed_residual(model: GPT2, run: Trace, other: Trace) -> list[float]:
    found = patch_residuals(model, run, other, metric_scorer(model, METRIC))
    return [value for *_, value in sorted(found)]


def main() -> None:
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = random_small()
    with tempfile.TemporaryDirectory() as kept:
        peer = None
        if args.peer:
            save_model(model, Path(kept))
            write_vocabulary(Path(kept))
            peer = TransformerLens(args.peer, Path(kept), torch.get_num_threads())
        with peer or nullcontext():
            model.to(args.device)
            heads(model, peer, args.rounds)
            for name, other, first in (
                ("every token differs", OTHER, 1),
                ("one token differs", PROMPT_B, 10),
            ):
                residual(model, peer, args.rounds, name, other, first)


def heads(model: GPT2, peer: TransformerLens | None, rounds: int) -> None:
    run = record(model, PROMPT)
    works: dict[str, Work] = {"ours": here(lambda: replayed_heads(model, run)), "product": product()}
    works |= {"whole": here(lambda: whole_heads(model))} if peer is None else {}
    works |= {"peer": lambda: peer.sweep("heads", PROMPT)} if peer else {}
    show(f"ablate each of 144 heads, {len(PROMPT)} tokens", works, rounds, head_flops(len(PROMPT)), peer)
    worst = difference(
        replayed_heads(model, run), whole_heads(model) if peer is None else peer.values["heads"]
    )
    print(f"  largest difference {worst:.1e}\n")


def residual(
    model: GPT2, peer: TransformerLens | None, rounds: int, name: str, other: tuple[int, ...], first: int
) -> None:
    run, there = record(model, PROMPT), record(model, other)
    works: dict[str, Work] = {
        "ours": here(lambda: replayed_residual(model, run, there)),
        "product": product(),
    }
    works |= {"peer": lambda: peer.sweep("residual", PROMPT, other)} if peer else {}
    title = f"patch resid_pre, {SMALL.n_layer} x {len(PROMPT)}, {name}"
    show(title, works, rounds, residual_flops(len(PROMPT), differing=first), peer)
    if peer:
        worst = difference(replayed_residual(model, run, there), peer.values["residual"])
        print(f"  largest difference {worst:.1e}\n")


def show(title: str, works: dict[str, Work], rounds: int, flops: int, peer: TransformerLens | None) -> None:
    took = in_turn(works, rounds)
    ours, floor = took["ours"], scaled(took["product"], floor_of(flops))
    rows = [Row("replayed after the edit, batched", ours, None)]
    rows.append(
        Row(f"floor: {flops / 1e9:.0f} GFLOP as one product takes them; ours / it", floor, over(ours, floor))
    )
    if "whole" in took:
        rows.append(Row("one run an edit; it / ours", took["whole"], over(took["whole"], ours)))
    if peer:
        rows.append(
            Row(
                f"TransformerLens {peer.version}, its own loop; it / ours",
                took["peer"],
                over(took["peer"], ours),
            )
        )
    print(table(title, rows), flush=True)


def difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has transformer_lens")
    return parser.parse_args()


if __name__ == "__main__":
    main()
