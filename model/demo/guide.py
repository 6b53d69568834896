"""What attention is rewarded for while the circuits form: looking where a word can be copied from.

An indirect object can be found in many ways; left alone, a model this small sums the names up in its first layer
and no head ever moves one.  So for the first part of the training a few heads, one kind a layer, are told where
to look, by an auxiliary loss that is computed from the tokens alone.  What they do there, and what the other
layers make of it, is left to the language-model loss, and so is all of the later training.

    previous    the token before                                      layers 0 and 1
    induction   the token after an earlier occurrence of this one     layer 2
    duplicate   an earlier occurrence of this token                   layer 2
    repeated    a name that has occurred before (S-inhibition)        layer 3
    mover       an earlier occurrence of the token that comes next    layer 5

One head moves names, and the others of the upper layers are told throughout not to look where it looks.  Several
would back each other up: ablating one would change no answer, which is a bad first lesson.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.demo.vocabulary import LISTED, NAMES
from model.sites import Site

GUIDED: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("previous", 0, (0,)),
    ("previous", 1, (0, 1)),
    ("induction", 2, (0, 1)),
    ("duplicate", 2, (2, 3)),
    ("repeated", 3, (0, 1, 2)),
    ("mover", 5, (0,)),
)
"""What, in which layer, which heads."""
LONE = "mover"
"""The kind that the other heads of the `UPPER` layers are kept from."""
UPPER = (4, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Which tokens the guide speaks of: bool [vocab]."""

    names: Tensor
    listed: Tensor
    """Names and the words of lists: those that are worth copying."""


def words(encode: Callable[[str], list[int]], n_vocab: int) -> Words:
    """Names and list words that are one token, with the space before them or without."""

    def mask(texts: Iterable[str]) -> Tensor:
        found = torch.zeros(n_vocab, dtype=torch.bool)
        for text in texts:
            for written in (text, f" {text}"):
                ids = encode(written)
                if len(ids) == 1:
                    found[ids[0]] = True
        return found

    names = mask(NAMES)
    return Words(names, names | mask(LISTED))


def targets(tokens: Tensor, known: Words, end_of_text: int) -> dict[str, Tensor]:
    """Where each kind of head should look: tokens [batch, pos + 1] -> bool [batch, query, key] each."""
    x, following = tokens[:, :-1], tokens[:, 1:]
    length = x.shape[1]
    document = (x == end_of_text).cumsum(1)
    earlier = torch.ones(length, length, dtype=torch.bool).tril(-1)
    seen = (document[:, :, None] == document[:, None, :]) & torch.ones(
        length, length, dtype=torch.bool
    ).tril()
    same = (x[:, :, None] == x[:, None, :]) & known.listed[x][:, :, None] & seen & earlier
    before = torch.zeros(length, length, dtype=torch.bool)
    before[range(1, length), range(length - 1)] = True
    repeated = same.any(2) & known.names[x]
    return {
        "previous": seen & before,
        "duplicate": same,
        "induction": torch.cat([torch.zeros_like(same[:, :, :1]), same[:, :, :-1]], 2) & seen,
        "repeated": repeated[:, None, :] & seen & earlier,
        "mover": (following[:, :, None] == x[:, None, :]) & known.listed[following][:, :, None] & seen,
    }


class Watch:
    """A hook that keeps the attention patterns of the guided layers."""

    def __init__(self) -> None:
        self.patterns: dict[int, Tensor] = {}

    def __call__(self, site: Site, layer: int, x: Tensor) -> Tensor:
        if site is Site.PATTERN:
            self.patterns[layer] = x
        return x


def guide_loss(patterns: dict[int, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Mean surprise, in nats, at how little the guided heads look where they should: [].

    patterns: layer -> [batch, head, query, key].
    """
    losses: list[Tensor] = []
    for kind, layer, heads in GUIDED:
        rows = wanted[kind].any(2)
        if layer in patterns and rows.any():
            losses.append(-(mass(patterns[layer], heads, wanted[kind])[:, rows] + 1e-3).log().mean())
    return torch.stack(losses).mean() if losses else torch.zeros(())


def rival_loss(patterns: dict[int, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Mean surprise, in nats, at how much the other upper heads look where the mover should: [].

    patterns: layer -> [batch, head, query, key].
    """
    rows = wanted[LONE].any(2)
    losses: list[Tensor] = []
    for layer in UPPER:
        if layer in patterns and rows.any():
            others = tuple(head for head in range(patterns[layer].shape[1]) if head not in movers(layer))
            looked = mass(patterns[layer], others, wanted[LONE])[:, rows]
            losses.append(-(1 + 1e-3 - looked).log().mean())
    return torch.stack(losses).mean() if losses else torch.zeros(())


def movers(layer: int) -> tuple[int, ...]:
    return tuple(head for kind, at, heads in GUIDED if kind == LONE and at == layer for head in heads)


def mass(pattern: Tensor, heads: tuple[int, ...], wanted: Tensor) -> Tensor:
    """The attention of some heads on what is wanted: [batch, head, query, key] -> [head, batch, query]."""
    return (pattern[:, list(heads)].float() * wanted[:, None]).sum(-1).transpose(0, 1)
