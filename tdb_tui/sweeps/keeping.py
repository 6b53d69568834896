"""Cells of a sweep in the journal: a session that goes on has them without measuring them again."""

import hashlib
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from model.nodes import Floats

if TYPE_CHECKING:
    from tdb_tui.session import Session

MOST = 200_000
"Cells of a sweep beyond which it is measured again: a journal is no archive."

Cells = Mapping[int, float]
"Place in the flattened values -> value."


class Written:
    """What the journal has of a sweep's values; each is written down once."""

    def __init__(self, session: "Session", key: Hashable, values: Floats) -> None:
        """`values`, [example, row, column], are given what an earlier program measured of the same."""
        self._journal = session.journal
        self._values = values.reshape(-1)
        self._name = hashlib.sha256(repr((key, values.shape)).encode("utf-8", "replace")).hexdigest()[:16]
        before = session.cells.get(self._name, {})
        places = [at for at in before if 0 <= at < self._values.size]
        missing = [at for at in places if np.isnan(self._values[at])]
        self._values[missing] = [before[at] for at in missing]
        self._known = np.zeros(self._values.size, dtype=bool)
        self._known[places] = True

    def write(self) -> None:
        """Write down what has been measured since."""
        if self._journal is None or self._values.size > MOST:
            return
        new = np.flatnonzero(~self._known & ~np.isnan(self._values))
        if len(new):
            self._known[new] = True
            self._journal.measured(self._name, new.tolist(), self._values[new].tolist())
