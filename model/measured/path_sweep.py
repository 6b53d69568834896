"""Many senders into the same receivers: what each path does to a target, measured, and what gradients say of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Span
from model.edits.edge_tables import cuts_of
from model.edits.edges import NODE_CHANGES
from model.edits.interventions import Sources
from model.edits.links import INPUTS, reading_line
from model.edits.path_edits import Meaning, PathPatch
from model.edits.paths import Batch, before_stream, carry, input_site, sent
from model.edits.wiring import Given
from model.effects.backward import Question, Treatment, through_line
from model.gpt2 import GPT2
from model.lines import last_line, residual_site, written_on
from model.measured.scorers import Scorer, unchanged
from model.sites import Hook, Site, compose, no_hook
from model.targets import Via
from model.trace import Trace
from model.upstream.edges import edges_into
from model.upstream.inputs import Input, InputGradients, input_gradients

ROWS = 512
"Tokens that are run together."
VIAS: Mapping[Kind, Via] = dict(zip(INPUTS, (Via.Q, Via.K, Via.V), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Senders, each by itself, into all of the receivers together.

    Raises ValueError where the run has paths of its own.
    """

    model: GPT2
    trace: Trace
    "Run A: that of all changes in force."
    sends: Sequence[NODE_CHANGES]
    "One change a sender."
    receivers: tuple[Component, ...]
    meaning: Meaning = Meaning.DIRECT
    sources: Sources = Sources()
    tokens: Span | None = None
    "At which the receivers' inputs are given; None is every one."
    also: Hook = no_hook

    def __post_init__(self) -> None:
        if any(isinstance(change, PathPatch) for change in self.trace.changes):
            raise ValueError("a sweep of paths is of a run without paths: delete or disable those in force")

    @property
    def given_at(self) -> Tensor:
        """bool [pos]"""
        found = torch.zeros(len(self.trace.tokens), dtype=torch.bool, device=self.model.wte.weight.device)
        found[slice(None) if self.tokens is None else self.tokens.slice] = True
        return found

    def runs(self) -> Batch:
        """Run A, for as many senders as are carried together."""
        return Batch.of(self.model, self.trace, self.sources, self.also)

    def line(self, receiver: Component) -> int:
        return reading_line(receiver, self.model.config.n_layer)


def senders(receivers: Sequence[Component], n_layer: int, n_head: int) -> Iterator[Component]:
    """The embedding, every head and every MLP that writes before all of the receivers read."""
    end = min(reading_line(receiver, n_layer) for receiver in receivers)
    yield Component(Kind.EMBED)
    for layer in range(n_layer):
        if 1 + 2 * layer < end:
            yield from (Component(Kind.HEAD, layer, head) for head in range(n_head))
        if 2 + 2 * layer < end:
            yield Component(Kind.MLP, layer)


