"""Path patching: what senders' changed writes do to receivers along some paths alone.

Four passes (Wang et al. 2022, 2211.00593, section 3.1): the run A as it is; the run B, or whatever else the senders'
values come from; A with the senders changed and all other heads held as in A, which records what the receivers read;
A with the receivers reading that.  In the third pass MLPs are computed again (`mlps`, as there) or held as well
(`direct`: the edge alone, as in Conmy et al. 2023, 2304.14997); layer norms are live.  The third pass holds all
attention, so it never mixes tokens, and only what is added to A's stream has to be carried.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Change, Span
from model.edits.compounds import Compound, flat
from model.edits.edge_tables import in_stream
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.interventions import Sources, Where, as_hook, where
from model.edits.links import reading_line
from model.edits.path_edits import Meaning, PathPatch
from model.edits.wiring import Given, Wiring
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
) -> Hook:
    """The hook that makes every change, edges and paths too.

    `seen` has the same changes before where a pass is to begin; `run` records run A of the paths, which without it are
    held as `seen` has them, a run of all the changes.  Raises ValueError as `as_hook` does.
    """
    every = flat(changes)
    paths = [change for change in every if isinstance(change, PathPatch)]
    edges = [change for change in every if isinstance(change, EdgeChange | EdgeKeep)]
    if not paths and not edges:
        return as_hook(every, sources)
    plain = [change for change in every if not isinstance(change, PathPatch | EdgeChange | EdgeKeep)]
    hook = Wiring(model, edges, plain, sources, seen)
    if paths and run is not None:
        hook.held = given(model, run((*plain, *edges)), paths, sources)
    elif paths and seen is not None:
        hook.held = as_recorded(seen, paths, model.config.n_layer)
    elif paths:
        raise ValueError(f"'{paths[0]}' needs the run that it is in")
    return hook


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What one sender's change adds to run A's stream."""

    row: int
    "Of the batch that is carried together."
    line: int
    "After which it is added."
    delta: Tensor
    "[pos, d_model]"
    whole: Tensor
    "Where the sender is a whole MLP, whose write is then not computed again: bool [pos]."


