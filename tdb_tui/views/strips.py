"""Snapshot -> the token-effect strips: four or five signed numbers a token, and how strongly each is shaded."""

import numpy as np
from numpy.typing import NDArray

from tdb_tui.session import Snapshot
from tdb_tui.tables.strips import EDITS, By, strips
from tdb_tui.views.data import Strip, StripsView

LEVELS = 4
CAPTIONS = {
    "embed": "embedding",
    "mlp": "MLPs",
    "query": "attention, by query",
    "key": "attention, by key",
    EDITS: "edits of the stream",
}


def token_effects(snapshot: Snapshot, by: By = "total") -> StripsView:
    """The strips of what the selected frame asks about."""
    found = strips(snapshot.asked, by)
    tokens = snapshot.state.inputs.prompt.tokens
    shown = [(name, getattr(found, name)) for name in found.names]
    return StripsView(
        texts=tuple(snapshot.tokenizer.display(token) for token in tokens),
        cursor=snapshot.state.pos,
        strips=tuple(
            Strip(name, CAPTIONS[name], tuple(values.tolist()), levels(values), float(values.sum()))
            for name, values in shown
        ),
        title=f"frame {snapshot.state.frame}" if snapshot.state.frame else by,
    )


def levels(values: NDArray[np.float64]) -> tuple[int, ...]:
    """Shading in steps of a quarter of the largest absolute value, the nearest: [pos] -> -4 to 4."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return tuple(int(step) for step in np.rint(values / largest * LEVELS))
