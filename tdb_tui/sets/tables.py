"""Tables over the prompt set: a number of every example under each name, for mean, spread and sign."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.about.roles import on_prompt
from model.components import Component
from model.sets.prompts import OTHER, Encoded
from model.sets.statistics import Summary
from model.sets.tables import laid_out, summary_of_present
from tdb_tui import lines
from tdb_tui.asked import Balance
from tdb_tui.errors import CommandError
from tdb_tui.scope import value_of
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.prompt_sets import each_example, encode_all

Floats = NDArray[np.float64]
Read = Callable[[Snapshot, Encoded], Mapping[str, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Named numbers of all examples, in the order in which to show them."""

    names: tuple[str, ...]
    values: Floats
    "[example, row], NaN where the example has no such row."
    metric: Floats
    "[example]"
    fields: Sequence[Mapping[str, object]] = ()
    "What else names a row, for programs."
    balance: Balance | None = None
    "Of mean direct effects against the mean metric."

    def summary(self, resamples: int, seed: int) -> Summary:
        return summary_of_present(self.values, resamples=resamples, seed=seed)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Rows":
        """Those rows, in that order."""
        chosen = [int(row) for row in rows]
        fields = [self.fields[row] for row in chosen] if self.fields else ()
        return replace(
            self, names=tuple(self.names[row] for row in chosen), values=self.values[:, chosen], fields=fields
        )

    def ranked(self) -> "Rows":
        """Largest absolute mean first, ties as they were."""
        return self.take(np.argsort(-np.abs(self.means), kind="stable"))

    def of_metric(self) -> "Rows":
        """The metric alone."""
        return Rows(("metric",), self.metric[:, None], self.metric)

    @property
    def means(self) -> Floats:
        """[row]"""
        return np.nanmean(self.values, axis=0) if len(self.names) else np.zeros(0)


def gathered(session: Session, read: Read, counterfactuals: bool = False) -> Rows:
    """What `read` says of each example, under the edits in force; `counterfactuals` are run too if wanted.

    Raises CommandError where it says nothing.
    """
    found: list[Mapping[str, float]] = []
    metric: list[float] = []
    with closing(each_example(session, counterfactuals)) as run:
        for example in encode_all(session):
            snapshot = next(run)
            try:
                said = read(snapshot, example)
            except CommandError as error:
                error.message = f"example {len(found) + 1}: {error.message}" if found else error.message
                raise
            found.append({name: value for name, value in said.items() if value == value})
            metric.append(snapshot.now.value)
            del snapshot  # its run, before the next one is made
    return as_rows(found, metric)


def as_rows(found: Sequence[Mapping[str, float]], metric: Sequence[float]) -> Rows:
    """Named numbers of every example.  Raises CommandError where there are none."""
    names, values = laid_out(found)
    if not names:
        raise CommandError("no example has such a number: prompts lists the set and its roles", "bad-role")
    return Rows(names, values, np.array(metric))


def metric_rows(session: Session) -> Rows:
    return gathered(session, lambda snapshot, _: {"metric": snapshot.now.value})


def lens_rows(session: Session, role: str, deltas: bool) -> Rows:
    """The metric through the lens after each line, or what each line adds to it, at the token with a role."""

    def read(snapshot: Snapshot, example: Encoded) -> Mapping[str, float]:
        if role not in example.roles:
            return {}
        values = (snapshot.now.deltas if deltas else snapshot.now.lens_values)(example.roles[role])
        return {lines.name(line, snapshot.n_layer): float(value) for line, value in enumerate(values)}

    return gathered(session, read)


def attn_rows(session: Session, head: Component, role: str) -> Rows:
    """What a head's query at a role gives to the keys of each role; the rest goes to `other`."""

    def read(snapshot: Snapshot, example: Encoded) -> Mapping[str, float]:
        if role not in example.roles:
            return {}
        query = example.roles[role]
        name = {pos: key for key, pos in example.roles.items()}
        sums: dict[str, float] = {}
        for key, weight in enumerate(snapshot.now.pattern(head)[query][: query + 1]):
            at = f"{head}@{role}<{name.get(key, OTHER)}"
            sums[at] = sums.get(at, 0.0) + float(weight)
        return sums

    return gathered(session, read).ranked()


def role_rows(session: Session, only: Component | None) -> Rows:
    """Every head's role scores on each prompt, as `roles` has them."""

    def read(snapshot: Snapshot, _: Encoded) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for role, each in on_prompt(snapshot.now.model, snapshot.now.trace).scores.items():
            for (layer, index), score in np.ndenumerate(each.score):
                if only is None or (layer, index) == (only.layer, only.index):
                    found[f"L{layer}H{index} {role.value}"] = float(score)
        return found

    return gathered(session, read).ranked()


def value_rows(session: Session, expression: str) -> Rows:
    """An expression's value in every example; true is 1."""

    def read(snapshot: Snapshot, _: Encoded) -> Mapping[str, float]:
        value = value_of(snapshot, expression)
        if isinstance(value, str):
            raise CommandError(f"{expression} is text: a number has a mean", code="bad-expression")
        return {expression: float(value)}

    return gathered(session, read)
