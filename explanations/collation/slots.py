"""The best few rows of every component, and what it did in them: a running top-k without a sort of everything.

Every row has one key for every component, the same whoever computes it and different from every other row's.  The
slots of a component hold the rows with the largest keys, in any order: so what they hold depends on which rows were
seen, and neither on their order nor on how they were shared out.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = torch.iinfo(torch.int64).min
"The key of what is not offered."
EMPTY = NEVER + 1
"The key of a slot that holds nothing."
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
    """Put a block's rows into the slots that they belong in, each over the one that it drives out.

    keys int64 [row, component], rows int64 [row], acts [row, place, component], lengths int64 [row]: places that count.
    """
    better = keys > slots.keys.amin(1)
    at = better.any(0).nonzero()[:, 0]  # most components have none, after a while
    if not len(at):
        return
    count = slots.keys.shape[1]
    offered = keys[:, at].masked_fill_(~better[:, at], NEVER).T  # [component, row]
    both = torch.cat([slots.keys[at], offered], 1)
    among = torch.zeros_like(both, dtype=torch.bool).scatter_(1, both.topk(count, sorted=False)[1], True)
    driven_out = (~among[:, :count]).nonzero()
    entering = among[:, count:].nonzero()  # as many of each component
    order = entering[:, 1].argsort()  # a row after the other: what lies side by side is read together
    (component, slot), row = driven_out[order].T, entering[order, 1]
    new = captured(acts[row, :, at[component]], lengths[row], slots.codes.shape[2])
    new |= {"rows": rows[row], "keys": offered[component, row]}
    for field in fields(slots):
        held: Tensor = getattr(slots, field.name)
        held[at[component], slot] = new[field.name].to(held.dtype)


def in_order(slots: Slots) -> Slots:
    """The largest key first: the one form that equal slots share."""
    return taken(slots, slots.keys.argsort(1, descending=True))


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
    """The slots of everything that either has seen, in order."""
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    both = Slots(*(torch.cat(pair, 1) for pair in pairs))
    return taken(both, both.keys.topk(one.keys.shape[1])[1])


def taken(slots: Slots, order: Tensor) -> Slots:
    """The slots at places [component, slot]; nothing where there is none."""
    empty_ = slots.keys.gather(1, order) == EMPTY
    found: dict[str, Tensor] = {}
    for field in fields(slots):
        each: Tensor = getattr(slots, field.name)
        place = order if each.ndim == 2 else order[:, :, None].expand(-1, -1, each.shape[2])
        found[field.name] = each.gather(1, place)
        if field.name != "keys":
            found[field.name][empty_] = 0
    return Slots(**found)
