"""What a run of the reference keeps, and how edits are made in it: read again from what the edits say they do."""

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from random import Random
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Compound, Freeze, Mode, Patch, Steer, Way, flat
from model.reference.dictionaries import PlainDictionary, Values
from model.reference.splices import Parts, Place, Show, edited, is_of_a_dictionary, taken_apart

LATENTS = "latents"
"""The name that the latents of a dictionary have among places; no run keeps them there."""

NUMBERED = ("post", LATENTS)
"""Places whose last axis has parts."""

HEADS_FIRST = ("q", "k", "v", "scores", "pattern", "z")
"""Places whose positions come after heads."""

PLACES = {
    Kind.EMBED: "resid_pre",
    Kind.TOKEN_EMBED: "embed",
    Kind.POS_EMBED: "positions",
    Kind.ATTN: "attn_out",
    Kind.HEAD: "z",
    Kind.MLP: "mlp_out",
    Kind.NEURON: "post",
    Kind.ATTN_BIAS: "attn_bias",
    Kind.MLP_BIAS: "mlp_bias",
    Kind.FINAL_BIAS: "final_bias",
    Kind.RESID_PRE: "resid_pre",
    Kind.RESID_MID: "resid_mid",
    Kind.RESID_POST: "resid_post",
    Kind.Q: "q",
    Kind.K: "k",
    Kind.V: "v",
    Kind.PATTERN: "pattern",
    Kind.LN1_SCALE: "ln1_scale",
    Kind.LN2_SCALE: "ln2_scale",
    Kind.LN_FINAL_SCALE: "ln_final_scale",
}
"""Where an edit of a component is made; of a head's pair it is at its pattern, or at its score where it is cut."""

Known = Ablate | Patch | Freeze | Steer
"""Changes that are known here."""

Handed = tuple[frozenset[int], Tensor]
"""At which tokens a reader does not read the stream, and its input: [pos, width]."""

Edit = Callable[[str, int, Tensor], Tensor]
"""(place's name, layer, value) -> the value to go on with."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What one run did."""

    tokens: tuple[int, ...]
    changes: tuple[Change, ...]
    stream: tuple[Tensor, ...]
    "The residual stream after each line (E, A0, M0, ...): [pos, d_model]."
    values: Mapping[Place, Tensor]
    """After any edit; heads first: q, k, v, z [head, pos, d_head], scores and pattern [head, query, key]; others
    [pos, ...]."""

    handed: Mapping[Component, Handed] = field(default_factory=lambda: MappingProxyType({}))
    "What paths have given their receivers to read."
    dictionaries: Mapping[Place, PlainDictionary] = field(default_factory=lambda: MappingProxyType({}))
    "Through which it can be read, by the place that each takes apart."
    parts: dict[Place, Parts] = field(default_factory=dict[Place, Parts])
    "What they make of it: edits of them made, and what has been looked at."

    def __getitem__(self, place: Place) -> Tensor:
        return self.values[place]

    def scale_of(self, line: int, pos: int) -> Callable[[Tensor], Tensor]:
        """What becomes of the scale of the norm before a line at a token: as it is, or what an edit has set it to."""
        layer = (line - 1) // 2
        place = f"ln{1 if line % 2 else 2}_scale", layer
        if line == len(self.stream):
            place = "ln_final_scale", 0
        for change in self.changes:
            span = change.span
            here = span is None or span.first <= pos <= span.last
            if here and PLACES.get(change.component.kind) == place[0] and change.component.layer == place[1]:
                return lambda scale: self.values[place][pos].expand_as(scale)
        return lambda scale: scale


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Where edits take values from."""

    other: Pass | None = None
    "Prompt B's run."
    base: Pass | None = None
    "The same prompt's without any edit."
    means: tuple[Pass, ...] = ()
    "Runs that means are taken over, and that resampling draws from."
    places: tuple[tuple[int, ...], ...] = ()
    "Of each of those runs: the counterpart of every token of the prompt, -1 where it has none."
    pooled: bool = False
    "Whether one mean over all of their tokens serves every token."
    skip: int = 0
    "Tokens at the front that no mean over tokens counts."
    examples: Mapping[int, Pass] = field(default_factory=lambda: MappingProxyType({}))
    "Runs of a prompt set's examples, by number."
    dictionaries: Mapping[Place, PlainDictionary] = field(default_factory=lambda: MappingProxyType({}))
    "Those that are loaded, by the place that each takes apart."


NOTHING = Given()
"""For edits that take no values from elsewhere."""


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
                    x = _changed(x, change, place, given, lambda run: run[place])
        return x.tril() if name == "pattern" else x

    def make(x: Tensor, change: Change, show: Show) -> Tensor:
        place = LATENTS if change.component.kind is Kind.LATENT else "", change.component.layer
        return _changed(x, known(change), place, given, once_a_run(show))

    return edit


def once_a_run(show: Show) -> Callable[[Pass], Tensor]:
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


def _changed(x: Tensor, change: Known, place: Place, given: Given, show: Callable[[Pass], Tensor]) -> Tensor:
    """One row of positions after the other gets its new value, one head after the other.

    `show` gives what another run has in the place of x.
    """
    x, part = x.clone(), change.component
    of_heads = place[0] in HEADS_FIRST
    every = range(len(x)) if of_heads and part.index is None else [part.index]
    for head in every:
        rows = x[head] if of_heads else x  # [pos, ...]
        first, last = (0, len(rows) - 1) if change.span is None else (change.span.first, change.span.last)
        column = part.index if place[0] in NUMBERED else change.key
        for pos in range(first, last + 1):
            old = rows[pos] if column is None else rows[pos, column]
            named = replace(change, component=replace(part, index=head))
            new = _new(old, named, place, given, show, pos, pos - first)
            if new is not None:
                rows[pos, ... if column is None else column] = new
    return x


def _new(
    old: Tensor,
    change: Known,
    place: Place,
    given: Given,
    show: Callable[[Pass], Tensor],
    pos: int,
    offset: int,
) -> Tensor | None:
    """The value that a position, number `offset` of the span, gets; None leaves it."""
    part, key = change.component, change.key
    match change:
        case Patch():
            other = given.other if change.example is None else given.examples.get(change.example)
            at = change.source.first + offset
            return _fitting(_taken(show(_required(other, change)), part, place, at, change.source_key), old)
        case Freeze():
            base = _required(given.base, change)
            return (
                _fitting(_taken(show(base), part, place, pos, key), old) if pos < len(base.tokens) else None
            )
        case Steer():
            return _steered(old, change)
        case Ablate(mode=Mode.MEAN):
            return _mean(change, place, given, show, pos)
        case Ablate(mode=Mode.RESAMPLE):
            run, places = _drawn(change, given)
            there = None if key is None else places[key]
            return _fitting(_taken(show(run), part, place, places[pos], there), old)
        case Ablate(mode=Mode.NOISE):
            return old + change.amount * _noise(change, pos, old)
        case Ablate(mode=Mode.SCALE):
            return old * change.amount
        case Ablate():
            constant = {Mode.ZERO: 0.0, Mode.CUT: -math.inf}.get(change.mode, change.amount)
            return torch.full_like(old, constant)


def _mean(
    change: Ablate, place: Place, given: Given, show: Callable[[Pass], Tensor], pos: int
) -> Tensor | None:
    """At the token's counterparts; over all tokens where it has none, or where they are not told apart."""
    part, key = change.component, change.key
    if not given.means:
        raise ValueError(f"{change} needs runs to take a mean over")
    if not given.pooled and pos >= len(given.places[0]):
        return None
    found = [
        _taken(show(run), part, place, places[pos], key)
        for run, places in zip(given.means, given.places, strict=True)
        if not given.pooled and places[pos] >= 0
    ] or [
        _taken(show(run), part, place, at, key)
        for run in given.means
        for at in range(given.skip, len(run.tokens))
    ]
    return torch.stack(found).mean(0)


