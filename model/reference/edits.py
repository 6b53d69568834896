"""How edits are made in a run of the reference: at which places, in which order."""

from collections.abc import MutableMapping, Sequence
from itertools import groupby
from types import MappingProxyType

from torch import Tensor

from model.components import Kind
from model.edits.interventions import Ablate, Change, Compound, Mode, flat
from model.reference.changed import Shown, changed
from model.reference.dictionaries import PlainDictionary, Values
from model.reference.passes import LATENTS, NOTHING, PLACES, Edit, Given, Known, Pass
from model.reference.splices import Parts, Place, Show, edited, is_of_a_dictionary, taken_apart


def edits(
    changes: Sequence[Change | Compound],
    given: Given = NOTHING,
    values: Values = MappingProxyType({}),
    into: MutableMapping[Place, Parts] | None = None,
) -> Edit:
    """(place's name, layer, value) -> the value with the changes made, in their order.  Raises ValueError.

    `values` are what the run has at places before, which a transcoder reads; `into` takes what becomes of
    dictionaries' parts.
    """
    at = [(place_of(change), change) for change in map(known, flat(changes))]
    parts = {} if into is None else into

    def edit(name: str, layer: int, x: Tensor) -> Tensor:
        place = name, layer
        here = [change for there, change in at if there == place]
        for of_dictionary, group in groupby(here, is_of_a_dictionary):
            if of_dictionary:
                x = edited(_dictionary(given, place), x, values, list(group), make, parts)
            else:
                for change in group:
                    x = changed(x, change, place, given, lambda run: run[place])
        return x.tril() if name == "pattern" else x

    def make(x: Tensor, change: Change, show: Show) -> Tensor:
        place = LATENTS if change.component.kind is Kind.LATENT else "", change.component.layer
        return changed(x, known(change), place, given, once_a_run(show))

    return edit


def once_a_run(show: Show) -> Shown:
    found: dict[int, Tensor] = {}

    def shown(run: Pass) -> Tensor:
        if id(run) not in found:
            found[id(run)] = show(run.values)
        return found[id(run)]

    return shown


def _dictionary(given: Given, place: Place) -> PlainDictionary:
    found = given.dictionaries.get(place)
    if found is None:
        raise ValueError(f"no SAE of {place[0]}.{place[1]} is known to the independent pass")
    return found


def known(change: Change) -> Known:
    """A change, where its meaning is known here.  Raises ValueError where it is not."""
    if isinstance(change, Known) and (change.component.kind in PLACES or is_of_a_dictionary(change)):
        return change
    raise ValueError(f"{change} is unknown to the independent pass")


def place_of(change: Known) -> Place:
    part = change.component
    if is_of_a_dictionary(change):
        return taken_apart(part)
    name = PLACES[part.kind] if change.key is None else "pattern"
    if isinstance(change, Ablate) and change.mode is Mode.CUT:
        name = "scores"
    return name, part.layer if part.kind.has_layer else 0
