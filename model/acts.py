"""What a run recorded, without what is one cheap step from the rest.

An attention pattern is the softmax of queries and keys, an activation that of its pre-activation, the stream between
attention and MLP the sum of what came and what attention wrote: together they are half of a long prompt's run.
Where no edit has touched them they are not kept but made again, by the same operations on the same numbers, when
somebody looks.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from model.edits.sources import Where
from model.gpt2 import activated, pattern_of, scores_of
from model.sites import Site

Made = Callable[[Mapping[Where, Tensor], int], Tensor]


def _pattern(kept: Mapping[Where, Tensor], layer: int) -> Tensor:
    q, k = (kept[site, layer][None] for site in (Site.Q, Site.K))  # as the pass has them, bit for bit
    return pattern_of(scores_of(q, k))[0]


def _post(kept: Mapping[Where, Tensor], layer: int) -> Tensor:
    return activated(kept[Site.MLP_PRE, layer][None])[0]


def _resid_mid(kept: Mapping[Where, Tensor], layer: int) -> Tensor:
    return kept[Site.RESID_PRE, layer] + kept[Site.ATTN_OUT, layer]


MADE: Mapping[Site, tuple[tuple[Site, ...], Made]] = {
    Site.PATTERN: ((Site.Q, Site.K), _pattern),
    Site.RESID_MID: ((Site.RESID_PRE, Site.ATTN_OUT), _resid_mid),
    Site.MLP_POST: ((Site.MLP_PRE,), _post),
}
"What can be made again, and from which sites of its layer."


class Acts(Mapping[Where, Tensor]):
    """(site, layer) -> its tensor, kept or made again.  Never changes; any thread may read it."""

    def __init__(self, kept: Mapping[Where, Tensor], again: frozenset[Where] = frozenset()) -> None:
        """`again` are places that the others say all about."""
        self.kept, self.again = kept, again
        self._last: dict[Site, tuple[int, Tensor]] = {}
        "What was made last of each site, for who looks at a layer head by head."

    def __getitem__(self, where: Where) -> Tensor:
        if where not in self.again:
            return self.kept[where]
        site, layer = where
        last = self._last.get(site)
        if last is None or last[0] != layer:
            with torch.no_grad():
                last = self._last[site] = layer, MADE[site][1](self.kept, layer)
        return last[1]

    def __iter__(self) -> Iterator[Where]:
        yield from self.kept
        yield from self.again

    def __len__(self) -> int:
        return len(self.kept) + len(self.again)

    def __contains__(self, where: object) -> bool:
        return where in self.kept or where in self.again


def can_be_made(kept: Mapping[Where, Tensor], where: Where, x: Tensor) -> bool:
    """Whether a site's tensor is, bit for bit, what the sites before it say: no edit has touched it."""
    site, layer = where
    if site not in MADE:
        return False
    sources, made = MADE[site]
    return all((source, layer) in kept for source in sources) and torch.equal(made(kept, layer), x)
