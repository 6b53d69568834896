"""Any table over a prompt set: each example's run and table, laid over each other by component and role."""

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.effects.attribution import (
    Gradients,
    Treatment,
    bias_table,
    embed_table,
    gradients,
    head_table,
    mlp_table,
)
from model.gpt2 import GPT2, Config
from model.metrics import Metric
from model.nodes import KINDS, MOST_LATENTS, NONE, SITES, Floats, Ints, NodeTable, joined
from model.sets.prompts import OTHER, Encoded, metric_of, roles_of
from model.sets.statistics import Summary, summary
from model.sites import Hook, no_hook
from model.trace import Trace, metric_value, record

TableOf = Callable[[GPT2, Trace, Gradients], NodeTable]
Key = TypeVar("Key", bound=Hashable)
WHOLE: tuple[TableOf, ...] = (embed_table, head_table, mlp_table, bias_table)
"Every write once, so that the direct effects of an example add up to its metric."
MEASURES = ("act", "write_norm", "direct", "total")
LIMIT = 1 << 30
"Bytes of values kept; the runs themselves are let go one by one."


class Others(Enum):
    """What becomes of tokens that have no role."""

    POOL = "pool"
    "Their nodes are added up, measure by measure, under one more role: `other`."
    DROP = "drop"


@dataclass(frozen=True, slots=True, eq=False)
class SetTable:
    """Rows by component and role, of a whole set; an example that lacks a row's role does not count in that row."""

    roles: tuple[str, ...]
    nodes: NodeTable
    "Means over examples; `pos` and `key` are places in `roles`."
    values: Mapping[str, Floats]
    "Measure -> [example, row], NaN where the example has no such row."
    metric: Floats
    "Each example's metric, in its unit: [example]."

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def n(self) -> Ints:
        """How many examples have each row: [row].  Sums over a set weigh a mean by it."""
        return (~np.isnan(self.values["direct"])).sum(0)

    def name(self, row: int) -> str:
        """`L9H9@END<IO`."""
        node = self.nodes.node(row)
        key = "" if node.key is None else f"<{self.roles[node.key]}"
        return f"{node.component}@{self.roles[node.pos]}{key}"

    def summary(
        self,
        measure: str,
        rows: Sequence[int] | Ints | None = None,
        *,
        resamples: int = 1000,
        level: float = 0.95,
        seed: int = 0,
    ) -> Summary:
        """Statistics of one of MEASURES for `rows`, each over the examples that have it: fields [row]."""
        values = self.values[measure] if rows is None else self.values[measure][:, rows]
        return summary_of_present(values, resamples=resamples, level=level, seed=seed)


