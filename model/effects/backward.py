"""Gradients of a target by any site of the pass, one line at a time.

A recorded run has the residual stream that enters every line, so a line can be run again from it and pulled back
through alone: the cost of one forward and one backward, and never the graph of more than one sub-layer in memory.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.edge_tables import left_by
from model.edits.edges import NODE_CHANGES
from model.edits.interventions import Sources
from model.edits.paths import hook_of
from model.edits.wiring import Wiring
from model.gpt2 import GPT2, Past, wide
from model.held import held_scales
from model.lines import handed_on, last_line, norm_before, residual_site
from model.metrics import Metric
from model.probes import met_by, positions_of, probe_line, probed, readers_of, set_scales
from model.sites import Hook, Site, compose, no_hook
from model.targets import Target
from model.trace import Trace


class Treatment(Enum):
    """Which layer norms' scales the estimated total effect holds at their values."""

    TARGET = "target"
    "Only the one through which the target reads (the Transformer Debugger's)."
    ALL = "all"
    NONE = "none"


Question = Target | Metric
"""A frame of tracing, which is held as it is, or the metric, whose gradient is taken where the run stands."""


@dataclass(frozen=True, slots=True, eq=False)
class Rerun:
    """A run that can be differentiated: its lines' inputs, the edits that stay made, and what is asked of it."""

    model: GPT2
    trace: Trace
    asked: Question
    treatment: Treatment
    edits: Hook
    "The run's own; `more` come after them."
    also: Hook
    stream: tuple[Tensor, ...]
    "What enters each line up to the one that reads, by line, [pos, d_model]; line 0 has the embedding, as line 1."
    more: Hook = no_hook

    @property
    def end(self) -> int:
        """The line that reads."""
        return len(self.stream) - 1

    def added(self) -> dict[Component, Tensor]:
        """What edges add to the stream of those who read for the target and meet one of their own: [pos, d_model]."""
        if not isinstance(self.edits, Wiring) or self.end == last_line(self.model.config.n_layer):
            return {}
        found = {each: self.edits.added(each, self.stream[-1][None]) for each in readers(self.asked)}
        return {reader: added[0].detach() for reader, added in found.items() if added is not None}


def rerun(
    model: GPT2,
    trace: Trace,
    asked: Question,
    sources: Sources = Sources(),
    treatment: Treatment = Treatment.NONE,
    *,
    also: Hook = no_hook,
) -> Rerun:
    """A recorded run as it was, its edits kept; `also` may raise to stop whatever is done with it.

    An edge that carries something else is no way back to its tail, but for what the change leaves of the tail's write.
    What paths give receivers to read is held at the run's own.
    """
    sites = [residual_site(line, model.config.n_layer) for line in range(1, line_read(model, asked) + 1)]
    stream = tuple(trace[site] for site in [(Site.RESID_PRE, 0), *sites])
    edits = hook_of(model, trace.changes, sources, trace)
    return Rerun(model, trace, asked, treatment, edits, also, stream)


@torch.no_grad()
def moved(run: Rerun, line: int, start: Tensor, more: Hook = no_hook) -> Rerun:
    """The run with `start` entering a line instead, and `more` edits from that line on."""
    stream, resid = [*run.stream[:line], start], start
    if line == 1:
        stream[0] = start
    edits = run.edits
    if isinstance(edits, Wiring):
        edits = replace(edits)  # what other such runs have computed is none of its business
        if line == 1:
            edits.keep(Site.RESID_PRE, 0, start[None])
    hook = compose(run.also, edits, more)
    for each in range(line, run.end):
        resid = through_line(run.model, each, resid[None], hook)[0]
        stream.append(resid)
    return replace(run, stream=tuple(stream), edits=edits, more=more)


