"""The best few rows of every component, and what it did in them: a running top-k without a sort of everything.

Every row has one key for every component, the same whoever computes it and different from every other row's.  The
slots of a component hold the rows with the largest keys, largest first: so the content of the slots depends on which
rows were seen, and neither on their order nor on how they were shared out.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

EMPTY = torch.iinfo(torch.int64).min
ROW_BITS = 31
TINY = 1e-30
"A range of activations that is none."


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    keys: Tensor
    "int64 [component, slot]; EMPTY where there is none."
    rows: Tensor
    "int64 [component, slot]"
    values: Tensor
    "float32 [component, slot]: the largest activation in the row."
    peaks: Tensor
    "int32 [component, slot]: at which place."
    low: Tensor
    "float32 [component, slot]: what code 0 stands for, `high` what 255 stands for."
    high: Tensor
    codes: Tensor
    "uint8 [component, slot, place]"


def empty(components: int, slots: int, places: int, device: torch.device) -> Slots:
    shape = components, slots

    def zeros(dtype: torch.dtype, *more: int) -> Tensor:
        return torch.zeros(*shape, *more, dtype=dtype, device=device)

    f32, i64 = torch.float32, torch.int64
    keys = torch.full(shape, EMPTY, dtype=i64, device=device)
    numbers = zeros(i64), zeros(f32), zeros(torch.int32), zeros(f32), zeros(f32)
    return Slots(keys, *numbers, zeros(torch.uint8, places))


def keys_of_values(values: Tensor, rows: Tensor) -> Tensor:
    """The larger value first, of equal ones the earlier row: float32 [row, component], int64 [row] -> int64."""
    bits = (values + 0.0).view(torch.int32).to(torch.int64)  # + 0.0: there is one zero
    ordered = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return _with_row(ordered, rows[:, None])


def keys_of_hashes(hashes: Tensor, rows: Tensor) -> Tensor:
    """The smaller hash first: int64 from 0 to 2^31 - 1 [row] -> int64 [row]."""
    return _with_row(-hashes, rows)


def _with_row(ordered: Tensor, rows: Tensor) -> Tensor:
    return (ordered << ROW_BITS) + ((1 << ROW_BITS) - 1 - rows)


def offer(slots: Slots, keys: Tensor, rows: Tensor, acts: Tensor, lengths: Tensor) -> None:
    """Put a block's rows into the slots that they belong in.

    keys int64 [row, component], rows int64 [row], acts [row, place, component], lengths int64 [row]: places that count.
    """
    better = keys > slots.keys[:, -1]
    at = better.any(0).nonzero()[:, 0]  # most components have none, after a while
    if not len(at):
        return
    count = slots.keys.shape[1]
    offered = keys[:, at].masked_fill(~better[:, at], EMPTY).T  # [component, row]
    best, order = torch.cat([slots.keys[at], offered], 1).topk(count)
    component, slot = ((order >= count) & (best != EMPTY)).nonzero(as_tuple=True)
    row = order[component, slot] - count
    new = captured(acts[row, :, at[component]], lengths[row], slots.codes.shape[2]) | {"rows": rows[row]}
    held = order.clamp(max=count - 1)
    for field in fields(slots):
        tensor: Tensor = getattr(slots, field.name)
        if field.name == "keys":
            tensor[at] = best
            continue
        place = held if tensor.ndim == 2 else held[:, :, None].expand(-1, -1, tensor.shape[2])
        moved = tensor[at].gather(1, place)
        moved[component, slot] = new[field.name].to(moved.dtype)
        tensor[at] = moved


def captured(acts: Tensor, lengths: Tensor, width: int) -> dict[str, Tensor]:
    """What is kept of activations [example, place], of which `lengths` [example] count; codes get `width` places."""
    acts = acts.float()
    outside = torch.arange(acts.shape[1], device=acts.device) >= lengths[:, None]
    values, peaks = acts.masked_fill(outside, -torch.inf).max(1)
    low = acts.masked_fill(outside, torch.inf).amin(1)
    spread = values - low
    steps = torch.where(spread > TINY, 255 / spread, 0.0)
    codes = ((acts - low[:, None]) * steps[:, None]).masked_fill(outside, 0.0).round().to(torch.uint8)
    codes = F.pad(codes, (0, width - codes.shape[1]))
    return {"values": values, "peaks": peaks, "low": low, "high": values, "codes": codes}


def merged(one: Slots, other: Slots) -> Slots:
    """The slots of everything that either has seen."""
    count = one.keys.shape[1]
    best, order = torch.cat([one.keys, other.keys], 1).topk(count)
    found: dict[str, Tensor] = {"keys": best}
    for field in fields(one)[1:]:
        both = torch.cat([getattr(one, field.name), getattr(other, field.name)], 1)
        place = order if both.ndim == 2 else order[:, :, None].expand(-1, -1, both.shape[2])
        found[field.name] = both.gather(1, place)
    empty_ = best == EMPTY
    for field in fields(one)[1:]:
        found[field.name][empty_] = 0
    return Slots(**found)
