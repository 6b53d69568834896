"""Snapshot -> a head's attention map, or a layer's heads, read at the token cursor."""

import numpy as np

from model.components import Component, Kind
from model.nodes import Floats
from tdb_tui.formats import probability, signed
from tdb_tui.session import Snapshot
from tdb_tui.state import Weighed
from tdb_tui.tables.attention import weighed
from tdb_tui.views.data import AttentionView, HeadsView

MOST = 3


def attention(snapshot: Snapshot, head: Component) -> AttentionView:
    by, pos = snapshot.state.weighed, snapshot.state.pos
    labels = tuple(snapshot.tokenizer.display(token) for token in snapshot.state.inputs.prompt.tokens)
    config = snapshot.info.config
    if by is Weighed.LAYER:
        heads = [Component(Kind.HEAD, head.layer, index) for index in range(config.n_head)]
        values = np.stack([snapshot.now.pattern(each)[pos] for each in heads])
        rows, row = tuple(f"H{index}" for index in range(config.n_head)), head.index or 0
    else:
        values = weighed(snapshot, head, by)
        rows, row = labels, pos
    scale = 1.0 if by in (Weighed.WEIGHTS, Weighed.LAYER) else float(np.abs(values).max(initial=0.0))
    return AttentionView(
        layer=head.layer,
        index=head.index or 0,
        heads=(config.n_layer, config.n_head),
        by=by.value,
        values=values,
        scale=scale,
        labels=labels,
        rows=rows,
        row=row,
        query=pos,
        summary=_summary(values[row], labels, by),
    )


def heads(snapshot: Snapshot, head: Component) -> HeadsView:
    """Every head of the layer of the one that is shown."""
    pos, config = snapshot.state.pos, snapshot.info.config
    each = [Component(Kind.HEAD, head.layer, index) for index in range(config.n_head)]
    values = np.stack([snapshot.now.pattern(part)[pos] for part in each])
    where = "END" if pos == snapshot.state.end else str(pos)
    return HeadsView(head.layer, head.index or 0, values, pos, where)


def _summary(values: Floats, texts: tuple[str, ...], by: Weighed) -> str:
    """The keys read most: `Mary .62 · ⊢ .11`."""
    best = np.argsort(-np.abs(values), kind="stable")[:MOST]
    write = signed if by in (Weighed.VALUES, Weighed.EFFECT) else probability
    parts = [
        f"{texts[key].strip() or texts[key]} {write(float(values[key]))}"
        for key in best
        if abs(values[key]) >= 0.01
    ]
    return " · ".join(parts)