def through_line(model: GPT2, line: int, resid: Tensor, hook: Hook, past: Past | None = None) -> Tensor:
    """The residual stream with one line's output added, as the next line reads it: [batch, pos, d_model]."""
    layer, block = (line - 1) // 2, model.blocks[(line - 1) // 2]
    left = block.attend(resid, layer, hook, past) if line % 2 else block.think(resid, layer, hook)
    return handed_on(line, model.config.n_layer, left, hook)


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """Gradients of a target as they come back through the lines."""

    stream: Tensor
    "By the residual stream: [pos, d_model]."
    edges: Mapping[NODE_CHANGES, Tensor] = field(default_factory=dict[NODE_CHANGES, Tensor])
    "By what edited edges have added in place of each tail's write, to all their heads so far: [pos, d_model]."
    own: Mapping[Component, Tensor] = field(default_factory=dict[Component, Tensor])
    "Of the target alone: by what edges add to the stream of each of its readers that has its own: [pos, d_model]."

    def __add__(self, other: "Pulled") -> "Pulled":
        edges = dict(self.edges)
        for change, gradient in other.edges.items():
            edges[change] = edges[change] + gradient if change in edges else gradient
        return Pulled(self.stream + other.stream, edges, self.own)

    @property
    def embedding(self) -> Tensor:
        """By the embedding, for itself and through edges of all of it: [pos, d_model]."""
        whole = [(change, x) for change, x in self.edges.items() if change.component.kind is Kind.EMBED]
        return self.stream + sum(
            ((left_by(change) - 1) * x for change, x in whole), self.stream.new_zeros(())
        )


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One line, run from what entered it."""

    entered: Tensor
    left: Tensor
    seen: Mapping[Site, Tensor]
    "The watched sites, with their batch axis of 1."
    leaves: Mapping[NODE_CHANGES, Tensor]
    "What edges add here in place of earlier lines' writes."
    tails: Mapping[NODE_CHANGES, Tensor]
    "What they add on later lines in place of this one's."

    def pull(self, gradient: Pulled, *, again: bool = False) -> tuple[Pulled, dict[Site, Tensor]]:
        """From the gradient by what leaves the line to that by what enters it and by each watched site."""
        wanted = [self.entered, *self.seen.values(), *self.leaves.values()]
        ends = [(self.left, gradient.stream)]
        ends += [(x, gradient.edges[change]) for change, x in self.tails.items() if change in gradient.edges]
        found = torch.autograd.grad(
            [end for end, _ in ends],
            wanted,
            [by[None].to(end.dtype) for end, by in ends],
            allow_unused=True,
            retain_graph=again,
        )
        first, *rest = (
            wide(torch.zeros_like(x) if grad is None else grad)[0]
            for x, grad in zip(wanted, found, strict=True)
        )
        by_leaf = dict(zip(self.leaves, rest[len(self.seen) :], strict=True))
        by_site = dict(zip(self.seen, rest[: len(self.seen)], strict=True))
        return Pulled(first, gradient.edges) + Pulled(torch.zeros_like(first), by_leaf), by_site


def graph(run: Rerun, line: int, sites: Collection[Site], computed: Collection[Site] = ()) -> Graph:
    """`sites` are watched after the run's edits, as they are recorded; those in `computed` before them."""
    seen: dict[Site, Tensor] = {}

    def hold(site: Site, layer: int, x: Tensor) -> Tensor:
        held = run.treatment is Treatment.ALL and site in (Site.LN1_SCALE, Site.LN2_SCALE)
        x = x.detach() if held else x
        if site in computed:
            seen[site] = x
        return x

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        if site in sites:
            # an edit of all of it has cut it off from what comes before
            x = x if x.requires_grad else x.detach().requires_grad_()
            seen[site] = x
            if isinstance(run.edits, Wiring):
                run.edits.keep(site, layer, x)
        return x

    if isinstance(run.edits, Wiring):
        run.edits.begin()
    with torch.enable_grad():
        entered = run.stream[line][None].detach().requires_grad_()
        left = through_line(run.model, line, entered, compose(run.also, hold, run.edits, run.more, watch))
        return Graph(entered, left, seen, *_edges(run.edits, line))


def _edges(edits: Hook, line: int) -> tuple[dict[NODE_CHANGES, Tensor], dict[NODE_CHANGES, Tensor]]:
    """What edges have added on a line that has just been run, and what its own writes' differences are."""
    if not isinstance(edits, Wiring):
        return {}, {}
    leaves, edits.leaves = edits.leaves or {}, None
    tails = {change: edits.delta(change) for change in edits.tails_on(line)}
    return leaves, {change: x for change, x in tails.items() if x.requires_grad}


def final_gradient(run: Rerun) -> Pulled:
    """dS / d(the residual stream that the target reads), and by what edges add for its readers."""
    with torch.enable_grad():
        leaf = wide(run.stream[-1]).detach().requires_grad_()
        added = {reader: x.requires_grad_() for reader, x in run.added().items()}
        score = score_of(run.model, run.trace, run.asked, leaf, run.treatment, added)
        gradient, *pulls = torch.autograd.grad(score, [leaf, *added.values()])
    own = dict(zip(added, pulls, strict=True))
    found = Pulled(gradient, own=own)
    for reader, pull in own.items():
        found = found + Pulled(torch.zeros_like(gradient), carried_to(run, reader, pull))
    return found


