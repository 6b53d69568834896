"""What each change does to the tensor of its site, on a copy: recorded tensors are never written to."""

import math
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Ablate, ChangeError, Freeze, Mode, Patch, Span, Steer, Way
from model.edits.noise import gaussian
from model.edits.sources import Recorded, Reference, Sources, Where

Make = Callable[[Tensor], Tensor]
"A site's tensor, batch axis first -> the same with a change made."

AXIS = -2
"The position axis of every site's tensor; of attention, the query's."


def edit(
    change: Ablate | Patch | Freeze | Steer, at: Where, sources: Sources, named: Component | None = None
) -> Make:
    """`named` is the part that noise is drawn for, where the change's own stands for it."""
    part, span, key = change.component, change.span, change.key
    match change:
        case Patch():
            rows = list(range(change.source.first, change.source.last + 1))
            new = _rows(_patched_from(change, sources)[at], part, rows, change.source_key)
            return lambda x: _put(x, part, span, key, new)
        case Freeze():
            held = _required(sources.base, "freeze needs the run without changes")[at]
            rows = _within(span, held)
            return lambda x: _put(x, part, rows, key, held[index_of(part, rows, key)[1:]])
        case Steer():
            return lambda x: _put(x, part, span, key, _steered(x[index_of(part, span, key)], change))
        case Ablate(mode=Mode.MEAN):
            mean = _required(sources.means, "mean needs reference prompts")[at]
            return _mean(change, mean)
        case Ablate(mode=Mode.RESAMPLE):
            new = _resampled(change, at, sources.references)
            rows = span or Span(0, new.shape[-1 if new.ndim == 1 else -2] - 1)
            return lambda x: _put(x, part, rows, key, new)
        case Ablate(mode=Mode.NOISE):
            return lambda x: _put(
                x, part, span, key, x[index_of(part, span, key)] + _noise(x, change, named or part)
            )
        case Ablate(mode=Mode.SCALE):
            return lambda x: _put(x, part, span, key, x[index_of(part, span, key)] * change.amount)
        case Ablate():
            constant = {Mode.ZERO: 0.0, Mode.CUT: -math.inf}.get(change.mode, change.amount)
            return lambda x: _put(x, part, span, key, constant)


def _put(x: Tensor, part: Component, span: Span | None, key: int | None, new: Tensor | float) -> Tensor:
    """A copy of x, [batch, ...], with a component's values replaced."""
    x = x.clone()
    here = x[index_of(part, span, key)]
    if isinstance(new, Tensor) and part.kind is Kind.PATTERN and key is None:
        here = here[..., : new.shape[-1]]  # keys that the other run has; those after the query are 0 in both
        new = new[..., : here.shape[-1]]
    here[...] = new if isinstance(new, Tensor) else _number(x, new)
    return x


def _number(x: Tensor, value: float) -> Tensor:
    """A number in the dtype of x, infinite where it is beyond that: []."""
    return torch.tensor(value, dtype=torch.float64).to(x)


def index_of(part: Component, span: Span | None, key: int | None) -> tuple[slice | int, ...]:
    """What of its site's tensor a component is, batch axis first."""
    batch, pos = slice(None), slice(None) if span is None else span.slice
    if part.kind.has_heads:
        head = slice(None) if part.index is None else part.index
        return batch, head, pos, slice(None) if key is None else key
    if part.kind is Kind.NEURON and part.index is not None:
        return batch, pos, part.index
    return batch, pos


def _rows(given: Tensor, part: Component, rows: Sequence[int], key: int | None) -> Tensor:
    """A component's values at some positions of a recorded tensor, which has no batch axis."""
    chosen = given.index_select(AXIS, torch.tensor(rows, device=given.device))
    return chosen[index_of(part, None, key)[1:]]


def _within(span: Span | None, given: Tensor) -> Span:
    """The positions of a span that a recorded tensor has."""
    last = given.shape[AXIS] - 1
    return Span(0, last) if span is None else Span(span.first, min(span.last, last))