@torch.no_grad()
def measured(sweep: Sweep, scorer: Scorer) -> Iterator[tuple[int, float]]:
    """(number of the sender, the target with its path patched), batch by batch: passes three and four of each.

    What carries nothing leaves the target as it was, exactly.
    """
    value, runs = unchanged(sweep.model, sweep.trace, scorer), sweep.runs()
    size, at = max(1, ROWS // len(sweep.trace.tokens)), sweep.given_at
    for first in range(0, len(sweep.sends), size):
        here = sweep.sends[first : first + size]
        starts = [sent(runs, change, slice(row, row + 1)) for row, change in enumerate(here)]
        carried = carry(runs, starts, sweep.receivers, sweep.meaning, len(here))
        carried = {line: delta * at[:, None] for line, delta in carried.items()}
        held = {
            receiver: Given(at, runs.received(receiver, carried[sweep.line(receiver)]))
            for receiver in sweep.receivers
        }
        moved = torch.stack([delta.flatten(1).any(1) for delta in carried.values()]).any(0).tolist()
        values = _fourth(sweep, scorer, held) if any(moved) else [value] * len(here)
        for row, (moves, new) in enumerate(zip(moved, values, strict=True)):
            yield first + row, new if moves else value


def _fourth(sweep: Sweep, scorer: Scorer, held: Mapping[Component, Given]) -> list[float]:
    """Pass four, a row for each sender: run A from where a receiver reads what it is given."""
    model, trace, n_layer = sweep.model, sweep.trace, sweep.model.config.n_layer
    hook = sweep.runs().wiring
    hook.held = held
    rows = max(len(given.value) for given in held.values())
    line = min(sweep.line(receiver) for receiver in held)
    if line >= scorer.line and scorer.line < last_line(n_layer):
        return [unchanged(model, trace, scorer)] * rows
    resid = trace[residual_site(line, n_layer)].expand(rows, -1, -1)
    if line == last_line(n_layer):
        resid = held[Component(Kind.UNEMBED)].put(resid)
    for each in range(line, scorer.line):
        resid = through_line(model, each, resid, compose(sweep.also, hook))

    def added(reader: Component) -> Tensor | None:
        return None if reader.kind is Kind.UNEMBED else hook.added(reader, resid)

    return scorer.score(scorer.met(resid, added), trace).tolist()


def estimated(
    sweep: Sweep, asked: Question, treatment: Treatment = Treatment.NONE
) -> Iterator[tuple[int, float]]:
    """(number of the sender, its effect to first order): change of its write . gradient along the paths.

    One forward and one backward pass for all of them.  With every layer norm live, what `measured` measures goes to it
    as changes become small.
    """
    by = input_gradients(
        sweep.model, sweep.trace, asked, sweep.sources, treatment, more=_holding(sweep), also=sweep.also
    )
    slopes, runs = _slopes(sweep, by), sweep.runs()
    for number, change in enumerate(sweep.sends):
        (delta,) = sent(runs, change, slice(None)).delta
        slope = slopes[written_on(change.component)]
        yield number, float((delta.to(slope.dtype) * slope).sum())


def _holding(sweep: Sweep) -> Hook:
    """Receivers' inputs are given, so that none sees what an earlier receiver writes."""
    last = sweep.model.config.n_layer - 1
    places = {
        (Site.RESID_POST, last) if part.kind is Kind.UNEMBED else input_site(part) for part in sweep.receivers
    }
    at = sweep.given_at[:, None]

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if (site, layer) not in places:
            return x
        if site in (Site.RESID_POST, Site.MLP_PRE):
            return torch.where(at, x.detach(), x)
        x = x.clone()
        for part in sweep.receivers:
            if part.kind in INPUTS and input_site(part) == (site, layer):
                x[:, part.index] = torch.where(at, x[:, part.index].detach(), x[:, part.index])
        return x

    return hook


def _slopes(sweep: Sweep, by: InputGradients) -> list[Tensor]:
    """Of the target by the stream after each line, along the paths into the receivers: [line], [pos, d_model]."""
    slope = torch.zeros_like(by.final)
    found: list[Tensor] = []
    cuts = cuts_of(sweep.trace.changes)
    for line in reversed(range(max(map(sweep.line, sweep.receivers)))):
        for receiver in sweep.receivers:
            if sweep.line(receiver) == line + 1:
                slope = slope + _pulled(sweep, by, receiver)
        for cut in cuts:
            if cut.line == line + 1 > 1:
                slope = slope.clone()
                slope[slice(None) if cut.span is None else cut.span.slice] *= cut.left
        found.append(slope)
        if sweep.meaning is Meaning.MLPS and line and line % 2 == 0 and bool(slope.any()):
            slope = _through_mlp(sweep, by, line, slope)
    return found[::-1]


def _pulled(sweep: Sweep, by: InputGradients, receiver: Component) -> Tensor:
    """A receiver's pull on the stream that it reads, at every token: [pos, d_model]."""
    via = VIAS.get(receiver.kind)
    part = receiver if via is None else replace(receiver, kind=Kind.HEAD)
    found = torch.zeros_like(by.final)
    for pos in sweep.given_at.nonzero()[:, 0].tolist():
        found += edges_into(sweep.model, sweep.trace, by, Input(part, pos, via)).direct
    return found


def _through_mlp(sweep: Sweep, by: InputGradients, line: int, slope: Tensor) -> Tensor:
    """From the slope after an MLP to that before it: [pos, d_model]."""
    layer, trace = (line - 1) // 2, sweep.trace

    def hold(site: Site, at: int, x: Tensor) -> Tensor:
        return x.detach() if site is Site.LN2_SCALE and by.treatment is Treatment.ALL else x

    hook = before_stream(compose(sweep.also, hold, sweep.runs().wiring))
    with torch.enable_grad():
        before = trace[Site.RESID_MID, layer].detach().requires_grad_()
        after = sweep.model.blocks[layer].think(before[None], layer, hook)
        (found,) = torch.autograd.grad(after, before, slope[None].to(after.dtype))
    return found.to(slope.dtype)
