"""One question about one run: the metric, or a frame of tracing.  Its rows, their books, and measured effects."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from model.components import Node
from model.edits.met import as_met
from model.effects import attribution, embeddings
from model.effects.attribution import Gradients, Treatment
from model.effects.latents import GROUPS as DICTIONARY_GROUPS
from model.effects.latents import dictionary_tables, in_use, replaced_rows, stands_for
from model.lens import residuals
from model.measured.scorers import Scorer
from model.nodes import NodeTable, joined
from model.sites import Hook, Site, Where
from model.targets import Target
from model.upstream.branches import Branch
from model.upstream.tree import Pruning, tree
from tdb_tui import lines
from tdb_tui.effects import Effect, Effects, Progress, Run
from tdb_tui.measurements import Measured
from tdb_tui.opened import Inside, open_line

PARTITION = ("embed", "head", "mlp", "bias")
"Kinds whose direct effects, together, are what is asked about."

MAX_ROWS = 2_000_000
"Above this no table is made of all rows: 130 MB of columns."

BLOCK = 125_000
"About as many rows are made at a time where there are more than that."

LONG = ("pair", "neuron")
"Kinds of which there can be too many for one table."


TABLES = 160 << 20
"Bytes of tables kept: two of a million rows, and many of one token."


class Sized(Protocol):
    """What knows how many bytes it holds."""

    @property
    def nbytes(self) -> int: ...


Big = TypeVar("Big", bound=Sized)


@dataclass(frozen=True, slots=True)
class Balance:
    """Direct effects added up, in the target's unit; `difference` is sum - target and should print as 0."""

    rows: float
    biases: float
    rest: float
    "Of the nodes that are not among the rows."
    target: float

    @property
    def sum(self) -> float:
        return self.rows + self.biases + self.rest

    @property
    def difference(self) -> float:
        return self.sum - self.target


