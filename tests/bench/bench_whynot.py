"""`why not` on GPT-2 small: the search for the nodes that turn an answer over, against as many whole passes.

python tests/bench/bench_whynot.py [--rounds N] [--limit N]
"""

import argparse

from model.components import Component, Kind
from model.edits.interventions import Patch, Sources, Span
from model.measured.flips import Flip, smallest_flip
from model.metrics import Metric, Quantity
from model.trace import record
from tests.bench.measuring import JOHN, MARY, PROMPT, PROMPT_B, SMALL, here, in_turn, random_small

END = len(PROMPT) - 1
METRIC = Metric(Quantity.LOGIT_DIFF, (MARY,), (JOHN,), END)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=3)
    args = parser.parse_args()
    model, at = random_small(), Span(END, END)
    run, sources = record(model, PROMPT), Sources(other=record(model, PROMPT_B))
    heads = [
        Component(Kind.HEAD, layer, head) for layer in range(SMALL.n_layer) for head in range(SMALL.n_head)
    ]
    candidates = [Patch(head, at, at) for head in heads]
    measured: list[int] = []

    def searched() -> Flip:
        measured.clear()
        search = smallest_flip(model, run, METRIC, candidates, sources, limit=args.limit)
        while True:
            try:
                next(search)
                measured.append(1)
            except StopIteration as stop:
                return stop.value

    def passed() -> object:
        return record(model, PROMPT)

    took = in_turn({"why not": here(searched), "a whole pass": here(passed)}, args.rounds)
    search, whole = took["why not"], took["a whole pass"]
    print(f"{len(candidates)} heads at the end, at most {args.limit} members: {len(measured)} runs measured")
    print(f"why not {search.wall:.2f} s, a whole pass {whole.wall:.3f} s")
    print(f"a measured run takes {search.wall / len(measured) / whole.wall:.2f} of a whole pass")


if __name__ == "__main__":
    main()
