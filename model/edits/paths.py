"""Path patching: what senders' changed writes do to receivers along some paths alone.

Four passes (Wang et al. 2022, 2211.00593, section 3.1): the run A as it is; the run B, or whatever else the senders'
values come from; A with the senders changed and all other heads held as in A, which records what the receivers read;
A with the receivers reading that.  In the third pass MLPs are computed again (`mlps`, as there) or held as well
(`direct`: the edge alone, as in Conmy et al. 2023, 2304.14997); layer norms are live.  The third pass holds all
attention, so it never mixes tokens, and only what is added to A's stream has to be carried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Change, Span
from model.edits.compounds import Compound, flat
from model.edits.edge_tables import in_stream
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.interventions import Sources, Splice, Where, as_hook, where
from model.edits.links import INPUTS, reading_line
from model.edits.path_edits import Meaning, PathPatch
from model.edits.wiring import Given, Seen, Wiring, moved
from model.gpt2 import GPT2, wide
from model.lines import residual_site, written_on
from model.sites import Hook, Site, compose, no_hook

if TYPE_CHECKING:  # recording a run makes its paths
    from model.trace import Trace


Run = Callable[[Sequence[Change]], "Trace"]
"Records the run of some changes."


def hook_of(
    model: GPT2,
    changes: Sequence[Change | Compound],
    sources: Sources = Sources(),
    seen: "Trace | None" = None,
    run: Run | None = None,
    into: dict[Where, Splice] | None = None,
) -> Hook:
    """The hook that makes every change, edges and paths too.

    `seen` has the same changes before where a pass is to begin; `run` records run A of the paths, which without it are
    held as `seen` has them, a run of all the changes.  `into` takes what edits made of dictionaries' parts.  Raises
    ValueError as `as_hook` does.
    """
    every = flat(changes)
    paths = [change for change in every if isinstance(change, PathPatch)]
    edges = [change for change in every if isinstance(change, EdgeChange | EdgeKeep)]
    if not paths and not edges:
        return as_hook(every, sources, into)
    plain = [change for change in every if not isinstance(change, PathPatch | EdgeChange | EdgeKeep)]
    hook = Wiring(model, edges, plain, sources, None if seen is None else rows_of(seen), into=into)
    if paths and run is not None:
        hook.held = given(Batch.of(model, run((*plain, *edges)), sources), paths)
    elif paths and seen is not None:
        hook.held = as_recorded(seen, paths, model.config.n_layer)
    elif paths:
        raise ValueError(f"'{paths[0]}' needs the run that it is in")
    return hook


def rows_of(trace: "Trace") -> Seen:
    """A run's tensors with a batch axis, for a batch whose rows are alike so far."""
    return lambda at: trace[at][None]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Runs A, many at once: one row each, or one for all."""

    model: GPT2
    tokens: tuple[int, ...]
    seen: Seen
    "Their tensors."
    wiring: Wiring
    "Their hook, which knows what they write."
    also: Hook = no_hook
    "May raise to stop."

    @classmethod
    def of(cls, model: GPT2, trace: "Trace", sources: Sources, also: Hook = no_hook) -> "Batch":
        """A recorded run, whose changes are none of paths."""
        edges = [change for change in trace.changes if isinstance(change, EdgeChange | EdgeKeep)]
        plain = [change for change in trace.changes if not isinstance(change, EdgeChange | EdgeKeep)]
        seen = rows_of(trace)
        return cls(model, trace.tokens, seen, Wiring(model, edges, plain, sources, seen), also)

    def recorded(self, receiver: Component) -> Tensor:
        """What a receiver reads: [batch or 1, pos, width]."""
        if receiver.kind is Kind.UNEMBED:
            return self.seen((Site.RESID_POST, self.model.config.n_layer - 1))
        x = self.seen(input_site(receiver))
        return x if receiver.kind is Kind.MLP else x[:, receiver.index]

    def received(self, receiver: Component, delta: Tensor) -> Tensor:
        """A receiver's input when `delta`, [row, pos, d_model], is added to what it reads: [row, pos, width].

        Where nothing is added it is the run's own to the bit.
        """
        n_layer = self.model.config.n_layer
        stream = self.seen(residual_site(reading_line(receiver, n_layer), n_layer))
        by_edges = None if receiver.kind is Kind.UNEMBED else self.wiring.added(receiver, stream)
        read = self.wiring.read(receiver, (stream if by_edges is None else stream + by_edges) + delta)
        if receiver.kind in INPUTS:
            read = self._edited(receiver, read)
        return torch.where(moved(delta), read.to(stream.dtype), self.recorded(receiver))

    def _edited(self, receiver: Component, read: Tensor) -> Tensor:
        """A head's input with the edits made that are of it."""
        site, layer = input_site(receiver)
        x = self.seen((site, layer))
        x = x.expand(max(len(x), len(read)), *x.shape[1:]).clone()
        x[:, receiver.index] = read.to(x.dtype)
        return self.wiring.inner(site, layer, x)[:, receiver.index]


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What one sender's change adds to the stream of runs A."""

    rows: slice
    "Of the batch that is carried together."
    line: int
    "After which it is added."
    delta: Tensor
    "[row or 1, pos, d_model]"
    change: NODE_CHANGES
    "Of the sender: of a whole MLP, or a neuron, the write is then not computed again."


