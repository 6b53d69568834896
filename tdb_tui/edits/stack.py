"""The edits as a stack: in which order, under which names, and what each of them is worth.  Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tdb_tui.state import Edit, Inputs

Value = Callable[[Inputs], float | None]
"The metric of some inputs, None where it is not known."


@dataclass(frozen=True, slots=True)
class Worth:
    """What an edit is worth; None for one that is switched off, and for what is not known."""

    marginal: float | None
    "The metric with all edits minus the metric with all but this one."
    cumulative: float | None
    "The metric after this one and those before it."


def worths(inputs: Inputs, value: Value) -> tuple[Worth, ...]:
    """What each edit is worth, from the metrics of other inputs."""
    now = value(inputs)
    return tuple(
        Worth(_difference(now, value(without(inputs, edit))), value(up_to(inputs, edit)))
        if edit.enabled
        else Worth(None, None)
        for edit in inputs.edits
    )


def wanted(inputs: Inputs) -> Iterator[Inputs]:
    """All inputs whose metric `worths` asks for."""
    yield inputs
    for edit in inputs.edits:
        if edit.enabled:
            yield up_to(inputs, edit)
            yield without(inputs, edit)


def without(inputs: Inputs, edit: Edit) -> Inputs:
    return replace(inputs, edits=tuple(each for each in inputs.edits if each is not edit))


def up_to(inputs: Inputs, edit: Edit) -> Inputs:
    """The inputs with this edit and those before it."""
    return replace(inputs, edits=inputs.edits[: inputs.edits.index(edit) + 1])


def moved(edits: tuple[Edit, ...], edit: Edit, place: int) -> tuple[Edit, ...]:
    """The edits in their order, but for one that stands at `place`, from 0."""
    rest = [each for each in edits if each is not edit]
    return (*rest[:place], edit, *rest[place:])


def changed(edits: tuple[Edit, ...], edit: Edit, new: Edit) -> tuple[Edit, ...]:
    """The edits with another one in an edit's place."""
    return tuple(new if each is edit else each for each in edits)


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
