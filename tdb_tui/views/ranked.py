"""Snapshot -> the ranked components: columns and an order, however many rows there are."""

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.components import Kind, Node
from model.nodes import KINDS, NONE, NodeTable, code_of
from model.sites import Site
from tdb_tui.readings import Reading
from tdb_tui.session import Snapshot
from tdb_tui.tables import ranking
from tdb_tui.tables.estimates import disagreeing
from tdb_tui.tables.examples import scored_text
from tdb_tui.views.data import RankedView
from tdb_tui.views.scale import scale_of

SAID = 1000
"Rows at most whose explanations are looked up."


def ranked(snapshot: Snapshot) -> RankedView:
    """The ranking, with what the stores say of its first components."""
    view = _ranked(snapshot)
    nodes = dict.fromkeys(view.component(at) for at in range(min(len(view), SAID)))
    return replace(view, said={node: scored_text(best) for node, best in snapshot.best(list(nodes)).items()})


def _ranked(snapshot: Snapshot) -> RankedView:
    found = ranking.ranked(snapshot.asked, snapshot.state.rank)
    measure = found.values
    labels = position_labels(snapshot)
    where = "all pos" if found.only is None else f"@{labels[found.only]}"
    kinds = next((name for name, kinds in ranking.KINDS.items() if kinds == snapshot.state.rank.kinds), "")
    what = found.by if kinds == "components" else f"{kinds} {found.by}"
    effects = found.measured(snapshot.asked, found.here)
    known = np.full(len(found.table), np.nan)
    known[found.order] = effects
    draft = snapshot.state.draft
    scale, root = scale_of(snapshot, float(np.nan_to_num(np.abs(measure[found.order])).max(initial=0.0)))
    texts = tuple(snapshot.tokenizer.display(token) for token in snapshot.state.inputs.prompt.tokens)
    return RankedView(
        table=found.table,
        order=found.order,
        measure=measure,
        direct=found.table.direct,
        measured=known,
        marked=disagreeing(found.table, known, snapshot.asked.value),
        circuit=members(
            found.table, draft.nodes if draft and draft.is_of(snapshot.state.inputs.prompt) else ()
        ),
        reads=keys_read(snapshot.now, found.table),
        labels=labels,
        keys=texts,
        title=f"{what} · {where}" + (f" · frame {snapshot.state.frame}" if snapshot.state.frame else ""),
        by=found.by,
        start=found.start,
        of=len(found),
        scale=scale,
        root=root,
    )


def members(table: NodeTable, nodes: tuple[Node, ...]) -> NDArray[np.bool_]:
    """Rows that a circuit has; a head's row also where the circuit has one of its pairs: [row]."""
    if not nodes:
        return np.zeros(len(table), dtype=bool)
    exact = [code_of(node) for node in nodes]
    queries = [code_of(replace(node, key=None)) for node in nodes]
    codes = table.codes()
    return np.isin(codes, exact) | (np.isin(codes, queries) & (table.key == NONE))


def keys_read(reading: Reading, table: NodeTable) -> NDArray[np.int64]:
    """The key that each head's row attends to most, -1 for other kinds of nodes: [row]."""
    reads = np.full(len(table), -1)
    heads = (table.kind == KINDS.index(Kind.HEAD)) & (table.key < 0) & (table.pos >= 0)
    layers = np.unique(table.layer[heads])
    for layer in layers:
        rows = np.flatnonzero(heads & (table.layer == layer))
        best = reading.trace[Site.PATTERN, int(layer)].argmax(-1).cpu().numpy()  # [head, query]
        reads[rows] = best[table.index[rows], table.pos[rows]]
    return reads


def position_labels(snapshot: Snapshot) -> tuple[str, ...]:
    """Every position as one would type it: `END`, `Mary`, `John#2`, or its number where its text is no word."""
    texts = [snapshot.tokenizer.text(token).strip() for token in snapshot.state.inputs.prompt.tokens]
    total, seen = Counter(texts), Counter[str]()
    labels: list[str] = []
    for pos, text in enumerate(texts):
        seen[text] += 1
        many = f"#{seen[text]}" if total[text] > 1 else ""
        labels.append(f"{text}{many}" if text.isalpha() else str(pos))
    return (*labels[:-1], "END")
