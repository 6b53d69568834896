"""What readers with edited edges met in a recorded run: computed when somebody looks, and not kept for all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.edge_tables import contains, left_by
from model.edits.edges import NODE_CHANGES
from model.edits.links import reading_line
from model.edits.sources import Where
from model.edits.wiring import Wiring
from model.gpt2 import wide
from model.lines import residual_site, written_on
from model.sites import Site

READERS = 8
"""That are kept."""

Added = Callable[[Component], Tensor | None]
"""What edges add to the stream that a reader alone meets, None where none do: [pos, d_model], or a batch of it."""


def as_met(
    read: Tensor, positions: Sequence[int], readers: Sequence[Component | None], added: Added
) -> Tensor:
    """What is read of the stream, with what edges add for each of its readers: [..., read, d_model] -> the same.

    `positions` are the tokens that are read, `readers` who reads, None being no part of the model.
    """
    rows: list[Tensor] = list(read.unbind(-2))
    for at, (pos, reader) in enumerate(zip(positions, readers, strict=True)):
        more = None if reader is None else added(reader)
        if more is not None:
            rows[at] = (wide(rows[at]) + more[..., pos, :]).to(read.dtype)
    return torch.stack(rows, -2)


class Met:
    """Of one run.  Any thread may read it."""

    def __init__(self, made: Wiring, acts: Mapping[Where, Tensor]) -> None:
        """`made` is the hook of the run, `acts` what was recorded of it."""
        self.wiring = replace(made, seen=lambda at: acts[at][None], held={}, into=None)
        self._acts, self._kept = acts, dict[Component, Tensor | None]()
        self._by_line: dict[Component, Mapping[int, list[tuple[NODE_CHANGES, Tensor]]]] = {}

    def added(self, reader: Component) -> Tensor | None:
        """What edges add to the stream that a reader alone meets, None where none is edited: [pos, d_model]."""
        if reader.kind is Kind.UNEMBED:
            return None  # its stream is recorded as it meets it
        if reader in self._kept:
            return self._kept[reader]
        while len(self._kept) >= READERS:
            self._kept.pop(next(iter(self._kept)), None)
        n_layer = self.wiring.model.config.n_layer
        stream = self._acts[residual_site(reading_line(reader, n_layer), n_layer)][None]
        found = replace(self.wiring).added(reader, stream)
        return self._kept.setdefault(reader, None if found is None else found[0])

    def share(self, reader: Component, part: Component, key: int | None, pos: int) -> float:
        """How much of what a part writes at a token arrives at a reader: 1 but where edges are edited."""
        return 1.0 + sum(
            (left_by(change) - 1) * float(weight[0, pos])
            for change, weight in self._tails(reader).get(written_on(part), [])
            if contains((change.component, change.key), (part, key))
        )

    def instead(self, reader: Component, part: Component, key: int | None, pos: int) -> Tensor | None:
        """What edges from less than a part add for a reader in the part's place, None where none do: [d_model]."""
        found: Tensor | None = None
        for change, weight in self._tails(reader).get(written_on(part), []):
            tail = change.component, change.key
            own_row = tail[0].kind in (Kind.ATTN_BIAS, Kind.MLP_BIAS) and not self._is_gone(part, pos)
            if tail != (part, key) and contains((part, key), tail) and bool(weight[0, pos]) and not own_row:
                added = float(weight[0, pos]) * replace(self.wiring).delta(change)[0, pos]
                found = added if found is None else found + added
        return found

    def _is_gone(self, whole: Component, pos: int) -> bool:
        """Whether an edit has replaced a whole at a token, its bias with it."""
        return any(
            change.component == whole
            and (change.span is None or change.span.first <= pos <= change.span.last)
            for change in self.wiring.plain
        )

    def lines(self, reader: Component) -> frozenset[int]:
        """On which lines something is written that a reader does not meet as it is."""
        return frozenset(self._tails(reader))

    def _tails(self, reader: Component) -> Mapping[int, list[tuple[NODE_CHANGES, Tensor]]]:
        """By the line that they write on, the changes of tails, and how much each counts: [batch or 1, pos]."""
        if reader not in self._by_line:
            found: dict[int, list[tuple[NODE_CHANGES, Tensor]]] = {}
            for change, weight in self.wiring.weights(reader, len(self._acts[Site.RESID_PRE, 0])).items():
                found.setdefault(written_on(change.component), []).append((change, weight))
            self._by_line[reader] = found
        return self._by_line[reader]