@dataclass(eq=False)
class Asked:
    """Holds no state but what it has already computed."""

    run: Run
    target: Target
    scorer: Scorer
    treatment: Treatment
    moved: Callable[[int], Scorer] | None
    "What reads it at another token than its own, for the lens: a metric can be read there, a frame cannot."
    _tables: dict[tuple[str, tuple[int, ...] | None], NodeTable] = field(default_factory=dict)
    _lenses: dict[tuple[int, ...], NDArray[np.float64]] = field(default_factory=dict)
    _inside: dict[tuple[int, tuple[int, ...], int, frozenset[str]], Inside] = field(default_factory=dict)
    _trees: dict[Pruning, Branch] = field(default_factory=dict)
    _kept: dict[str, tuple[Hashable, Sized]] = field(default_factory=dict)
    _known: Mapping[Effect, Measured] = field(default_factory=lambda: {each: Measured() for each in Effect})
    "What has been measured, and is kept for longer than this question."

    @property
    def value(self) -> float:
        """What is asked about, in its unit."""
        return self.target.value

    @cached_property
    def gradients(self) -> Gradients:
        run = self.run
        return attribution.gradients(
            run.model, run.trace, self.target, run.sources, self.treatment, also=run.also
        )

    @property
    def positions(self) -> tuple[int, ...]:
        """The tokens that the target reads."""
        return self.scorer.positions

    def table(self, group: str, positions: Sequence[int] | None = None) -> NodeTable:
        """Every node of a kind (`embed wte wpe head pair attn mlp neuron bias`), or those at `positions` only.

        `latent` and `error` are those of every dictionary that is loaded.
        """
        if group in DICTIONARY_GROUPS:
            return self.of_dictionaries(group, tuple(self.run.trace.dictionaries), positions)
        key = (group, None if positions is None else tuple(positions))
        if key not in self._tables:
            self._tables[key] = self._make_table(group, positions)
            self._forget()
        return self._tables[key]

    def _forget(self) -> None:
        """The first tables go where there are too many: one for each token of a long prompt would be all."""
        while len(self._tables) > 1 and sum(each.nbytes for each in self._tables.values()) > TABLES:
            del self._tables[next(iter(self._tables))]

    def kept(self, key: tuple[str, *tuple[Hashable, ...]], make: Callable[[], Big]) -> Big:
        """What was made for this key, or made now: of keys that begin with the same word, the last one's is kept."""
        if key[0] not in self._kept or self._kept[key[0]][0] != key:
            self._kept.pop(key[0], None)  # its memory is free before the new one takes its own
            self._kept[key[0]] = key, make()
        return self._kept[key[0]][1]  # pyright: ignore[reportReturnType]

    @property
    def nbytes(self) -> int:
        """What has been computed so far: gradients, tables and orders."""
        by = self.__dict__.get("gradients")
        held = 0 if by is None else sum(each.nbytes for each in (by.direct, by.embed, by.mid, by.post))
        return held + sum(
            each.nbytes for each in (*self._tables.values(), *(big for _, big in self._kept.values()))
        )

    def _make_table(self, group: str, positions: Sequence[int] | None) -> NodeTable:
        args = self.run.model, self.run.trace, self.gradients
        many: dict[str, Callable[..., NodeTable]] = {
            "pair": attribution.pair_table,
            "neuron": attribution.neuron_table,
        }
        if group in many:
            return many[group](*args, positions)
        table = {
            "embed": attribution.embed_table,
            "wte": embeddings.token_table,
            "wpe": embeddings.position_table,
            "head": attribution.head_table,
            "attn": attribution.attn_table,
            "mlp": attribution.mlp_table,
            "bias": attribution.bias_table,
        }[group](*args)
        return table if positions is None else table.at(positions)

    def blocks(self, groups: Sequence[str]) -> list[range]:
        """Tokens, a few at a time, whose rows are one table where all would be too many."""
        length = len(self.run.trace.tokens)
        step = max(1, BLOCK * length // max(1, sum(map(self.rows_of, groups))))
        return [range(first, min(first + step, length)) for first in range(0, length, step)]

    def block(self, groups: Sequence[str], positions: Sequence[int]) -> NodeTable:
        """Every node of some kinds at some tokens, not kept."""
        self.run.also(Site.RESID_PRE, 0, self.gradients.embed)  # may raise to stop
        few = [group not in LONG for group in groups]
        return joined(
            [
                self.table(group).at(positions) if short else self._make_table(group, positions)
                for group, short in zip(groups, few, strict=True)
            ]
        )

    def block_of_dictionaries(
        self, places: tuple[Where, ...], positions: Sequence[int]
    ) -> Mapping[str, NodeTable]:
        """Rows of dictionaries at some tokens, by group, not kept."""
        return dictionary_tables(self.run.model, self.run.trace, self.gradients, places, positions)

    def of_dictionaries(
        self, group: str, places: tuple[Where, ...], positions: Sequence[int] | None = None
    ) -> NodeTable:
        """Latents, errors or what stands beside (`latent error beside`) of dictionaries, each place's rows kept."""
        found: list[NodeTable] = [NodeTable.empty()]
        for at in places:
            key = f"{group} {at[0]}.{at[1]}", None if positions is None else tuple(positions)
            if key not in self._tables:
                made = dictionary_tables(self.run.model, self.run.trace, self.gradients, [at], positions)
                self._tables |= {(f"{each} {at[0]}.{at[1]}", key[1]): table for each, table in made.items()}
            found.append(self._tables[key])
        self._forget()
        return joined(found)

    def in_use(self, letters: Collection[str]) -> tuple[Where, ...]:
        """The dictionaries of these letters that can stand in other parts' places, none of them twice."""
        return in_use(self.run.trace, letters, self.target.line, self.target.latent)

    def rows_of(self, group: str) -> int:
        """How many rows a kind's table has over every token."""
        config, t = self.run.model.config, len(self.run.trace.tokens)
        return {
            "pair": config.n_layer * config.n_head * t * (t + 1) // 2,
            "neuron": config.n_layer * config.d_mlp * t,
            "latent": sum(each.n_latent for each in self.run.trace.dictionaries.values()) * t // 8,
            "error": len(self.run.trace.dictionaries) * t,
        }.get(group, config.n_layer * config.n_head * t)

    @cached_property
    def partition(self) -> NodeTable:
        return joined([self.table(group) for group in PARTITION])

    def partition_with(self, places: tuple[Where, ...]) -> NodeTable:
        """The same with dictionaries' rows in the places of what they take apart."""
        if not places:
            return self.partition
        plain = self.partition.take(~stands_for(self.partition, places))
        whole = replaced_rows(self.run.trace, self.gradients, places)
        return joined([plain, whole, *(self.of_dictionaries(group, places) for group in DICTIONARY_GROUPS)])

    def balance(self, shown: NodeTable, places: tuple[Where, ...] = ()) -> Balance:
        """The books of a table: its rows, every bias, and whatever it leaves out.

        With dictionaries in use at `places`, their rows are on the books and not those of what they take apart.
        """
        partition = self.partition_with(places)
        bias = partition.is_bias()
        rows = float(shown.direct[~shown.is_bias()].sum())
        return Balance(
            rows=rows,
            biases=float(partition.direct[bias].sum()),
            rest=float(partition.direct[~bias].sum()) - rows,
            target=self.target.value,
        )

    def balance_of_groups(self, direct: float, inside: float, places: tuple[Where, ...] = ()) -> Balance:
        """The books of groups: biases that are in a group are among the rows, and not among the biases.

        `direct` is what their direct effects add up to, `inside` what biases have of it; `places` as for `balance`.
        """
        partition = self.partition_with(places)
        bias = partition.is_bias()
        return Balance(
            rows=direct,
            biases=float(partition.direct[bias].sum()) - inside,
            rest=float(partition.direct[~bias].sum()) - (direct - inside),
            target=self.target.value,
        )

    def effects(self, effect: Effect) -> Effects:
        """What is measured, one way of editing nodes."""
        return Effects(self.run, self.scorer, effect, self._known[effect])

    def measured(self, table: NodeTable, effect: Effect = Effect.ABLATED) -> NDArray[np.float64]:
        """Target minus target with each row's node edited, where that has been measured, else NaN: [row]."""
        return self.effects(effect).of(table)

    def measure(self, nodes: Sequence[Node], effect: Effect = Effect.ABLATED) -> Iterator[Progress]:
        """Edit each node and run again what comes after it; what is known is not measured again."""
        return self.effects(effect).measure(nodes)

    @property
    def known(self) -> int:
        """How many effects have been measured: what has been shown of them is old when this has grown."""
        return sum(map(len, self._known.values()))

    def through_lens(self, pos: int | None = None) -> NDArray[np.float64]:
        """The target after each line, as if what follows were left out; after what reads it, it stays: [line].

        The metric can be read at another token, `pos`.
        """
        scorer = self._at(pos)
        if scorer.positions not in self._lenses:
            self._lenses[scorer.positions] = self._through(scorer)
        return self._lenses[scorer.positions]

    def deltas(self, pos: int | None = None) -> NDArray[np.float64]:
        """What each line adds to the target through the lens, the first to nothing: [line]."""
        return np.diff(self.through_lens(pos), prepend=0.0)

    def inside(self, line: int, pos: int, most: int = 25, letters: frozenset[str] = frozenset()) -> Inside:
        """The parts of an attention or MLP line and how each moves the target through the lens.

        Latents where a dictionary of these `letters` takes the line apart.
        """
        scorer = self._at(pos)
        key = line, scorer.positions, most, letters
        if key not in self._inside:
            run = self.run
            part = lines.component(line, run.model.config.n_layer)
            self._inside[key] = open_line(run.model, run.trace, scorer, self.gradients, part, most, letters)
        return self._inside[key]

    def upstream(self, pruning: Pruning, also: Hook | None = None) -> Branch:
        """What it was made of, and that of what: a tree.  `also` may raise to stop, in place of the run's own."""
        if pruning not in self._trees:
            run = self.run
            found = tree(run.model, run.trace, self.target, pruning, also=also or run.also)
            self._trees[pruning] = found
        return self._trees[pruning]

    def _at(self, pos: int | None) -> Scorer:
        return self.scorer if pos is None or self.moved is None else self.moved(pos)

    @torch.no_grad()
    def _through(self, scorer: Scorer) -> NDArray[np.float64]:
        n_layer = self.run.model.config.n_layer
        after = torch.stack(
            [residuals(self.run.trace, n_layer, at) for at in scorer.positions], 1
        )  # [line, read, d_model]
        at = scorer.line - 1  # where it reads, as its readers meet it
        after[at] = as_met(after[at], scorer.positions, scorer.readers, self.run.trace.added)
        values = scorer.score(after[: scorer.line], self.run.trace).double().cpu().numpy()
        return np.concatenate([values, np.full(len(after) - len(values), values[-1])])
