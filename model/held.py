"""Layer norms' scales that edits have changed: what reads through them has to divide by those."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.edge_tables import left_by
from model.edits.interventions import Change, Where
from model.gpt2 import GPT2, wide
from model.lines import last_line, norm_before, residual_site, scale_site


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


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What edits make of the scales of one layer norm at some tokens, or at one."""

    left: Tensor
    "How much of what the stream gives, 0 where they set it: [..., 1]."
    more: Tensor
    "What they add to that: [..., 1]."

    def at(self, positions: int | Sequence[int]) -> "Held":
        """At some of the tokens, or one."""
        here = positions if isinstance(positions, int) else list(positions)
        return Held(self.left[here], self.more[here])

    def of(self, scale: Tensor) -> Tensor:
        """What becomes of the scales that a stream gives: [..., 1] -> the same."""
        return self.left * scale + self.more


@torch.no_grad()
def held_scales(model: GPT2, run: Edited, line: int) -> Held | None:
    """Of the layer norm before a line at every token, None where no edit is of it.

    A scale that has been set stays whatever comes; one that has been scaled, or had noise added, goes with the stream.
    """
    n_layer = model.config.n_layer
    kind, at = Kind.LN_FINAL_SCALE, scale_site(line, n_layer)
    if line < last_line(n_layer):
        kind = Kind.LN1_SCALE if line % 2 else Kind.LN2_SCALE
    changes = [each for each in run.changes if each.component.kind is kind and each.component.layer == at[1]]
    if not changes:
        return None
    scale = wide(run[at])
    left = torch.ones_like(scale)
    for change in changes:
        left[slice(None) if change.span is None else change.span.slice] *= left_by(change)
    own = norm_before(model, line).scale(wide(run[residual_site(line, n_layer)]))
    return Held(left, torch.where(left == 0, scale, scale - left * own))
