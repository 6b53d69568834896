"""Sweeps of patches on GPT-2 small: each of 144 heads, their inputs and patterns, and layer x token.

Against the floor, and against TransformerLens's `get_act_patch_*` where it is installed somewhere.  Both runs are at
hand before a clock starts, on every side; the values must agree.

    python tests/bench/bench_sweeps.py [--device cuda] [--threads N] [--rounds N] [--peer PYTHON]
"""

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from model.components import Component, Kind
from model.edits.interventions import Patch, Sources, Span
from model.gpt2 import GPT2
from model.measured.scorers import metric_scorer
from model.measured.sweeps import BY_HEAD, BY_LAYER, Axis, Grid, Spot, Spots, by_head, by_token, measure_grid
from model.metrics import Metric, Quantity
from model.trace import Trace, record
from model.weights import save_model
from tests.bench.floors import after_flops, floor_of, product
from tests.bench.measuring import (
    JOHN,
    MARY,
    PROMPT,
    PROMPT_B,
    SMALL,
    Row,
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
OTHERS = {
    "every token differs": (50256, *(token + 1 for token in PROMPT_B[1:])),
    "one token differs": PROMPT_B,
}
LAYERS, HEADS, TOKENS = range(SMALL.n_layer), range(SMALL.n_head), range(len(PROMPT))
PATCH = Patch(Component(Kind.HEAD, 0, 0), Span(0, 0), Span(0, 0))


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    peer: str
    "What follows `get_act_patch_`."
    grid: Grid
    lines: tuple[int, ...]
    "After which line each cell's change is, cell by cell."
    firsts: tuple[int, ...] = ()
    "From which token on; none where it is the first that differs."

    def flops(self, differing: int) -> int:
        """The fewest operations, where tokens before `differing` are the same in both prompts."""
        firsts = self.firsts or (differing,) * len(self.lines)
        cells = zip(self.lines, firsts, strict=True)
        return sum(after_flops(line, first, len(PROMPT)) for line, first in cells if first >= differing)


def tasks() -> list[Task]:
    labels = tuple(map(str, TOKENS))
    every = Spot("", tuple(TOKENS), tuple(TOKENS), whole=True)
    each = Spots(labels, tuple(Spot(label, (pos,), (pos,)) for pos, label in enumerate(labels)))
    rows, found = Axis("layer", tuple(map(str, LAYERS))), list[Task]()
    peers = {"heads": "out", "q": "q", "k": "k", "v": "v", "pattern": "pattern"}
    for name, kind in BY_HEAD.items():
        parts = [[Component(kind, layer, head) for head in HEADS] for layer in LAYERS]
        lines = tuple(1 + 2 * layer for layer in LAYERS for _ in HEADS)
        found.append(
            Task(f"{name}, 144", f"attn_head_{peers[name]}_all_pos", by_head(parts, (), every, PATCH), lines)
        )
    for name, after in {"resid_pre": 0, "resid_mid": 1, "attn_out": 1, "mlp_out": 2}.items():
        parts = [Component(BY_LAYER[name], layer) for layer in LAYERS]
        places = [(after + 2 * layer, pos) for layer in LAYERS for pos in TOKENS]
        lines, firsts = zip(*places, strict=True)
        grid = by_token(rows, parts, each, PATCH)
        found.append(Task(f"{name}, {SMALL.n_layer} x {len(PROMPT)}", name, grid, lines, firsts))
    return found


def swept(model: GPT2, run: Trace, other: Trace, task: Task) -> list[float]:
    found = measure_grid(model, run, metric_scorer(model, METRIC), task.grid, Sources(other=other))
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
            run, others = (
                record(model, PROMPT),
                {name: record(model, other) for name, other in OTHERS.items()},
            )
            for task in tasks():
                if args.only in ("", task.name.partition(",")[0]):
                    compare(model, peer, args.rounds, task, run, others)


def compare(
    model: GPT2,
    peer: TransformerLens | None,
    rounds: int,
    task: Task,
    run: Trace,
    others: Mapping[str, Trace],
) -> None:
    for name, other in others.items():
        works = {"ours": here(lambda other=other: swept(model, run, other, task)), "product": product()}
        if peer:
            works["peer"] = lambda name=name: peer.sweep(task.peer, PROMPT, OTHERS[name])
        took = in_turn(works, rounds)
        flops = task.flops(next(pos for pos in TOKENS if PROMPT[pos] != OTHERS[name][pos]))
        ours, floor = took["ours"], scaled(took["product"], floor_of(flops))
        rows = [
            Row("replayed after the patch, batched", ours, None),
            Row(
                f"floor: {flops / 1e9:.0f} GFLOP as one product takes them; ours / it",
                floor,
                over(ours, floor),
            ),
        ]
        if peer:
            title = f"TransformerLens {peer.version}, get_act_patch_{task.peer}; it / ours"
            rows.append(Row(title, took["peer"], over(took["peer"], ours)))
        print(table(f"patch {task.name}, {name}", rows), flush=True)
        if peer:
            found = swept(model, run, other, task)
            worst = max(abs(a - b) for a, b in zip(found, peer.values[task.peer], strict=True))
            print(f"  largest difference {worst:.1e}\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch's own number if left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="heads, q, k, v, pattern, resid_pre, ...")
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has transformer_lens")
    return parser.parse_args()


if __name__ == "__main__":
    main()
