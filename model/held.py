"""Layer norms' scales that edits have set: what reads through them has to divide by those."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Change, Where
from model.gpt2 import wide
from model.lines import last_line, scale_site


class Edited(Protocol):
    """A run, its activations and its edits."""

    @property
    def tokens(self) -> tuple[int, ...]: ...

    @property
    def changes(self) -> tuple[Change, ...]: ...

    def __getitem__(self, where: Where, /) -> Tensor: ...

    def added(self, reader: Component) -> Tensor | None:
        """What edges add to the stream that a reader alone meets: [pos, d_model]."""
        ...


def held_tokens(run: Edited, line: int, n_layer: int) -> Tensor:
    """At which tokens an edit has set the scale of the layer norm before a line: bool [pos]."""
    kind, at = Kind.LN_FINAL_SCALE, scale_site(line, n_layer)
    if line < last_line(n_layer):
        kind = Kind.LN1_SCALE if line % 2 else Kind.LN2_SCALE
    held = torch.zeros(len(run.tokens), dtype=torch.bool, device=run[at].device)
    for change in run.changes:
        part, span = change.component, change.span
        if part.kind is kind and part.layer == at[1]:
            held[slice(None) if span is None else span.slice] = True
    return held


def held_scale(run: Edited, line: int, n_layer: int, pos: int) -> Tensor | None:
    """The scale of the layer norm before a line where an edit has set it at a token, else None: [1]."""
    held = bool(held_tokens(run, line, n_layer)[pos])
    return wide(run[scale_site(line, n_layer)][pos]) if held else None


def held_scales(run: Edited, line: int, n_layer: int, positions: Sequence[int]) -> Tensor | None:
    """The same at several tokens, NaN where no edit has set it, None where none has anywhere: [read, 1]."""
    found = [held_scale(run, line, n_layer, pos) for pos in positions]
    some = next((scale for scale in found if scale is not None), None)
    if some is None:
        return None
    return torch.stack([torch.full_like(some, torch.nan) if scale is None else scale for scale in found])
