"""Means over reference prompts, whose tokens are matched with those of the prompt that they stand in for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from model.edits.changes import ChangeError
from model.edits.interventions import Reference, Where
from model.edits.made import AXIS
from model.edits.sources import View
from model.gpt2 import wide
from model.sites import Site
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Matched(Reference):
    """A reference prompt, with what is said of it."""

    run: Callable[[], Trace]
    number: int | None
    "Which example of its set it is."

    @property
    def is_aligned(self) -> bool:
        """Whether it is as long as the prompt and matched position by position."""
        return self.places == tuple(range(len(self.places)))

    def laid_out(self, x: Tensor, length: int) -> Tensor:
        """The values at each token's counterpart, 0 where there is none: [..., pos, d] -> [..., length, d]."""
        here = torch.tensor(
            [pos for pos, at in enumerate(self.places) if at >= 0], dtype=torch.long, device=x.device
        )
        there = torch.tensor([at for at in self.places if at >= 0], dtype=torch.long, device=x.device)
        out = x.new_zeros(*x.shape[:AXIS], length, x.shape[-1])
        return out.index_copy(AXIS % x.ndim, here, x.index_select(AXIS, there))


@dataclass(eq=False)
class MeanActs:
    """Mean activations over runs that are made, and let go, when a site is first asked for.

    The position axis is the prompt's length, or 1 where positions cannot be told apart.  A token that has no
    counterpart in any of the runs gets the mean over all of their tokens.
    """

    references: Sequence[Matched]
    pooled: bool
    "One mean over the tokens of all prompts."
    skip: int
    "Tokens at the front that no mean over tokens counts (the `<|endoftext|>` there)."
    none: str
    "What is wrong where there is no run."
    _means: dict[Where, Tensor] = field(default_factory=dict[Where, Tensor])

    def __getitem__(self, where: Where, /) -> Tensor:
        if not self.references:
            raise ChangeError(self.none)
        if not self._means:
            self._means = self._made()
        if where not in self._means:
            raise ChangeError(
                "attention has a mean only over prompts as long as this one, position by position"
            )
        return self._means[where]

    def through(self, view: View) -> "MeanActs":
        """Means, over the same runs, of what each shows through a view."""

        def seen(run: Callable[[], Trace]) -> Callable[[], Trace]:
            def made() -> Trace:
                trace = run()
                return replace(trace, acts=view(trace))

            return made

        references = [replace(each, run=seen(each.run)) for each in self.references]
        return MeanActs(references, self.pooled, self.skip, self.none)

    @property
    def nbytes(self) -> int:
        """Bytes held by means that have been taken."""
        return sum(x.nbytes for x in self._means.values())

    def _made(self) -> dict[Where, Tensor]:
        rows: dict[Where, Tensor] = {}
        tokens: dict[Where, Tensor] = {}
        dtypes: dict[Where, torch.dtype] = {}
        length, count = len(self.references[0].places), 0
        square = not self.pooled and all(each.is_aligned for each in self.references)
        for reference in self.references:
            trace = reference.run()
            count += len(trace.tokens) - self.skip
            for at, x in trace.acts.items():
                dtypes[at] = x.dtype
                if at[0] is not Site.PATTERN:
                    _add(tokens, at, wide(x)[..., self.skip :, :].sum(AXIS, keepdim=True))
                if not self.pooled and (at[0] is not Site.PATTERN or square):
                    _add(rows, at, reference.laid_out(wide(x), length))
        covered = [sum(each.places[pos] >= 0 for each in self.references) for pos in range(length)]
        means = {at: x / count for at, x in tokens.items()}
        for at, x in rows.items():
            there = torch.tensor(covered, device=x.device)[:, None]
            means[at] = torch.where(there > 0, x / there.clamp_min(1), means.get(at, x))
        return {at: x.to(dtypes[at]) for at, x in means.items()}


def _add(sums: dict[Where, Tensor], at: Where, x: Tensor) -> None:
    sums[at] = sums[at] + x if at in sums else x
