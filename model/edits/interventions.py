"""Changes in a pass: the hook that makes them, and the sites at which they are made.

The changes are frozen values (`changes.py`, `compounds.py`), their values come from other runs (`sources.py`), and
what each does to a tensor is in `edits.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, Component, Kind
from model.dictionaries import place_of
from model.edits.changes import Ablate, Change, ChangeError, Freeze, Mode, Patch, Span, Steer, Way, place
from model.edits.compounds import AllBut, Compound, flat, runs, text_of
from model.edits.made import Make, drawn, edit
from model.edits.sources import Recorded, Reference, Sources, Where
from model.edits.splices import Splice, splice
from model.sites import Hook, Site

__all__ = [
    "SINGLE",
    "Ablate",
    "AllBut",
    "Change",
    "ChangeError",
    "Compound",
    "Freeze",
    "Mode",
    "Patch",
    "Recorded",
    "Reference",
    "Sources",
    "Span",
    "Splice",
    "Steer",
    "Way",
    "Where",
    "as_hook",
    "by_row",
    "drawn",
    "first_layer",
    "flat",
    "place",
    "place_of_stream",
    "runs",
    "site_of",
    "text_of",
    "where",
]

SINGLE = Ablate | Patch | Freeze | Steer
"Changes of one site, whose tensor is all that they read."

SITES = {
    Kind.TOKEN_EMBED: Site.EMBED,
    Kind.POS_EMBED: Site.POS_EMBED,
    Kind.EMBED: Site.RESID_PRE,
    Kind.RESID_PRE: Site.RESID_PRE,
    Kind.LN1_SCALE: Site.LN1_SCALE,
    Kind.Q: Site.Q,
    Kind.K: Site.K,
    Kind.V: Site.V,
    Kind.PATTERN: Site.PATTERN,
    Kind.HEAD: Site.Z,
    Kind.ATTN_BIAS: Site.ATTN_BIAS,
    Kind.ATTN: Site.ATTN_OUT,
    Kind.RESID_MID: Site.RESID_MID,
    Kind.LN2_SCALE: Site.LN2_SCALE,
    Kind.NEURON: Site.MLP_POST,
    Kind.MLP_BIAS: Site.MLP_BIAS,
    Kind.MLP: Site.MLP_OUT,
    Kind.RESID_POST: Site.RESID_POST,
    Kind.LN_FINAL_SCALE: Site.LN_FINAL_SCALE,
    Kind.FINAL_BIAS: Site.LN_FINAL_BIAS,
}


def where(component: Component, key: int | None = None) -> Where:
    """The site and layer at which a component is edited.  Raises ValueError for parts that put nothing out."""
    if component.kind in DICTIONARY and component.site:
        return place_of(component)
    if component.kind not in SITES:
        raise ValueError(f"{component} puts nothing out that could be replaced")
    site = Site.PATTERN if key is not None else SITES[component.kind]
    return site, component.layer if component.kind.has_layer else 0


def site_of(change: Change) -> Where:
    """The site and layer at which a change is made.  Raises ValueError for one that has no single place."""
    if isinstance(change, Ablate) and change.mode is Mode.CUT:
        return Site.SCORES, change.component.layer
    return where(change.component, change.key)


def first_layer(change: Change, n_layer: int) -> int:
    """The earliest layer whose computation the change touches: -1 the embeddings, n_layer the final norm."""
    if not isinstance(change, SINGLE):
        return change.first_layer(n_layer)
    part = change.component
    match part.kind:
        case Kind.EMBED | Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return -1
        case _ if part.layer == 0 and place_of_stream(part) is Kind.RESID_PRE:
            return -1  # the embedding's own place, so that edits of both keep their order
        case Kind.FINAL_BIAS | Kind.LN_FINAL_SCALE:
            return n_layer
        case _:
            return part.layer


def place_of_stream(part: Component) -> Kind | None:
    """Which place of the residual stream a part is, or is of as a dictionary's part; None for others."""
    if part.kind in DICTIONARY:
        return {"r": Kind.RESID_PRE, "i": Kind.RESID_MID, "o": Kind.RESID_POST}.get(part.site)
    return part.kind if part.kind in RESIDUAL else None


def as_hook(
    changes: Sequence[Change | Compound],
    sources: Sources = Sources(),
    into: dict[Where, Splice] | None = None,
) -> Hook:
    """The hook that makes `changes` in order, the same way in every row of the batch.

    `into` takes what edits made of dictionaries' parts.  Raises ChangeError where a change has no source, or does not
    fit it, and ValueError for a dictionary that is not loaded.
    """
    grouped: dict[Where, list[SINGLE]] = {}
    for change in flat(changes):
        if not isinstance(change, SINGLE):
            raise ValueError(f"'{change}' is of more than one place: `paths.hook_of` makes it")
        grouped.setdefault(site_of(change), []).append(change)
    read: dict[Where, Tensor] = {}
    made = {at: list(_makes(at, here, sources, read, into)) for at, here in grouped.items()}
    encoded = {sources.dictionaries[at].reads for at in made if at in sources.dictionaries}

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        makes = made.get((site, layer), ())
        for make in makes:
            x = make(x)
        if (site, layer) in encoded:
            read[site, layer] = x
        # a span may hold queries before the key, and those cannot see it
        return x.tril() if makes and site is Site.PATTERN else x

    return hook


def by_row(
    shared: Sequence[Change],
    rows: Sequence[Sequence[Change]],
    sources: Sources = Sources(),
    parts: Tensor | None = None,
) -> Hook:
    """The hook that makes what rows of a batch share, and then each row's own changes in that row.

    `parts`, [row], makes of a row's own changes a part of the way alone, which can be differentiated; None is all of
    it.  Raises as `as_hook` does.
    """
    hooks: dict[Where, list[tuple[int, Hook]]] = {}
    places = [(site_of(change), change) for change in flat(shared)]
    for row, changes in enumerate(rows):
        sites = dict.fromkeys(map(site_of, changes))
        sites |= {sources.dictionaries[at].reads: None for at in sites if at in sources.dictionaries}
        made = as_hook([*(change for at, change in places if at in sites), *changes], sources)
        for at in sites:
            hooks.setdefault(at, []).append((row, made))
    alike = as_hook(shared, sources)

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        here = hooks.get((site, layer), ())
        found = list(alike(site, layer, x)) if here else []
        for row, made in here:
            new = made(site, layer, x[row : row + 1])[0]
            found[row] = new if parts is None else found[row] + parts[row] * (new - found[row])
        return torch.stack(found) if here else alike(site, layer, x)

    return hook


def _makes(
    at: Where,
    changes: Sequence[SINGLE],
    sources: Sources,
    read: Mapping[Where, Tensor],
    into: dict[Where, Splice] | None,
) -> Iterator[Make]:
    """One after the other at one site; a dictionary's that follow each other together."""
    for spliced, group in groupby(changes, lambda change: change.component.kind in DICTIONARY):
        if spliced:
            yield splice(list(group), at, sources, lambda: read[sources.dictionaries[at].reads], into)
        else:
            yield from (edit(change, at, sources) for change in group)
