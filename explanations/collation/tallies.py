"""What is known of one group of components so far: sums, counts and slots, all of which merge exactly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explanations.bins import COUNT, bin_of
from explanations.collation import exact, slots
from explanations.collation.slots import EMPTY, Slots

POWERS = 4
"Sums of x, x^2, x^3, x^4: mean, variance, skewness and kurtosis."
CACHED = 1 << 18
"Activations counted together on a CPU: 1 MB, which stays in its cache."


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Its tensors are added to in place."""

    places: Tensor
    "int64 [1]: how many places were counted, the same for all components."
    above: Tensor
    "int64 [component]: at how many of them the activation was above zero."
    sums: Tensor
    "int64 [power, component, limb]"
    histogram: Tensor
    "int64 [component, bin]"
    top: Slots
    active: Slots


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A block's rows as every group needs them."""

    numbers: Tensor
    "int64 [row]"
    hashes: Tensor
    "int64 [row]: who is kept among the rows in which a component is active."
    counted: Sequence[int]
    "Those that histograms count."


def new_tally(components: int, places: int, top: int, active: int, device: torch.device) -> Tally:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64)

    return Tally(
        zeros(1),
        zeros(components),
        zeros(POWERS, components, len(exact.UNITS)),
        zeros(components, COUNT),
        slots.empty(components, top, places, device),
        slots.empty(components, active, places, device),
    )


def add(tally: Tally, acts: Tensor, lengths: Sequence[int], rows: Rows) -> None:
    """Count a block: acts [row, place, component], of which the first `lengths` places of each row count.

    Raises ArithmeticError where one of them is not finite.
    """
    sums, above, peaks = _counted(acts, lengths)
    if not bool(torch.isfinite(sums).all()):
        raise ArithmeticError("activations are not finite")
    tally.sums.add_(exact.limbs(sums))
    tally.above.add_(above)
    tally.places.add_(sum(lengths))
    if rows.counted:
        tally.histogram.add_(_histogram([acts[row, : lengths[row]] for row in rows.counted]))
    limit = torch.tensor(lengths, device=acts.device)
    by_value = slots.keys_of_values(peaks, rows.numbers)
    slots.offer(tally.top, by_value, rows.numbers, acts, limit)
    by_hash = slots.keys_of_hashes(rows.hashes, rows.numbers)[:, None].expand(peaks.shape)
    slots.offer(tally.active, by_hash.masked_fill(peaks <= 0, EMPTY), rows.numbers, acts, limit)


def _counted(acts: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of powers float64 [power, component], how many above zero [component], maxima [row, component].

    A few rows at a time, which stay in the cache of a CPU: a whole block is read from memory once instead of ten times.
    """
    sums = torch.zeros(POWERS, acts.shape[2], dtype=torch.float64)
    above = torch.zeros(acts.shape[2], dtype=torch.int64)
    peaks = acts.new_empty(len(acts), acts.shape[2], dtype=torch.float32)
    room = CACHED if acts.device.type == "cpu" else acts.numel()
    for first, last, length in _spans(lengths, max(1, room // acts[0].numel())):
        x = acts[first:last, :length].float()
        torch.amax(x, 1, out=peaks[first:last])
        x = x.flatten(0, 1)
        square = x * x
        powers = torch.stack([x.sum(0), square.sum(0), (square * x).sum(0), (square * square).sum(0)])
        sums += powers.cpu().double()
        above += torch.gt(x, 0, out=square).sum(0).cpu().to(torch.int64)
    return sums, above, peaks


def _spans(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int, int]]:
    """Neighbouring rows of the same length, at most `most`: (first, last, length)."""
    first = 0
    for row in range(1, len(lengths) + 1):
        if row == len(lengths) or lengths[row] != lengths[first] or row - first == most:
            yield first, row, lengths[first]
            first = row


def _histogram(rows: Sequence[Tensor]) -> Tensor:
    """x [place, component] of each row -> counts [component, bin]; row by row, which stays in the cache of a CPU."""
    components = rows[0].shape[1]
    first = COUNT * torch.arange(components, device=rows[0].device, dtype=torch.int32)
    at = torch.cat([bin_of(x.float()).add_(first).flatten() for x in rows])
    return torch.bincount(at, minlength=components * COUNT).view(components, COUNT).cpu()


def merged(one: Tally, other: Tally) -> Tally:
    """What both have seen."""
    sums = exact.carried(one.sums + other.sums)
    tops = slots.merged(one.top, other.top), slots.merged(one.active, other.active)
    return Tally(
        one.places + other.places, one.above + other.above, sums, one.histogram + other.histogram, *tops
    )


def to_arrays(tally: Tally) -> dict[str, NDArray[np.generic]]:
    """Everything by name, in the one form that equal tallies share."""
    found: dict[str, NDArray[np.generic]] = {}
    for field in fields(tally):
        value: Tensor | Slots = getattr(tally, field.name)
        if isinstance(value, Slots):
            held = slots.in_order(value)
            found |= {f"{field.name}.{part.name}": _numpy(getattr(held, part.name)) for part in fields(held)}
        else:
            found[field.name] = _numpy(exact.carried(value) if field.name == "sums" else value)
    return found


def from_arrays(arrays: dict[str, NDArray[np.generic]], device: torch.device) -> Tally:
    """Raises KeyError where one is missing."""

    def slots_of(name: str) -> Slots:
        return Slots(*(torch.tensor(arrays[f"{name}.{part.name}"], device=device) for part in fields(Slots)))

    places, above, sums, histogram = (
        torch.tensor(arrays[name]) for name in ("places", "above", "sums", "histogram")
    )
    return Tally(places, above, sums, histogram, slots_of("top"), slots_of("active"))


def _numpy(x: Tensor) -> NDArray[np.generic]:
    return x.contiguous().cpu().numpy()
