"""The nodes of all prompts of a set, laid over each other by role or by component."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.components import Kind, Node
from model.edits.interventions import Ablate, Change, Patch, Span
from model.measured.replay import measure
from model.nodes import KINDS, NONE, NodeTable, joined
from model.sets.prompts import Encoded
from model.sets.tables import SetTable, laid_over
from tdb_tui.asked import MAX_ROWS, PARTITION, Balance
from tdb_tui.errors import CommandError
from tdb_tui.session import Session, Snapshot
from tdb_tui.sets.prompt_sets import each_example, encode_all
from tdb_tui.sets.tables import Rows, gathered

MOST_MEASURED = 400_000
MEASURED, PATCHED = "measured", "patched"
COLUMNS = {"total": "total", "direct": "direct", "norm": "write_norm", "act": "act"}
BY = ("total", "direct", MEASURED, PATCHED, "norm", "act")
"What `by` takes; all but measured effects are columns of the node table."
EMBEDS = {Kind.TOKEN_EMBED: "wte", Kind.POS_EMBED: "wpe"}


@dataclass(frozen=True, slots=True)
class View:
    """Which nodes of every example are laid over each other, and by which measure."""

    kinds: tuple[str, ...]
    by: str
    role: str | None = None
    "Only nodes at the token with this role."
    sign: str = ""
    whole: bool = False
    "A component's nodes at all tokens added up, in place of one row a role."


def node_rows(session: Session, view: View) -> Rows:
    """Nodes by role, or components, ranked by a mean measure.  Raises CommandError."""
    found = _measured(session, view) if view.by in (MEASURED, PATCHED) else _tabled(session, view)
    if view.role is not None and not found.names:
        raise CommandError(f"no example has {view.role}: prompts lists the set and its roles", "bad-role")
    if view.sign:
        found = found.take(np.flatnonzero(found.means > 0 if view.sign == "+" else found.means < 0))
    return found.ranked()


def _tabled(session: Session, view: View) -> Rows:
    examples = encode_all(session)
    laid = [replace(each, roles={}) for each in examples] if view.whole else examples
    metric: list[float] = []

    def found() -> Iterator[tuple[NodeTable, float]]:
        for example in examples:
            snapshot = next(run)
            metric.append(snapshot.now.value)
            nodes, value = _nodes(snapshot, example, view), snapshot.now.asked().value
            del snapshot  # its run, before the next one is made
            yield nodes, value

    with closing(each_example(session)) as run:
        over = laid_over(session.engine.info.config, laid, found())
        try:
            while True:
                next(over)
        except StopIteration as end:
            table: SetTable = end.value
        except ValueError as error:
            raise CommandError(str(error), code="too-many") from None
    rows = np.flatnonzero(_of_kinds(table.nodes, view.kinds) & _at_role(table, view.role))
    fields = [_named(table, int(row), view) for row in rows]
    return Rows(
        tuple(str(each["row"]) for each in fields),
        table.values[COLUMNS[view.by]][:, rows],
        np.array(metric),
        fields,
        _balance(table, rows),
    )


def _nodes(snapshot: Snapshot, example: Encoded, view: View) -> NodeTable:
    """Every write once, and what else was asked for, where it was asked for."""
    asked = snapshot.now.asked()
    more = [kind for kind in view.kinds if kind not in PARTITION]
    if view.role is not None:
        here = [example.roles[view.role]] if view.role in example.roles else []
        return joined([asked.partition, *(asked.table(kind, here) for kind in more if here)])
    count = sum(asked.rows_of(kind) for kind in more)
    if count > MAX_ROWS:
        raise CommandError(f"{count:,} nodes an example are too many: give a token (@END)", code="too-many")
    return joined([asked.partition, *(asked.table(kind) for kind in more)])


def _of_kinds(nodes: NodeTable, kinds: Sequence[str]) -> NDArray[np.bool_]:
    """Rows of those kinds (`embed wte wpe head pair attn mlp neuron bias`)."""
    pair = nodes.key != NONE
    codes = [code for code, kind in enumerate(KINDS) if EMBEDS.get(kind, kind.group) in kinds]
    return (pair if "pair" in kinds else np.zeros_like(pair)) | (np.isin(nodes.kind, codes) & ~pair)


def _at_role(table: SetTable, role: str | None) -> NDArray[np.bool_]:
    if role is None:
        return np.ones(len(table), dtype=bool)
    return table.nodes.pos == (table.roles.index(role) if role in table.roles else NONE)


def _named(table: SetTable, row: int, view: View) -> dict[str, object]:
    node = table.nodes.node(row)
    key = None if node.key is None else table.roles[node.key]
    return _fields(node, None if view.whole else table.roles[node.pos], key)


def _fields(node: Node, role: str | None, key: str | None) -> dict[str, object]:
    """What names a row: a node by the roles of its tokens, or with none a component."""
    part = node.component
    place = ("" if role is None else f"@{role}") + ("" if key is None else f"<{key}")
    return {
        "row": f"{part}{place}",
        "kind": part.kind.group if key is None else "pair",
        "layer": part.layer if part.kind.has_layer else None,
        "index": part.index,
        "role": role,
        "key": key,
    }


def _balance(table: SetTable, rows: NDArray[np.int64]) -> Balance:
    """Each mean weighted by how many examples have the row, so that they add up to the mean of the linear metric."""
    share = table.nodes.direct * table.n / len(table.metric)
    partition = _of_kinds(table.nodes, PARTITION)
    bias = table.nodes.is_bias()
    shown = float(share[rows][~bias[rows]].sum())
    return Balance(
        rows=shown,
        biases=float(share[bias].sum()),
        rest=float(share[partition & ~bias].sum()) - shown,
        target=float(table.metric.mean()),
    )


def _measured(session: Session, view: View) -> Rows:
    """The metric minus the metric with each node ablated, or given its value in the counterfactual.

    At its role's token, or with `whole` at every token.
    """
    count, fields = len(encode_all(session)), dict[str, dict[str, object]]()

    def read(snapshot: Snapshot, example: Encoded) -> Mapping[str, float]:
        asked = snapshot.now.asked()
        edits = dict(_edits(snapshot, example, view, fields))
        if len(edits) * count > MOST_MEASURED:
            hint = "give a token (@END), per component, or a kind with fewer"
            message = f"{len(edits) * count:,} nodes are too many to measure: {hint}"
            raise CommandError(message, code="too-many")
        run, names = asked.run, list(edits)
        left = measure(run.model, run.trace, asked.scorer, list(edits.values()), run.sources, also=run.also)
        return {names[at]: snapshot.now.value - value for at, value in left}

    found = gathered(session, read, counterfactuals=view.by == PATCHED)
    return replace(found, fields=[fields[name] for name in found.names])


def _edits(
    snapshot: Snapshot, example: Encoded, view: View, fields: dict[str, dict[str, object]]
) -> Iterator[tuple[str, Change]]:
    """What is edited to measure a row, by the row's name, whose other names go into `fields`."""
    if view.by == PATCHED:
        _refuse_unpaired(example)
    asked, role = snapshot.now.asked(), {pos: name for name, pos in example.roles.items()}
    here = sorted(pos for pos, name in role.items() if view.role in (None, name))
    tables = [asked.table(kind, [0] if view.whole else here) for kind in view.kinds if here or view.whole]
    for table in tables:
        for row in range(len(table)):
            node = table.node(row)
            if node.key is not None and node.key not in role:
                continue
            named = None if view.whole else role[node.pos]
            found = _fields(node, named, None if node.key is None else role[node.key])
            fields[str(found["row"])] = found
            span = None if view.whole else Span(node.pos, node.pos)
            if view.by == PATCHED:
                span = span or Span(0, len(example.tokens) - 1)
                yield str(found["row"]), Patch(node.component, span, span, node.key, node.key)
            else:
                yield str(found["row"]), Ablate(node.component, span, node.key)


def _refuse_unpaired(example: Encoded) -> None:
    """Raises CommandError for an example that has nothing to patch from."""
    other = example.counterfactual
    if other is None:
        raise CommandError("no counterfactual: patched takes its values from one", code="bad-lengths")
    if len(other) != len(example.tokens):
        lengths = f"{len(example.tokens)} tokens and its counterfactual {len(other)}"
        raise CommandError(f"{lengths}: patched takes values token by token", code="bad-lengths")
