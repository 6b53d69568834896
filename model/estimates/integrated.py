"""Integrated gradients: gradients averaged on the way from a run's own values to the other ones.

Along the embeddings (Sundararajan et al. 2017; Hanna et al. 2024, EAP-IG inputs), along a whole site's activations
(Marks et al. 2024), or along one edit alone, whose sum goes to what measuring that edit gives as steps grow.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from types import MappingProxyType

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import SINGLE, Change, Where, as_hook, first_layer
from model.effects.attribution import Treatment
from model.effects.backward import Question, Rerun, added_for, moved, score_of, sweep, through_line
from model.estimates.swap import NODE_SITES, Estimates, Swap, nothing
from model.lines import written_on
from model.measured.rows import Again
from model.metrics import Metric
from model.sites import Hook, Site, compose

TOKENS = 512
"""In a batch whose graph is kept: its memory is what bounds it."""


class Rule(Enum):
    """At which fractions of the way from the edited run's values to the other's gradients are taken."""

    RIEMANN_LEFT = "riemann_left"
    "k / steps for k = 0 .. steps - 1: the edited run's end is in, the other's is not."
    MIDPOINT = "midpoint"
    "(k + 1/2) / steps."

    def fractions(self, steps: int) -> list[float]:
        if steps < 1:
            raise ValueError(f"{steps} steps integrate nothing: give at least 1")
        shift = 0.5 if self is Rule.MIDPOINT else 0.0
        return [(k + shift) / steps for k in range(steps)]


def integrated_inputs(swap: Swap, steps: int, rule: Rule) -> Estimates:
    """Integrated gradients: gradients averaged while the embeddings go from their own to the other values.

    The embeddings' estimates add up to metric(other's embeddings) - metric(edited) as steps grow.  Other nodes
    get the same average times their own difference (EAP-IG's "inputs"; its published sum, from the corrupted
    run towards the clean one with (corrupted - clean), is minus the denoising left sum).
    """
    run, found = swap.rerun(), nothing(swap)
    for fraction in rule.fractions(steps):
        start = swap.part_way(Site.RESID_PRE, 0, fraction)
        for layer, by in sweep(moved(run, 1, start), NODE_SITES):
            found.add(swap.products(layer, by), layer, 1 / steps)
    return found


def integrated_activations(swap: Swap, steps: int, rule: Rule) -> Estimates:
    """Integrated gradients along each site's own activations: a whole layer's at once, all else computed.

    A layer's heads add up to the effect of patching all of them together, its neurons likewise, as steps grow.
    Costs 4 x layers x steps passes, each from the layer on; embeddings are those of `integrated_inputs`.
    """
    inputs = integrated_inputs(swap, steps, rule)
    run, found = swap.rerun(), nothing(swap)
    for line in range(1, run.end):
        layer = (line - 1) // 2
        for site in (Site.Z, Site.ATTN_OUT) if line % 2 else (Site.MLP_OUT, Site.MLP_POST):
            for fraction in rule.fractions(steps):
                way = moved(run, line, run.stream[line], _part_way(swap, (site, layer), fraction))
                for at, by in sweep(way, (site,), first=line):
                    if at == layer and site in by:
                        found.add(swap.products(layer, by), layer, 1 / steps)
    return replace(found, embed=inputs.embed)


def _part_way(swap: Swap, at: Where, fraction: float) -> Hook:
    """A hook that puts a site's activations `fraction` of the way to the other values."""
    value = swap.part_way(*at, fraction)[None]
    return lambda site, layer, x: value if (site, layer) == at else x


