"""What a sweep is of, and its grid on one run: what is changed at each cell, and what the cells are called."""

from dataclasses import dataclass

from model.components import Component, Kind
from model.edits.interventions import Patch, Steer
from model.gpt2 import Config
from model.measured.sweeps import (
    BY_HEAD,
    BY_LAYER,
    Axis,
    Grid,
    Movable,
    by_amount,
    by_head,
    by_pair,
    by_token,
    made_at,
)
from tdb_tui.errors import CommandError
from tdb_tui.session import Snapshot
from tdb_tui.sweeps.spots import Spots, counterparts, one_spot, role_spots, token_spots

NOWHERE = Spots((), ())


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep is of; the words after `sweep` that ask for it are its `str`."""

    words: str
    what: str
    "One of BY_LAYER or BY_HEAD, `pairs`, `latents` or `steer`."
    changes: tuple[Movable, ...]
    "One, to be made at every cell; of steering, one a row."
    at: str | None = None
    "The tokens at which alone it is made, as typed."
    parts: tuple[Component, ...] = ()
    "Heads or layers' parts wanted, latents or their dictionaries; none and it is all of them."
    by_token: bool = False
    "Of heads and latents: every token by itself."
    amounts: tuple[float, ...] = ()
    "Of steering."
    over: bool = False
    "Whether it is over the prompt set, tokens laid over each other by role."
    into_b: bool = False
    "Denoising: values of A are put into B's run."

    def __str__(self) -> str:
        return self.words

    @property
    def patches(self) -> bool:
        return isinstance(self.changes[0], Patch)

    @property
    def example(self) -> int | None:
        """Which example patches take their values from; None is prompt B."""
        change = self.changes[0]
        return change.example if isinstance(change, Patch) else None

    @property
    def kind(self) -> Kind:
        return {**BY_LAYER, **BY_HEAD, "pairs": Kind.HEAD, "latents": Kind.LATENT}[self.what]


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep's grid on one run, and what its cells are called there."""

    grid: Grid
    parts: tuple[tuple[Component, ...], ...]
    "What is edited at each cell, or would be: [row][column]."
    spots: Spots
    "Of the axes of positions."
    label: str = ""
    "What the tokens of grids without such an axis are called, together."

    def place(self, row: int, column: int) -> str:
        """`resid_pre.3@S2`, `L9H9`, `L9H9@END<IO`."""
        part, labels = self.parts[row][column], self.spots.labels
        match self.grid.rows.name, self.grid.columns.name:
            case "query", "key":
                return f"{part}@{labels[row]}<{labels[column]}"
            case _, "position":
                return f"{part}@{labels[column]}"
            case _:
                return f"{part}@{self.label}" if self.label else str(part)


def planned(snapshot: Snapshot, sweep: Sweep, roles: tuple[str, ...] = ()) -> Plan:
    """The grid on one run, its tokens laid out by `roles` where there are some.

    Raises CommandError where B has no counterpart of what is to be patched.
    """
    if sweep.what == "steer":
        return _steering(snapshot, sweep, roles)
    partner = counterparts(snapshot, sweep.example) if sweep.patches else None
    change, at = sweep.changes[0], sweep.at
    if roles:
        spots = role_spots(snapshot, partner, roles if at is None else (at,))
        one = one_spot(snapshot, partner, None) if at is None else spots.spots[0]
    else:
        spots, one = token_spots(snapshot, partner, at), one_spot(snapshot, partner, at)
    parts = parts_of(sweep, snapshot.info.config, len(spots.spots))
    try:
        if sweep.what == "pairs":
            return Plan(by_pair(sweep.parts[0], spots, change), parts, spots)
        if sweep.what in BY_LAYER or sweep.by_token:
            rows = Axis("layer", tuple(str(row[0].layer) for row in parts))
            if sweep.by_token:
                name = "latent" if sweep.what == "latents" else "head"
                rows = Axis(name, tuple(str(row[0]) for row in parts))
            return Plan(by_token(rows, [row[0] for row in parts], spots, change), parts, spots)
        return Plan(by_head(parts, sweep.parts, one, change), parts, NOWHERE, at or "")
    except ValueError as error:
        raise CommandError(str(error), code="bad-lengths") from None


def _steering(snapshot: Snapshot, sweep: Sweep, roles: tuple[str, ...]) -> Plan:
    steers = [change for change in sweep.changes if isinstance(change, Steer)]
    if roles and sweep.at is not None:
        (spot,) = role_spots(snapshot, None, (sweep.at,)).spots
        moved = [made_at(change, change.component, spot) for change in steers] if spot is not None else []
        steers = [change for cell in moved for change in cell if isinstance(change, Steer)]
    parts = tuple((change.component,) * len(sweep.amounts) for change in sweep.changes)
    labels = tuple(str(change.component) for change in sweep.changes)
    return Plan(by_amount(labels, steers, sweep.amounts), parts, NOWHERE, sweep.at or "")


def parts_of(sweep: Sweep, config: Config, length: int) -> tuple[tuple[Component, ...], ...]:
    """What is edited at each cell: [row][column]."""
    layers = sorted({part.layer for part in sweep.parts}) or range(config.n_layer)
    if sweep.what in BY_LAYER:
        return tuple((Component(sweep.kind, layer),) * length for layer in layers)
    if sweep.what == "pairs":
        return ((sweep.parts[0],) * length,) * length
    if sweep.what == "latents":
        return tuple((part,) * length for part in sweep.parts)
    if sweep.by_token:
        return tuple((Component(sweep.kind, head.layer, head.index),) * length for head in sweep.parts)
    return tuple(
        tuple(Component(sweep.kind, layer, head) for head in range(config.n_head)) for layer in layers
    )
