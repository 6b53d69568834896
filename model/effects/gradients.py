"""What moving the residual stream of a run would do to a target: one backward pass, a line at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.components import RESIDUAL, Component, Kind
from model.edits.interventions import Sources
from model.edits.wiring import Wiring
from model.effects.backward import Pulled, Rerun, Treatment, carried_to, final_gradient, graph, rerun
from model.effects.cut_edges import Missing, missing
from model.effects.sublayers import edited_part
from model.gpt2 import GPT2, wide
from model.lines import handed_on, last_line, residual_site, written_on
from model.metrics import Metric
from model.sites import Hook, Site, no_hook
from model.targets import Target, gradient_at, metric_target
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Own:
    """What edges add to the stream of one reader of the target, and the target by that: [pos, d_model] each."""

    added: Tensor
    direct: Tensor
    "The scale held."
    final: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Of a target in one run: what moving the residual stream would do to it, in the target's unit."""

    target: Target
    direct: Tensor
    "By what the target reads, its layer norm's scale held: [pos, d_model], zero at tokens that are not read."
    embed: Tensor
    "By the embedding: [pos, d_model]."
    mid: Tensor
    "By each layer's `resid_mid`, before any edit of the stream there: [layer, pos, d_model]."
    post: Tensor
    "By each layer's `resid_post`, likewise: [layer, pos, d_model]."
    edited: Mapping[int, Tensor] = field(default_factory=dict[int, Tensor])
    "By the stream after its edits, for each line after which it has been edited: [pos, d_model]."
    missing: tuple[Missing, ...] = ()
    "What of writes edited edges do not carry."
    own: tuple[Own, ...] = ()
    "Of readers of the target, within the model, that do not meet the stream that all read."

    @property
    def scored(self) -> list[int]:
        """The tokens that the target reads."""
        return sorted({read.pos for read in self.target.reads})


def gradients(
    model: GPT2,
    trace: Trace,
    target: Target | Metric,
    sources: Sources = Sources(),
    treatment: Treatment = Treatment.TARGET,
    *,
    also: Hook = no_hook,
) -> Gradients:
    """One forward and one backward pass, up to what the target reads, with the trace's own edits made.

    Each line is run again from what the trace has entering it, so that no graph is longer than one line: for
    512 tokens of GPT-2 small that is tens of MB, and hundreds for the whole pass.  `also` may raise to stop it.
    """
    asked = metric_target(model, trace, target) if isinstance(target, Metric) else target
    run = rerun(model, trace, asked, sources, treatment, also=also)
    final = pulled = final_gradient(run)
    entering = {run.end: pulled.stream}
    for line in range(run.end - 1, 0, -1):
        pulled, _ = graph(run, line, ()).pull(pulled)
        entering[line] = pulled.stream
    empty = torch.zeros_like(entering[run.end])

    parts = {edited_part(trace, change) for change in trace.changes}
    edited = {written_on(part) for part in parts if part.kind in RESIDUAL} & {line - 1 for line in entering}

    def left(lines: Iterable[int]) -> Tensor:
        found = [entering.get(line + 1, empty) for line in lines]
        return torch.stack(
            [_unedited(run, at, x) if at in edited else x for at, x in zip(lines, found, strict=True)]
        )

    direct, by_reader = directs(model, trace, asked)
    own = run.added()
    last = 2 * model.config.n_layer + 1
    return Gradients(
        asked,
        direct,
        embed=entering[1],
        mid=left(range(1, last, 2)),
        post=left(range(2, last, 2)),
        edited={line: entering[line + 1] for line in edited},
        missing=_missing(run, pulled, final, direct, by_reader),
        own=tuple(Own(x, by_reader[reader], final.own[reader]) for reader, x in own.items()),
    )


def directs(model: GPT2, trace: Trace, target: Target) -> tuple[Tensor, dict[Component, Tensor]]:
    """By what the target reads, its scale held, for all of its readers and for each that is named: [pos, d_model]."""
    found = torch.zeros(len(trace.tokens), model.config.d_model)
    found = found.to(target.reads[0].normed)
    by_reader: dict[Component, Tensor] = {}
    for read in target.reads:
        gradient = gradient_at(model, trace, target, read)
        found[read.pos] += gradient
        if read.reader is not None:
            by_reader.setdefault(read.reader, torch.zeros_like(found))[read.pos] += gradient
    return found, by_reader


def _missing(
    run: Rerun, pulled: Pulled, final: Pulled, direct: Tensor, by_reader: Mapping[Component, Tensor]
) -> tuple[Missing, ...]:
    if not isinstance(run.edits, Wiring):
        return ()
    if run.end == last_line(run.model.config.n_layer):
        end = Component(Kind.UNEMBED)
        ends = carried_to(run, end, direct), carried_to(run, end, final.stream)
        return missing(run.model, run.trace, run.edits, pulled.edges, *ends)
    read = Pulled(direct)
    for reader, gradient in by_reader.items():
        read = read + Pulled(torch.zeros_like(direct), carried_to(run, reader, gradient))
    return missing(run.model, run.trace, run.edits, pulled.edges, read.edges, final.edges)


def _unedited(run: Rerun, line: int, gradient: Tensor) -> Tensor:
    """From the gradient by the edited stream after a line to that by what the line made of it: [pos, d_model]."""
    layer, n_layer = (line - 1) // 2, run.model.config.n_layer
    out = Site.ATTN_OUT if line % 2 else Site.MLP_OUT
    if line == 0:
        return gradient  # the embedding's own row is what the edit leaves
    with torch.enable_grad():
        made = (run.trace[residual_site(line, n_layer)] + run.trace[out, layer]).detach().requires_grad_()
        x = made[None] if line % 2 else run.edits(Site.RESID_POST, layer, made[None])
        x = handed_on(line, n_layer, x, run.edits)
        (found,) = torch.autograd.grad(x, made, gradient[None].to(x.dtype))
    return wide(found)


def is_upstream(by: Gradients, kind: Kind, layer: int) -> bool:
    """Whether what a layer's part writes is there when the target reads."""
    return written_on(Component(kind, layer)) < by.target.line