def given(runs: Batch, paths: Sequence[PathPatch], rows: int = 1) -> dict[Component, Given]:
    """What receivers read, from runs A and the paths into them; several into one receiver add up."""
    length, n_layer = len(runs.tokens), runs.model.config.n_layer
    added: dict[Component, Tensor] = {}
    tokens: dict[Component, Tensor] = {}
    for path in paths:
        starts = [sent(runs, change, slice(None)) for change in path.sends]
        carried = carry(runs, starts, path.receivers, path.meaning, rows)
        own = torch.zeros(length, dtype=torch.bool)
        own[_slice(path.tokens)] = True
        for receiver in path.receivers:
            delta = carried[reading_line(receiver, n_layer)]
            delta = delta * own[:, None].to(delta)
            added[receiver] = added[receiver] + delta if receiver in added else delta
            tokens[receiver] = tokens[receiver] | own if receiver in tokens else own
    return {
        receiver: Given(tokens[receiver], runs.received(receiver, delta)) for receiver, delta in added.items()
    }


def as_recorded(trace: "Trace", paths: Sequence[PathPatch], n_layer: int) -> dict[Component, Given]:
    """What receivers read in a run of the paths."""
    found: dict[Component, Given] = {}
    for path in paths:
        for receiver in path.receivers:
            own = torch.zeros(len(trace.tokens), dtype=torch.bool)
            own[_slice(path.tokens)] = True
            known = found.get(receiver)
            own = own if known is None else own | known.where
            found[receiver] = Given(own, _recorded(trace, receiver, n_layer)[None])
    return found


def _recorded(trace: "Trace", receiver: Component, n_layer: int) -> Tensor:
    """A receiver's input in a run: [pos, width]."""
    if receiver.kind is Kind.UNEMBED:
        return trace[Site.RESID_POST, n_layer - 1]
    x = trace[input_site(receiver)]
    return x if receiver.kind is Kind.MLP else x[receiver.index]


def input_site(receiver: Component) -> Where:
    """Where what a head or an MLP reads, through its layer norm and matrix, is recorded."""
    return (Site.MLP_PRE, receiver.layer) if receiver.kind is Kind.MLP else where(receiver)


def sent(runs: Batch, change: NODE_CHANGES, rows: slice) -> Sent:
    """What a sender's change adds to the stream of runs A, for some rows of what is carried."""
    part, length = change.component, len(runs.tokens)
    delta = runs.wiring.delta(change)
    delta = delta * in_stream(part, 1, runs.wiring.cuts, length)[..., None].to(delta)
    return Sent(rows, written_on(part), delta, change)


def carry(
    runs: Batch, starts: Sequence[Sent], receivers: Sequence[Component], meaning: Meaning, rows: int
) -> dict[int, Tensor]:
    """What is added to the streams of runs A before each line on which a receiver reads: [row, pos, d_model].

    Pass three.
    """
    wanted = {reading_line(receiver, runs.model.config.n_layer) for receiver in receivers}
    delta = starts[0].delta.new_zeros(rows, *starts[0].delta.shape[1:])
    found: dict[int, Tensor] = {}
    for line in range(max(wanted) + 1):
        for at, cuts in enumerate(runs.wiring.cuts):
            own = slice(None) if len(runs.wiring.cuts) == 1 else at
            for cut in cuts:
                if cut.line == line > 1:  # the embedding's own place is its sender's
                    delta[own, ..., _slice(cut.span), :] *= cut.left
        if line in wanted:
            found[line] = delta.clone()
        here = [each for each in starts if each.line == line]
        if meaning is Meaning.MLPS and line and line % 2 == 0 and line < max(wanted) and bool(delta.any()):
            again = _computed_again(runs, (line - 2) // 2, delta, here)
            for each in here:
                if each.change.component.kind is Kind.MLP:
                    again[each.rows, _slice(each.change.span)] = 0
            delta += again
        for each in here:
            delta[each.rows] += each.delta
    return found


def _computed_again(runs: Batch, layer: int, delta: Tensor, senders: Sequence[Sent]) -> Tensor:
    """How an MLP's write changes when `delta` is added to what it reads: [row, pos, d_model].

    Neurons that are senders stay as they are in runs A.
    """
    entered = runs.seen((Site.RESID_MID, layer))
    stream = wide(entered) + delta
    hook = before_stream(compose(runs.also, runs.wiring.again(), _held(runs, senders)))
    left = runs.model.blocks[layer].think(stream.to(entered.dtype), layer, hook)
    return (wide(left) - stream - wide(runs.seen((Site.MLP_OUT, layer)))) * moved(delta)


def _held(runs: Batch, senders: Sequence[Sent]) -> Hook:
    """Senders among an MLP's neurons as they are in runs A."""
    neurons = [each for each in senders if each.change.component.kind is Kind.NEURON]

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        if site is not Site.MLP_POST or not neurons:
            return x
        x, own = x.clone(), runs.seen((site, layer)).expand_as(x)
        for each in neurons:
            here = each.rows, _slice(each.change.span), each.change.component.index
            x[here] = own[here]
        return x

    return hook


def before_stream(hook: Hook) -> Hook:
    """A hook without its edits of the stream that leaves an MLP."""
    return lambda site, layer, x: x if site is Site.RESID_POST else hook(site, layer, x)


def _slice(span: Span | None) -> slice:
    return slice(None) if span is None else span.slice
