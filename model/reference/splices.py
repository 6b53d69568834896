"""What a run has of dictionaries, and how edits of their parts are made: of one encoding, put back as a difference.

what is taken apart = sum of latent x decoder row + what stands beside + error
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from model.components import DICTIONARY, DICTIONARY_SITES, Component, Kind
from model.edits.interventions import Ablate, Change
from model.reference.dictionaries import PlainDictionary, Values, apart, side_by_side

if TYPE_CHECKING:  # its pass makes edits with this
    from model.reference.run import PlainGPT2

Place = tuple[str, int]

NAMES = {"mlp_post": "post"}
"""What places are called here, where that is another word."""


STREAM = ("resid_pre", "resid_mid", "resid_post")
"""Places of the stream itself."""

MATRICES = {"post": "mlp.c_proj", "z": "attn.c_proj"}
"""Places inside of a sub-layer, and what is between them and the stream."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a dictionary makes of a run, edits made."""

    read: Tensor
    "What was encoded: [pos, d_in]."
    latents: Tensor
    "[pos, latent]"
    beside: Tensor
    "[pos, d_out]"


class Recorded(Protocol):
    """A run, and the dictionaries that it can be read through."""

    @property
    def values(self) -> Values: ...

    @property
    def dictionaries(self) -> Mapping[Place, PlainDictionary]: ...

    @property
    def parts(self) -> dict[Place, Parts]: ...


Show = Callable[[Values], Tensor]
"""What a run without edits of it has of a dictionary's part: [pos, ...]."""

Make = Callable[[Tensor, Change, Show], Tensor]
"""A part's tensor [pos, ...] -> with a change made; other runs' values of it are as shown."""


def taken_apart(part: Component) -> Place:
    """The place that the dictionary of a part takes apart."""
    name = DICTIONARY_SITES[part.site]
    return NAMES.get(name, name), part.layer


def parts_of(dictionary: PlainDictionary, values: Values) -> Parts:
    """As they are encoded, no edit of them made."""
    x = dictionary.read(values)
    return Parts(x, dictionary.latents(x), dictionary.beside(x))


def error_of(dictionary: PlainDictionary, values: Values, parts: Parts) -> Tensor:
    """What parts leave of what is there: [pos, d_out]."""
    there = side_by_side(dictionary.writes[0], values[dictionary.writes])
    return there - dictionary.sum_of(parts.read, parts.latents) - parts.beside


def shown(dictionary: PlainDictionary, kind: Kind) -> Show:
    """A part of a dictionary in any run."""

    def show(values: Values) -> Tensor:
        parts = parts_of(dictionary, values)
        match kind:
            case Kind.LATENT:
                return parts.latents
            case Kind.SAE_BIAS:
                return parts.beside
            case _:
                return error_of(dictionary, values, parts)

    return show


def edited(
    dictionary: PlainDictionary,
    x: Tensor,
    values: Values,
    changes: Sequence[Change],
    make: Make,
    into: MutableMapping[Place, Parts],
) -> Tensor:
    """A place's value with changes of its dictionary's parts made; `values` are of the same run."""
    at = dictionary.writes
    here = {**values, at: x}
    before = parts_of(dictionary, here)
    made = {
        Kind.LATENT: before.latents,
        Kind.SAE_BIAS: before.beside,
        Kind.ERROR: error_of(dictionary, here, before),
    }
    whole = dict(made)
    for change in changes:
        kind = change.component.kind
        after = make(made[kind], change, shown(dictionary, kind))
        made[kind] = _spared(made[kind], after, change)
    into[at] = Parts(before.read, made[Kind.LATENT], made[Kind.SAE_BIAS])
    moved = dictionary.sum_of(before.read, made[Kind.LATENT]) - dictionary.sum_of(before.read, before.latents)
    for kind in (Kind.SAE_BIAS, Kind.ERROR):
        moved = moved + made[kind] - whole[kind]
    return x + apart(at[0], moved, len(x))


def _spared(before: Tensor, after: Tensor, change: Change) -> Tensor:
    """Of a change of every latent, those that it is not of as they were."""
    if not isinstance(change, Ablate) or not change.but:
        return after
    spared, after = list(change.but), after.clone()
    after[:, spared] = before[:, spared]
    return after


def line_of_place(at: Place) -> int:
    """The line on which what a dictionary takes apart is written."""
    return 2 * at[1] + {"resid_pre": 0, "attn_out": 1, "z": 1, "resid_mid": 1}.get(at[0], 2)


def parts_at(run: Recorded, at: Place) -> Parts:
    """What a dictionary makes of a run, edits of it made.  Raises ValueError where none is known."""
    if at not in run.dictionaries:
        raise ValueError(f"no SAE of {at[0]}.{at[1]} is known to the independent pass")
    if at not in run.parts:
        run.parts[at] = parts_of(run.dictionaries[at], run.values)
    return run.parts[at]


def out_of(plain: "PlainGPT2", at: Place) -> Tensor:
    """From what a dictionary takes apart to the residual stream: [d_out, d_model]."""
    if at[0] in MATRICES:
        return plain.weight(f"h.{at[1]}.{MATRICES[at[0]]}.weight")
    return torch.eye(plain.tensors["wpe.weight"].shape[1], dtype=plain.dtype)


def is_of_a_dictionary(change: Change) -> bool:
    return change.component.kind in DICTIONARY