def _drawn(change: Ablate, given: Given) -> tuple[Pass, tuple[int, ...]]:
    """The run that the seed draws among those that have all of the change's tokens."""
    fitting = [
        at
        for at, places in enumerate(given.places)
        if min(places if change.span is None else places[change.span.slice]) >= 0
        and (change.key is None or places[change.key] >= 0)
    ]
    if not fitting:
        raise ValueError(f"{change} needs runs to draw from")
    at = Random(change.seed).choice(fitting)
    return given.means[at], given.places[at]


def _noise(change: Ablate, pos: int, old: Tensor) -> Tensor:
    """Drawn token by token under the component's name; a pair's is that of its row."""
    part, key = change.component, change.key
    named = part if key is None else Component(Kind.PATTERN, part.layer, part.index)
    count = (old.numel() if old.ndim else 1) if key is None else key + 1
    row = np.random.default_rng([change.seed, pos, *str(named).encode()]).standard_normal(count)
    return torch.from_numpy(row if key is None else row[key:]).reshape(old.shape).to(old.dtype)


def _steered(old: Tensor, change: Steer) -> Tensor:
    match change.way:
        case Way.SET:
            return torch.full_like(old, change.amount)
        case Way.CLAMP:
            high = change.amount if change.high is None else change.high
            return torch.minimum(torch.maximum(old, old.new_tensor(change.amount)), old.new_tensor(high))
        case Way.ADD:
            step = 1.0 if change.direction is None else old.new_tensor(change.direction.vector)
            return old + change.amount * step


def _required(run: Pass | None, change: Known) -> Pass:
    if run is None:
        raise ValueError(f"{change} needs a run to take values from")
    return run


def _fitting(row: Tensor, old: Tensor) -> Tensor:
    """An attention row of another length with as many keys: those after the query are 0 in both."""
    if row.ndim != 1 or len(row) == len(old):
        return row
    new = torch.zeros_like(old)
    shared = min(len(row), len(old))
    new[:shared] = row[:shared]
    return new


def _taken(x: Tensor, part: Component, place: Place, pos: int, key: int | None) -> Tensor:
    """A component's value in a place's tensor, at one position."""
    if place[0] in HEADS_FIRST:
        return x[part.index, pos] if key is None else x[part.index, pos, key]
    return x[pos, part.index] if place[0] in NUMBERED and part.index is not None else x[pos]
