"""What every benchmark uses: a random GPT-2 small, works timed in turn, medians, and a table with ratios.

Works that are compared are run in turn, A B C A B C, so that a machine that slows down slows all of them.  Beside
the wall clock stands processor time, which other programs on the machine disturb least; with one thread the two
ask the same.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from model.gpt2 import GPT2, Config

SMALL = Config(n_layer=12, n_head=12, d_model=768, d_mlp=3072, n_ctx=1024, n_vocab=50257)
PROMPT = (50256, 2215, 5335, 290, 1757, 1816, 284, 262, 3650, 11, 1757, 2921, 257, 4144, 284)
"`<|endoftext|>When Mary and John went to the store, John gave a drink to`"
PROMPT_B = (50256, 2215, 5335, 290, 1757, 1816, 284, 262, 3650, 11, 5335, 2921, 257, 4144, 284)
"The same, `Mary gave`."
MARY, JOHN = 5335, 1757


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds."""

    wall: float
    cpu: float
    "Of all threads of the process that did the work."


Work = Callable[[], Took]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, and whose time its own is divided by, or which of the two is asked for."""

    name: str
    took: Took
    ratio: Took | None = None
    "Times, not seconds."


def random_small(seed: int = 0, config: Config = SMALL) -> GPT2:
    """GPT-2 small's exact shapes with random weights, wanting no gradients."""
    random = torch.Generator().manual_seed(seed)
    model = GPT2(config)
    for name, parameter in model.named_parameters():
        norm = ".ln_" in name or name.startswith("ln_f")
        mean, spread = (1.0 if name.endswith("weight") else 0.0, 0.05) if norm else (0.0, 0.02)
        parameter.data.normal_(mean, spread, generator=random)
        parameter.requires_grad_(False)
    return model


def here(work: Callable[[], object]) -> Work:
    """Work of this process, timed."""

    def timed() -> Took:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return Took(time.perf_counter() - wall, time.process_time() - cpu)

    return timed


def in_turn(works: Mapping[str, Work], rounds: int) -> dict[str, Took]:
    """Medians over the rounds, after one of each that is not counted."""
    for work in works.values():
        work()
    found: dict[str, list[Took]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {name: median(each) for name, each in found.items()}


def median(found: Sequence[Took]) -> Took:
    return Took(statistics.median(each.wall for each in found), statistics.median(each.cpu for each in found))


def over(a: Took, b: Took) -> Took:
    """How many times as long `a` took."""
    return Took(a.wall / b.wall, a.cpu / b.cpu)


def scaled(took: Took, by: float) -> Took:
    return Took(took.wall * by, took.cpu * by)


def table(title: str, rows: Sequence[Row]) -> str:
    """Milliseconds by both clocks, and ratios."""
    load = os.getloadavg()[0]
    lines = [f"{title}, {torch.get_num_threads()} threads, load {load:.1f}"]
    lines.append(f"  {'':<58}{'wall':>13}{'cpu':>13}{'wall':>10}{'cpu':>10}")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio.wall:>8.2f} x{row.ratio.cpu:>8.2f} x"
        lines.append(
            f"  {row.name:<58}{row.took.wall * 1000:>10.1f} ms{row.took.cpu * 1000:>10.1f} ms{ratio}"
        )
    return "\n".join(lines)