def carried_to(run: Rerun, reader: Component, pull: Tensor) -> dict[NODE_CHANGES, Tensor]:
    """By what edges add in place of each tail's write, where a reader has this pull on the stream: [pos, d_model]."""
    assert isinstance(run.edits, Wiring)  # it has readers that meet streams of their own
    weights = run.edits.weights(reader, len(pull))
    return {change: pull * weight[0, :, None].to(pull) for change, weight in weights.items()}


def sweep(
    run: Rerun, sites: Collection[Site], computed: Collection[Site] = (), first: int = 0
) -> Iterator[tuple[int, dict[Site, Tensor]]]:
    """(layer, gradients by the watched sites) for each line from the last that is read down to line `first`.

    Line 0 is the embedding, `resid_pre` of layer 0.  What no line that is read contains is not yielded: it is zero.
    """
    pulled = final_gradient(run)
    for line in range(run.end - 1, max(first, 1) - 1, -1):
        pulled, found = graph(run, line, sites, computed).pull(pulled)
        yield (line - 1) // 2, found
    if first == 0:
        yield 0, {Site.RESID_PRE: pulled.embedding}


def line_read(model: GPT2, asked: Question) -> int:
    """The line that reads: a probe's own for a metric that has one, else the unembedding's."""
    if isinstance(asked, Target):
        return asked.line
    return last_line(model.config.n_layer) if asked.probe is None else probe_line(asked.probe)


def score_of(
    model: GPT2,
    trace: Trace,
    asked: Question,
    resid: Tensor,
    treatment: Treatment,
    added: Mapping[Component, Tensor] = MappingProxyType({}),
) -> Tensor:
    """The target as a function of the residual stream, the run's own final bias met: [pos, d_model] -> [].

    `added` is what edges add for readers that meet a stream of their own.
    """
    line, live = line_read(model, asked), treatment is Treatment.NONE
    if isinstance(asked, Metric) and asked.probe is not None:
        read = resid[list(positions_of(asked.probe, asked.pos))]
        read = met_by(asked.probe, asked.pos, read, added.get)
        held = set_scales(model, trace, asked.probe, asked.pos)
        return probed(model, asked.probe, read, live=live, held=held)
    norm, held = norm_before(model, line), held_scales(model, trace, line)

    def normed(pos: int, reader: Component | None = None) -> Tensor:
        x = wide(resid[pos])
        x = x if reader is None or reader not in added else x + added[reader][pos]
        if isinstance(asked, Target) and asked.raw:
            return x
        scale = norm.scale(x) if live else norm.scale(x).detach()
        scale = scale if held is None else held.at(pos).of(scale)
        final = line == last_line(model.config.n_layer)
        bias = trace[Site.LN_FINAL_BIAS, 0][pos] if final else norm.bias
        return (x - x.mean()) / scale * wide(norm.weight) + wide(bias)

    if isinstance(asked, Metric):
        return asked.of_normed(normed(asked.pos), wide(model.unembedding))
    total = resid.new_zeros((), dtype=wide(resid).dtype) + asked.constant
    for read in asked.reads:
        total = total + normed(read.pos, read.reader) @ read.normed
    return total


@torch.no_grad()
def value_of(model: GPT2, trace: Trace, asked: Question) -> float:
    """The target in a run, its layer norm live; a frame holds what it was made with."""
    resid = trace[residual_site(line_read(model, asked), model.config.n_layer)]
    return float(score_of(model, trace, asked, resid, Treatment.NONE, added_for(trace, asked)))


def added_for(trace: Trace, asked: Question) -> dict[Component, Tensor]:
    """What edges add, in a recorded run, to the streams of a target's readers: [pos, d_model]."""
    found = {reader: trace.added(reader) for reader in readers(asked)}
    return {reader: added for reader, added in found.items() if added is not None}


def readers(asked: Question) -> list[Component]:
    """The parts of the model that read for a question, where they are known."""
    found: Iterable[Component | None] = ()
    if isinstance(asked, Target):
        found = (read.reader for read in asked.reads)
    elif asked.probe is not None:
        found = readers_of(asked.probe, asked.pos)
    return [each for each in dict.fromkeys(found) if each is not None]


def through_norm(resid: Tensor, scale: Tensor, delta: Tensor, *, live: Tensor | bool) -> Tensor:
    """J delta of centring and scaling, before weight and bias: all [..., d_model], scale [..., 1].

    J is symmetric, so the same product pulls a gradient back.  `live` differentiates the scale too; a number does so in
    part, where an edit has changed it (`readers.slope_of_scale`).
    """
    changed = delta - delta.mean(-1, keepdim=True)
    seen = (resid - resid.mean(-1, keepdim=True)) / scale
    return (changed - live * seen * (seen * delta).mean(-1, keepdim=True)) / scale
