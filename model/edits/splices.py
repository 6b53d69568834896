"""Edits of latents, of what a dictionary leaves over, and of its bias: what they do to the site that it takes apart.

    x = sum of latent x decoder row + what stands beside them + error

What is left over is kept when a latent is edited, so x changes by exactly the difference of the latents' writes, and
where nothing is edited by nothing (Mossing et al. 2024, Transformer Debugger).  All edits of a dictionary that follow
each other are made of one encoding: of the site as it was before the first of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from model.components import Component, Kind
from model.dictionaries import (
    Dictionary,
    Recorded,
    as_heads,
    dictionary_of,
    numbers,
    recorded_at,
    side_by_side,
)
from model.edits.changes import Ablate, ChangeError, Freeze, Mode, Patch, Steer
from model.edits.made import Make, edit
from model.edits.sources import Means, Reference, Sources, View, Where

Single = Ablate | Patch | Freeze | Steer


@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """What edits made of a dictionary's parts in one run."""

    read: Tensor
    "What was encoded: [pos, d_in]."
    touched: Tensor
    "Numbers of the latents that were edited: [latent]."
    latents: Tensor
    "Their activations after it: [pos, latent]."
    beside: Tensor
    "What stands beside the latents after it: [pos, d_out]."


def splice(
    changes: Sequence[Single],
    at: Where,
    sources: Sources,
    read: Callable[[], Tensor],
    into: dict[Where, Splice] | None = None,
) -> Make:
    """What `changes` of one dictionary do to the site that it takes apart.

    `read` gives what a transcoder reads in the same pass, [batch, pos, d_in]; `into` takes the first row's parts.
    Raises ChangeError and ValueError for changes that cannot be made.
    """
    dictionary = dictionary_of(sources.dictionaries, changes[0].component)
    touched = numbers(_touched(dictionary, changes), dictionary.w_dec)
    edits = _Edits(dictionary, at, touched, changes, sources)

    def make(x: Tensor) -> Tensor:
        y = side_by_side(at[0], x)
        given = y if dictionary.reads == at else side_by_side(dictionary.reads[0], read())
        before = dictionary.encode(given, touched)
        after = edits.made(Kind.LATENT, before)
        delta = ((after - before) @ dictionary.w_dec[touched]) * dictionary.factor(given)
        beside = dictionary.beside(given)
        spared = edits.made(Kind.SAE_BIAS, beside)
        if spared is not beside:
            delta = delta + (spared - beside)
        if edits.has(Kind.ERROR):
            error = y - dictionary.decode(dictionary.encode(given), given)
            delta = delta + (edits.made(Kind.ERROR, error) - error)
        if into is not None:
            into[at] = Splice(given[0], touched, after[0], spared[0])
        return as_heads(at[0], y + delta, x)

    return make


def _touched(dictionary: Dictionary, changes: Sequence[Single]) -> Sequence[int]:
    """The latents that changes are of; a latent without an index is every one."""
    found = {change.component.index for change in changes if change.component.kind is Kind.LATENT}
    return range(dictionary.n_latent) if None in found else sorted(index or 0 for index in found)


class _Edits:
    """The changes of one dictionary, by what they are of: each on a tensor of its own, `_put` as anywhere else."""

    def __init__(
        self, dictionary: Dictionary, at: Where, touched: Tensor, changes: Sequence[Single], sources: Sources
    ) -> None:
        columns = {int(index): column for column, index in enumerate(touched)}

        def latents(run: Recorded) -> Tensor:
            return dictionary.encode(recorded_at(run, dictionary.reads), touched)

        def beside(run: Recorded) -> Tensor:
            return dictionary.beside(recorded_at(run, dictionary.reads))

        def error(run: Recorded) -> Tensor:
            given = recorded_at(run, dictionary.reads)
            return recorded_at(run, at) - dictionary.decode(dictionary.encode(given), given)

        shown = {Kind.LATENT: latents, Kind.SAE_BIAS: beside, Kind.ERROR: error}
        self._makes: dict[Kind, list[Make]] = {}
        for kind, show in shown.items():
            own = [change for change in changes if change.component.kind is kind]
            if own:
                view = _at(at, show)
                self._makes[kind] = [
                    _make(change, at, _through(sources, view, change), columns) for change in own
                ]

    def has(self, kind: Kind) -> bool:
        return kind in self._makes

    def made(self, kind: Kind, x: Tensor) -> Tensor:
        """x itself where nothing of this kind is edited: [batch, pos, ...]."""
        for make in self._makes.get(kind, ()):
            x = make(x)
        return x


def _make(change: Single, at: Where, seen: Sources, columns: Mapping[int, int]) -> Make:
    """A change of a part as one of a tensor whose last axis has the edited latents, or the whole vector."""
    part, but = change.component, change.but if isinstance(change, Ablate) else ()
    stand_in = (
        Component(Kind.MLP, part.layer)
        if part.index is None
        else Component(Kind.NEURON, part.layer, columns[part.index])
    )
    made = edit(replace(change, component=stand_in), at, seen, part)
    if not but:
        return made
    kept = [columns[index] for index in but]

    def all_but(x: Tensor) -> Tensor:
        y = made(x)
        y[..., kept] = x[..., kept]
        return y

    return all_but


def _at(at: Where, show: Callable[[Recorded], Tensor]) -> View:
    return lambda run: {at: show(run)}


def _through(sources: Sources, view: View, change: Single) -> Sources:
    """The same sources for one change, of which a part of a dictionary is seen in place of the site.

    Raises ChangeError where a mean is asked for and the runs that it is over are not known.
    """
    means = sources.means if isinstance(change, Ablate) and change.mode is Mode.MEAN else None
    if means is not None and not isinstance(means, Means):
        raise ChangeError(
            f"{change.place} has no mean: a mean of activations says nothing of a dictionary's parts"
        )

    def seen(reference: Reference) -> Reference:
        return Reference(reference.places, lambda: _Seen(reference.run(), view))

    return Sources(
        means=None if means is None else means.through(view),
        other=None if sources.other is None else _Seen(sources.other, view),
        base=None if sources.base is None else _Seen(sources.base, view),
        examples={number: _Seen(run, view) for number, run in sources.examples.items()},
        references=[seen(each) for each in sources.references],
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    run: Recorded
    view: View

    def __getitem__(self, where: Where, /) -> Tensor:
        return self.view(self.run)[where]
