"""A collation under way: blocks of rows go in, and what is known of every component grows within bounded memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explanations.collation import kept as kept_rows
from explanations.collation import tallies
from explanations.collation.corpus import Row, blocks
from explanations.collation.groups import Group, places, triangle
from explanations.collation.kept import Kept
from explanations.collation.plans import Choice, Plan, hashes
from explanations.collation.reading import Mark
from explanations.collation.slots import EMPTY
from explanations.collation.tallies import Rows, Tally
from model.edits.sources import Where
from model.gpt2 import GPT2
from model.sites import Hook, Site

PENDING = 4096
"Rows whose tokens are kept before it is asked which of them are in an example."


class CollationError(ValueError):
    """A collation that cannot go on; one sentence."""


@dataclass(slots=True, eq=False)
class Collected:
    """What was found so far.  A pure function of the plan and of which blocks were read."""

    tallies: list[Tally]
    "One for each group."
    kept: Kept
    random: NDArray[np.int64]
    "Numbers of the rows of the random sample, in order of their hashes."
    done: int = 0
    "Blocks before this one have been read, as far as they are this process's."
    sequences: int = 0
    tokens: int = 0
    pending: list[Row] = field(default_factory=list[Row])
    mark: Mark = field(default_factory=Mark)
    "Where reading goes on."


class Collector:
    """Runs blocks of rows through a model.  `start` is the token that the model reads before each row, if any."""

    def __init__(self, model: GPT2, groups: Sequence[Group], plan: Plan, start: int | None) -> None:
        room = model.config.n_ctx - (start is not None)
        if plan.length > room:
            raise CollationError(f"rows of {plan.length} tokens are too long: this model reads {room}")
        self.model, self.groups, self.plan, self.start = model, groups, plan, start
        self.device = model.wte.weight.device
        self._stop = 1 + max(layer for group in groups for _, layer in group.reads)

    def nothing(self) -> Collected:
        plan = self.plan
        found: list[Tally] = []
        for group in self.groups:
            [width] = places([plan.length], group.pairs)
            found.append(tallies.new_tally(len(group.nodes), width, plan.top, plan.active, self.device))
        return Collected(found, kept_rows.of_rows([], plan.length), np.zeros(0, np.int64))

    def add(self, collected: Collected, block: Sequence[Row]) -> None:
        """Run a block and count it; a `collected` that this was interrupted in is of no more use.

        Raises CollationError for activations that are not finite.
        """
        numbers = np.array([row.number for row in block], np.int64)
        rows = self._rows(numbers)
        lengths = [len(row.tokens) for row in block]

        def count(at: int, acts: Tensor) -> None:
            group = self.groups[at]
            try:
                tallies.add(collected.tallies[at], acts, places(lengths, group.pairs), rows)
            except ArithmeticError as error:
                raise CollationError(
                    f"{error} in {group.nodes[0]} and its like: try another --dtype"
                ) from error

        self.watch(block, count)
        collected.sequences += len(block)
        collected.tokens += sum(lengths)
        self._remember(collected, block, numbers)

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        seed = self.plan.seed
        counted = np.flatnonzero(hashes(seed, Choice.HISTOGRAM, numbers) % self.plan.every == 0)
        active = torch.tensor(hashes(seed, Choice.ACTIVE, numbers), device=self.device)
        return Rows(torch.tensor(numbers, device=self.device), active, counted.tolist())

    @torch.no_grad()
    def watch(self, block: Sequence[Row], see: Callable[[int, Tensor], None]) -> None:
        """Run a block; `see` gets each group's number and its activations [row, place, index], in the pass's order."""
        self.model.layers(self.model.embed(self._ids(block)), self._hook(see), stop=self._stop)

    def _hook(self, see: Callable[[int, Tensor], None]) -> Hook:
        acts: dict[Where, Tensor] = {}
        wanted = {at for group in self.groups for at in group.reads}

        def hook(site: Site, layer: int, x: Tensor) -> Tensor:
            if (site, layer) in wanted:
                acts[site, layer] = x
                for number, group in enumerate(self.groups):
                    if group.reads[-1] == (site, layer):
                        see(number, self._counted(group, group.activations(acts)))
                for at in [at for at in acts if at[1] < layer]:
                    del acts[at]
            return x

        return hook

    def _counted(self, group: Group, acts: Tensor) -> Tensor:
        """Without what the model reads before a row; pairs laid out as a lower triangle: [row, place, index]."""
        first = int(self.start is not None)
        if not group.pairs:
            return acts[:, first:]
        square = acts[:, :, first:, first:]  # [row, head, query, key]
        length = square.shape[-1]
        pairs = triangle(length, self.device)
        return square.flatten(2)[:, :, pairs].transpose(1, 2)

    def _ids(self, block: Sequence[Row]) -> Tensor:
        """[row, pos]; what fills up short rows comes after all that counts."""
        longest = max(len(row.tokens) for row in block)
        start = [] if self.start is None else [self.start]
        filled = [[*start, *row.tokens, *([0] * (longest - len(row.tokens)))] for row in block]
        return torch.tensor(filled, device=self.device)

    def _remember(self, collected: Collected, block: Sequence[Row], numbers: NDArray[np.int64]) -> None:
        collected.random = self._sample(np.concatenate([collected.random, numbers]))
        collected.pending += block
        if len(collected.pending) >= PENDING:
            self.settle(collected)

    def _sample(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The random sample of all rows."""
        numbers = np.unique(numbers)
        order = np.argsort(hashes(self.plan.seed, Choice.RANDOM, numbers), kind="stable")
        return numbers[order[: self.plan.random]]

    def settle(self, collected: Collected) -> None:
        """Forget rows that are in no example."""
        rows = kept_rows.joined(collected.kept, kept_rows.of_rows(collected.pending, self.plan.length))
        collected.kept, collected.pending = kept_rows.only(rows, self._used(collected)), []

    def _used(self, collected: Collected) -> NDArray[np.int64]:
        found = [collected.random]
        for tally in collected.tallies:
            for slots in (tally.top, tally.active):
                found.append(torch.unique(slots.rows[slots.keys != EMPTY]).cpu().numpy())
        return np.unique(np.concatenate(found))

    def merged(self, one: Collected, other: Collected) -> Collected:
        """What two processes found in different blocks of one corpus."""
        both = Collected(
            [tallies.merged(mine, theirs) for mine, theirs in zip(one.tallies, other.tallies, strict=True)],
            kept_rows.joined(one.kept, other.kept),
            self._sample(np.concatenate([one.random, other.random])),
            max(one.done, other.done),
            one.sequences + other.sequences,
            one.tokens + other.tokens,
            one.pending + other.pending,
        )
        self.settle(both)
        return both


@dataclass(frozen=True, slots=True)
class Share:
    """Which blocks are a process's: every `world`-th, from its rank on."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    blocks: int
    "Read so far by this process."
    tokens: int


def collect(
    collector: Collector, collected: Collected, rows: Iterable[Row], share: Share = Share()
) -> Iterator[Progress]:
    """Read what is left of a corpus, one block at a time; between two of them the state may be saved.

    `rows` may begin anywhere before what is left.  Raises CorpusError and CollationError.
    """
    size, first = collector.plan.batch, collected.done
    rest = dropwhile(lambda row: row.number < first * size, rows)
    for number, block in enumerate(blocks(rest, size), first):
        if number % share.world != share.rank:
            continue
        collector.add(collected, block)
        collected.done = number + 1
        yield Progress(collected.done, collected.tokens)