def given(
    model: GPT2, trace: "Trace", paths: Sequence[PathPatch], sources: Sources
) -> dict[Component, Given]:
    """What receivers read, from run A and the paths into them; several into one receiver add up."""
    wiring, length = run_of(model, trace, sources), len(trace.tokens)
    added: dict[Component, Tensor] = {}
    tokens: dict[Component, Tensor] = {}
    for path in paths:
        starts = [each for change in path.sends for each in sent(wiring, trace, change)]
        carried = carry(model, trace, starts, path.receivers, path.meaning, sources)
        own = torch.zeros(length, dtype=torch.bool)
        own[_slice(path.tokens)] = True
        for receiver in path.receivers:
            delta = carried[reading_line(receiver, model.config.n_layer)] * own[:, None].to(
                trace[Site.RESID_PRE, 0].device
            )
            added[receiver] = added[receiver] + delta if receiver in added else delta
            tokens[receiver] = tokens[receiver] | own if receiver in tokens else own
    return {
        receiver: Given(tokens[receiver], received(model, trace, wiring, receiver, delta))
        for receiver, delta in added.items()
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
            found[receiver] = Given(own, recorded(trace, receiver, n_layer)[None])
    return found


def run_of(model: GPT2, trace: "Trace", sources: Sources) -> Wiring:
    """The hook of run A, whose writes are known."""
    edges = [change for change in trace.changes if isinstance(change, EdgeChange | EdgeKeep)]
    plain = [change for change in trace.changes if not isinstance(change, EdgeChange | EdgeKeep)]
    return Wiring(model, edges, plain, sources, trace)


def received(model: GPT2, trace: "Trace", wiring: Wiring, receiver: Component, delta: Tensor) -> Tensor:
    """A receiver's input when `delta`, [row, pos, d_model], is added to what it reads in run A: [row, pos, width].

    Where nothing is added it is run A's to the bit.
    """
    n_layer = model.config.n_layer
    stream = trace[residual_site(reading_line(receiver, n_layer), n_layer)][None]
    by_edges = None if receiver.kind is Kind.UNEMBED else wiring.added(receiver, stream)
    read = wiring.read(receiver, (stream if by_edges is None else stream + by_edges) + delta)
    return torch.where(
        delta.any(-1, keepdim=True), read.to(stream.dtype), recorded(trace, receiver, n_layer)[None]
    )


def recorded(trace: "Trace", receiver: Component, n_layer: int) -> Tensor:
    """A receiver's input in a run: [pos, width]."""
    if receiver.kind is Kind.UNEMBED:
        return trace[Site.RESID_POST, n_layer - 1]
    x = trace[input_site(receiver)]
    return x if receiver.kind is Kind.MLP else x[receiver.index]


def input_site(receiver: Component) -> Where:
    """Where what a head or an MLP reads, through its layer norm and matrix, is recorded."""
    return (Site.MLP_PRE, receiver.layer) if receiver.kind is Kind.MLP else where(receiver)


def sent(wiring: Wiring, trace: "Trace", change: NODE_CHANGES, row: int = 0) -> Iterator[Sent]:
    """What a sender's change adds to run A's stream."""
    part, like = change.component, trace[Site.RESID_PRE, 0]
    delta = wiring.delta(change, like[None])[0]
    delta = delta * in_stream(part, 1, wiring.cuts, len(like))[:, None].to(delta)
    whole = torch.zeros(len(like), dtype=torch.bool, device=like.device)
    if part.kind is Kind.MLP:
        whole[_slice(change.span)] = True
    yield Sent(row, written_on(part), delta, whole)


@torch.no_grad()
def carry(
    model: GPT2,
    trace: "Trace",
    starts: Sequence[Sent],
    receivers: Sequence[Component],
    meaning: Meaning,
    sources: Sources,
    also: Hook = no_hook,
) -> dict[int, Tensor]:
    """What is added to run A's stream before each line on which a receiver reads: [row, pos, d_model].

    Pass three.  `also` may raise to stop.
    """
    n_layer, rows = model.config.n_layer, 1 + max(each.row for each in starts)
    wanted = {reading_line(receiver, n_layer) for receiver in receivers}
    wiring = run_of(model, trace, sources)
    delta = starts[0].delta.new_zeros(rows, *starts[0].delta.shape)
    found: dict[int, Tensor] = {}
    for line in range(max(wanted) + 1):
        for cut in wiring.cuts:
            if cut.line == line > 1:  # the embedding's own place is its sender's
                delta[:, _slice(cut.span)] *= cut.left
        if line in wanted:
            found[line] = delta.clone()
        here = [each for each in starts if each.line == line]
        if meaning is Meaning.MLPS and line and line % 2 == 0 and line < max(wanted) and bool(delta.any()):
            again = _computed_again(model, trace, compose(also, wiring), (line - 2) // 2, delta)
            for each in here:
                again[each.row, each.whole] = 0
            delta += again
        for each in here:
            delta[each.row] += each.delta
    return found


def _computed_again(model: GPT2, trace: "Trace", hook: Hook, layer: int, delta: Tensor) -> Tensor:
    """How an MLP's write changes when `delta` is added to what it reads: [row, pos, d_model]."""
    moved = delta.any(-1, keepdim=True)
    stream = wide(trace[Site.RESID_MID, layer]) + delta
    left = model.blocks[layer].think(
        stream.to(trace[Site.RESID_MID, layer].dtype), layer, before_stream(hook)
    )
    return (wide(left) - stream - wide(trace[Site.MLP_OUT, layer])) * moved


def before_stream(hook: Hook) -> Hook:
    """A hook without its edits of the stream that leaves an MLP."""
    return lambda site, layer, x: x if site is Site.RESID_POST else hook(site, layer, x)


def _slice(span: Span | None) -> slice:
    return slice(None) if span is None else span.slice
