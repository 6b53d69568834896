"""The SAEs of a session for the independent pass: their files read again, what they say in that one's words."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.reference.dictionaries import PlainDictionary, Rule
from model.reference.splices import NAMES, Place
from model.sites import Where
from sae.autoencoder import Autoencoder
from sae.formats import load
from sae.nonlinearities import BatchTopK, JumpRelu, Nonlinearity, Relu, TopK
from sae.normalization import Normalization
from sae.reading import place_of
from tdb_tui.state import Sae


class PlainSaes(Mapping[Place, PlainDictionary]):
    """By the place that each takes apart; read where it is asked for, so that what nobody looks at costs nothing."""

    def __init__(self, saes: Sequence[Sae]) -> None:
        self._saes = {plain_place(place_of(each.place)): each for each in saes}
        self._read: dict[Place, PlainDictionary] = {}

    def __getitem__(self, at: Place) -> PlainDictionary:
        """Raises CheckpointError where its file is no longer what it was."""
        if at not in self._read:
            sae = self._saes[at]
            self._read[at] = plain_dictionary(load(Path(sae.path), _told(sae)))
        return self._read[at]

    def __contains__(self, at: object) -> bool:
        return at in self._saes

    def __iter__(self) -> Iterator[Place]:
        return iter(self._saes)

    def __len__(self) -> int:
        return len(self._saes)


def _told(sae: Sae) -> Where | None:
    """Files of other libraries may not say their place."""
    return None if sae.path.endswith(".safetensors") else place_of(sae.place)


def plain_place(at: Where) -> Place:
    name = at[0].text
    return NAMES.get(name, name), at[1]


def plain_dictionary(read: Autoencoder) -> PlainDictionary:
    """What a file said, before anything is computed of it."""
    rule, k, threshold = _rule(read.nonlinearity)
    centres = read.normalization in (Normalization.CENTRE, Normalization.LAYER_NORM)
    divides = {Normalization.LAYER_NORM: "deviation", Normalization.UNIT_NORM: "size"}
    return PlainDictionary(
        encoder=read.w_enc,
        encoder_bias=read.b_enc,
        decoder=read.w_dec,
        decoder_bias=read.b_dec,
        reads=plain_place(read.reads),
        writes=plain_place(read.writes),
        rule=rule,
        k=k,
        threshold=threshold,
        centres=centres,
        divides=divides.get(read.normalization, ""),
        subtracts=read.pre_bias,
        skip=read.w_skip,
    )


def _rule(nonlinearity: Nonlinearity) -> tuple[Rule, int, Tensor | None]:
    match nonlinearity:
        case Relu():
            return Rule.ALL, 0, None
        case TopK(k):
            return Rule.LARGEST, k, None
        case BatchTopK(_, threshold):
            return Rule.ABOVE, 0, torch.tensor([threshold], dtype=torch.float64)
        case JumpRelu(threshold):
            return Rule.ABOVE, 0, threshold