def summary_of_present(
    values: Floats, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Summary:
    """Statistics of each column over the examples that have it: values [example, row], NaN where absent."""
    columns = [np.zeros(values.shape[1]) for _ in range(5)]
    n = np.zeros(values.shape[1], dtype=np.int64)
    there, which = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    for pattern, present in enumerate(there.T):
        same = which.ravel() == pattern
        if not present.any():
            continue  # nobody has it: n stays 0
        part = summary(values[np.ix_(present, same)], resamples=resamples, level=level, seed=seed)
        n[same] = part.n
        for column, field in zip(columns, fields(Summary), strict=False):
            column[same] = getattr(part, field.name)
    return Summary(*columns, n=n)


def laid_out(examples: Sequence[Mapping[Key, float]]) -> tuple[tuple[Key, ...], Floats]:
    """Named numbers of each example -> the names in order of first appearance, and [example, name], NaN if absent."""
    names = tuple(dict.fromkeys(name for example in examples for name in example))
    values = [[example.get(name, np.nan) for name in names] for example in examples]
    return names, np.array(values, dtype=np.float64).reshape(len(examples), len(names))


def tables_over(
    model: GPT2,
    examples: Sequence[Encoded],
    metric_of: Callable[[Encoded], Metric] = metric_of,
    kinds: Sequence[TableOf] = WHOLE,
    others: Others = Others.POOL,
    treatment: Treatment = Treatment.TARGET,
    *,
    also: Hook = no_hook,
    limit: int = LIMIT,
) -> Generator[int, None, SetTable]:
    """Yields how many examples are done after each, and returns the table: `table = yield from tables_over(...)`.

    Each example takes one recorded run and one forward and backward pass; `also` may raise to stop them.
    Raises ValueError for an empty set, a prompt too long for the model, or more than `limit` bytes to keep.
    """
    _check(model, examples)

    def found() -> Generator[tuple[NodeTable, float]]:
        for example in examples:
            metric = metric_of(example)
            trace = record(model, example.tokens, also=also)
            by = gradients(model, trace, metric, treatment=treatment, also=also)
            yield joined([table(model, trace, by) for table in kinds]), metric_value(model, trace, metric)

    return (yield from laid_over(model.config, examples, found(), others, limit=limit))


def laid_over(
    config: Config,
    examples: Sequence[Encoded],
    found: Iterable[tuple[NodeTable, float]],
    others: Others = Others.POOL,
    *,
    limit: int = LIMIT,
) -> Generator[int, None, SetTable]:
    """The same for tables made elsewhere: `found` gives each example's nodes and its metric, in order.

    Raises ValueError for an empty set and for more than `limit` bytes to keep.
    """
    if not examples:
        raise ValueError("the set is empty: give at least one example")
    grid = _grid(config, roles_of(examples), others)
    codes: list[Ints] = []
    values: list[Floats] = []
    metrics: list[float] = []
    for done, (example, (table, metric)) in enumerate(zip(examples, found, strict=True), 1):
        code, sums = grid.sums(table, example)
        codes.append(code)
        values.append(sums)
        metrics.append(metric)
        _check_size(2 * sums.nbytes * len(examples), limit)  # as they come, and laid together
        yield done
    return _together(grid, codes, values, metrics)


def _check(model: GPT2, examples: Sequence[Encoded]) -> None:
    for number, example in enumerate(examples, 1):
        if len(example.tokens) > model.config.n_ctx:
            length = f"example {number} has {len(example.tokens)} tokens"
            raise ValueError(f"{length}: the model reads at most {model.config.n_ctx}")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        needed = f"a table over the set would keep {size / 2**20:.0f} MB"
        raise ValueError(f"{needed}: {limit / 2**20:.0f} MB hold fewer examples or kinds of nodes")


@dataclass(frozen=True, slots=True)
class _Grid:
    """One number for each (kind, dictionary, layer, index, role, key's role), and back."""

    roles: tuple[str, ...]
    named: int
    "How many of the roles are not `other`."
    shape: tuple[int, ...]

    def sums(self, table: NodeTable, example: Encoded) -> tuple[Ints, Floats]:
        """One example's rows: their numbers in order, and the measures, [measure, row]."""
        rest = self.named if len(self.roles) > self.named else NONE
        role_at = np.full(len(example.tokens) + 1, rest)
        for place, role in enumerate(self.roles[: self.named]):
            if role in example.roles:
                role_at[example.roles[role]] = place
        role_at[NONE] = NONE  # the last place, which a key of NONE points at
        role, key = role_at[table.pos], role_at[table.key]
        kept: NDArray[np.bool_] = (role != NONE) & ((key != NONE) | (table.key == NONE))
        table, role, key = table.take(kept), role[kept], key[kept]
        where = (
            table.kind.astype(np.int64),
            table.site.astype(np.int64),
            table.layer,
            table.index + 1,
            role,
            key + 1,
        )
        codes, row = np.unique(np.ravel_multi_index(where, self.shape), return_inverse=True)
        sums = [np.bincount(row, getattr(table, measure), len(codes)) for measure in MEASURES]
        return codes.astype(np.int64), np.stack(sums).astype(np.float64, copy=False)

    def nodes(self, codes: Ints, means: Sequence[Floats]) -> NodeTable:
        kind, site, layer, index, role, key = np.unravel_index(codes, self.shape)
        return NodeTable(kind.astype(np.int8), site.astype(np.int8), layer, index - 1, role, key - 1, *means)


def _grid(config: Config, roles: tuple[str, ...], others: Others) -> _Grid:
    shown = (*roles, OTHER) if others is Others.POOL else roles
    width = max(config.n_head, config.d_mlp, MOST_LATENTS)
    shape = len(KINDS), len(SITES), config.n_layer, width + 1, len(shown), len(shown) + 1
    return _Grid(shown, len(roles), shape)


def _together(
    grid: _Grid, codes: Sequence[Ints], values: Sequence[Floats], metrics: Sequence[float]
) -> SetTable:
    """Every example's rows under the union of them."""
    union = np.unique(np.concatenate(codes))
    kept = {measure: np.full((len(codes), len(union)), np.nan) for measure in MEASURES}
    for example, (found, sums) in enumerate(zip(codes, values, strict=True)):
        rows = np.searchsorted(union, found)
        for measure, row in zip(MEASURES, sums, strict=True):
            kept[measure][example, rows] = row
    means = [np.nanmean(kept[measure], axis=0) for measure in MEASURES]
    return SetTable(grid.roles, grid.nodes(union, means), MappingProxyType(kept), np.array(metrics))