def integrated_edit(swap: Swap, change: Change, steps: int, rule: Rule) -> float:
    """One edit made part of the way, all else computed: the mean of dS/d(part), in the target's unit.

    Goes to what `replay.measure` measures of the edit as steps grow.  Every layer norm's scale is live, whatever
    the swap's treatment, and a patch takes its values from `swap.sources`.  Raises ValueError for the final bias.
    """
    if change.component.kind is Kind.FINAL_BIAS:
        raise ValueError(f"{change.component} has no path to integrate along: nothing comes after it")
    run, line = swap.rerun(), written_on(change.component)
    begin = 0 if change.span is None else change.span.first
    if line >= run.end or begin > _last_read(swap.asked):
        return 0.0  # it comes too late to matter
    if not all(isinstance(each, SINGLE) for each in swap.edited.changes):
        return _mean_slope(_rewired(swap, run, change), rule.fractions(steps), len(run.stream[0]), run)
    # edits that follow name tokens by their place in the whole prompt
    first = 0 if any(written_on(each.component) > line for each in swap.edited.changes) else begin
    delta = _added(swap, run, change)[first:]

    def scores(part: Tensor) -> Tensor:
        resid = run.stream[line + 1][None, first:] + part[:, None, None] * delta
        return _scores(swap, run, _lines(swap, run, resid, line, first), first)

    return _mean_slope(scores, rule.fractions(steps), len(delta), run)


def _mean_slope(
    scores: Callable[[Tensor], Tensor], fractions: Sequence[float], length: int, run: Rerun
) -> float:
    """The mean of a target's slope over parts of the way, `length` tokens each: [part] -> [part]."""
    size, total = max(1, TOKENS // length), 0.0
    for at in range(0, len(fractions), size):
        with torch.enable_grad():
            part = run.stream[0].new_tensor(fractions[at : at + size]).requires_grad_()
            (slope,) = torch.autograd.grad(scores(part).sum(), part)
        total += float(slope.sum())
    return total / len(fractions)


def _rewired(swap: Swap, run: Rerun, change: Change) -> Callable[[Tensor], Tensor]:
    """The target as edited edges and paths make it of an edit that is made in part: [part] -> [part]."""
    again = Again(swap.model, swap.edited, swap.sources, swap.also)
    layer = first_layer(change, swap.model.config.n_layer)

    def scores(part: Tensor) -> Tensor:
        resid, added = again.streams(layer, [(change,)] * len(part), run.end, part)
        own = {reader: added(reader) for reader in added_for(swap.edited, swap.asked)}
        return _scores(swap, run, resid, 0, {reader: x for reader, x in own.items() if x is not None})

    return scores


@torch.no_grad()
def _added(swap: Swap, run: Rerun, change: Change) -> Tensor:
    """What an edit made in full adds to the residual stream after its line; parts add in proportion: [pos, d_model]."""
    model, line = swap.model, written_on(change.component)
    hook = compose(swap.also, run.edits, as_hook((change,), swap.sources))
    if line:
        after = through_line(model, line, run.stream[line][None], hook)
    else:
        tokens = torch.tensor([swap.edited.tokens], device=run.stream[0].device)
        after = hook(Site.RESID_PRE, 0, model.embed(tokens, hook))
    return after[0] - run.stream[line + 1]


def _lines(swap: Swap, run: Rerun, resid: Tensor, line: int, first: int) -> Tensor:
    """From after a line, and a token on, to what the target reads: [part, pos, d_model] -> the same."""

    def past(layer: int) -> tuple[Tensor, Tensor]:
        return swap.edited[Site.K, layer][None, :, :first], swap.edited[Site.V, layer][None, :, :first]

    hook = compose(swap.also, run.edits)
    for at in range(line + 1, run.end):
        resid = through_line(swap.model, at, resid, hook, past if first else None)
    return resid


def _scores(
    swap: Swap,
    run: Rerun,
    resid: Tensor,
    first: int,
    added: Mapping[Component, Tensor] = MappingProxyType({}),
) -> Tensor:
    """The target for each part, tokens before `first` as they were: [part, pos, d_model] -> [part].

    `added` is what edges add for readers: [part or 1, pos, d_model].
    """
    kept, found = run.stream[-1][:first], list[Tensor]()
    for at, row in enumerate(resid):
        own = {reader: x[at if len(x) > 1 else 0] for reader, x in added.items()}
        row = torch.cat([kept, row])
        found.append(score_of(swap.model, swap.edited, swap.asked, row, Treatment.NONE, own))
    return torch.stack(found)


def _last_read(asked: Question) -> int:
    """The last token that the target reads."""
    return asked.pos if isinstance(asked, Metric) else max(read.pos for read in asked.reads)
