"""What a change makes of a tensor, a position after the other: read again from what edits say they do."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Freeze, Mode, Patch, Steer, Way
from model.reference.passes import HEADS_FIRST, NUMBERED, Given, Known, Pass
from model.reference.splices import Place

Shown = Callable[[Pass], Tensor]
"""What another run has in the place of a tensor."""


def changed(x: Tensor, change: Known, place: Place, given: Given, show: Shown) -> Tensor:
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
    show: Shown,
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


def _mean(change: Ablate, place: Place, given: Given, show: Shown, pos: int) -> Tensor | None:
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