def _patched_from(change: Patch, sources: Sources) -> Recorded:
    if change.example is None:
        return _required(sources.other, "patch needs a prompt B")
    return _required(
        sources.examples.get(change.example), f"patch needs example {change.example} of a prompt set"
    )


def _mean(change: Ablate, mean: Tensor) -> Make:
    """A mean with one position serves all of them; one per position covers the prompt, not what is generated."""
    part, span, key = change.component, change.span, change.key
    if mean.shape[AXIS] > 1:
        rows = _within(span, mean)
        return lambda x: _put(x, part, rows, key, mean[index_of(part, rows, key)[1:]])
    if key is not None or part.kind is Kind.PATTERN:
        raise ChangeError(
            f"{change.place}: attention has a mean only position by position, over prompts of one length"
        )
    new = mean[index_of(part, Span(0, 0), None)[1:]]
    return lambda x: _put(x, part, span, None, new)


def drawn(change: Ablate, references: Sequence[Reference]) -> int:
    """Which reference a resampling takes, by its place: any that has counterparts of all its tokens.

    Raises ChangeError where there is none.
    """
    if not references:
        raise ChangeError("resample needs reference prompts")
    fitting = [at for at, each in enumerate(references) if each.covers(change.span, change.key)]
    if not fitting:
        raise ChangeError(
            f"none of the {len(references)} reference prompts has counterparts of {change.place}"
        )
    return Random(change.seed).choice(fitting)


def _resampled(change: Ablate, at: Where, references: Sequence[Reference]) -> Tensor:
    chosen = references[drawn(change, references)]
    span = change.span or Span(0, len(chosen.places) - 1)
    rows = chosen.places[span.slice]
    own = tuple(range(span.first, span.last + 1))
    if change.component.kind is Kind.PATTERN and change.key is None and rows != own:
        message = "attention rows are resampled from prompts of the same length, whose keys are the same"
        raise ChangeError(f"{change.place}: {message}")
    key = None if change.key is None else chosen.places[change.key]
    return _rows(chosen.run()[at], change.component, rows, key)


def _noise(x: Tensor, change: Ablate, named: Component) -> Tensor:
    """What is added to a component's values in x, the same to every row of the batch."""
    part, key = change.component, change.key
    span = change.span or Span(0, x.shape[AXIS] - 1)
    if part.kind is Kind.NEURON:
        found = gaussian(change.seed, str(named), span.first, len(span), 1)[:, 0]
    elif part.kind.has_heads:
        kind = part.kind if key is None else Kind.PATTERN  # a pair's is its row's
        heads = range(x.shape[1]) if part.index is None else (part.index,)
        names = [str(Component(kind, part.layer, head)) for head in heads]
        rows = [gaussian(change.seed, name, span.first, len(span), x.shape[-1]) for name in names]
        found = torch.stack(rows) if part.index is None else rows[0]
        found = found if key is None else found[..., key]
    else:
        found = gaussian(change.seed, str(named), span.first, len(span), x.shape[-1])
    return (change.amount * found).to(x)


def _steered(x: Tensor, change: Steer) -> Tensor:
    """A component's values, steered."""
    match change.way:
        case Way.SET:
            return _number(x, change.amount).expand_as(x)
        case Way.CLAMP:
            high = None if change.high is None else _number(x, change.high)
            return x.clamp(_number(x, change.amount), high)
        case Way.ADD if change.direction is None:
            return x + change.amount
        case Way.ADD:
            vector = () if change.direction is None else change.direction.vector
            if len(vector) != x.shape[-1]:
                raise ChangeError(
                    f"{change.direction} has {len(vector)} numbers: {change.component} has {x.shape[-1]}"
                )
            return x + change.amount * x.new_tensor(vector)


def _required(recorded: Recorded | None, message: str) -> Recorded:
    if recorded is None:
        raise ChangeError(message)
    return recorded
