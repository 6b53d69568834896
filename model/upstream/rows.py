"""What a frame of tracing reads directly: every node before it and its effect, as in the node table's direct column.

Where dictionaries are in use, their active latents and what those leave over are there instead of what they take apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from model.components import Component, Kind, Node
from model.dictionaries import LETTER_OF
from model.edits.interventions import Change
from model.effects.attribution import overwritten
from model.effects.latents import STREAM, line_of_place, reaching
from model.gpt2 import GPT2, wide
from model.latents import active, error, matrix_out
from model.lines import written_on
from model.sites import Site, Where
from model.targets import Target, gradient_at, reader_of
from model.trace import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Nodes of one kind, layer and token, numbered."""

    component: Component
    pos: int
    effects: Tensor
    "On the frame: [row], heads' as [head, key]."
    numbers: Tensor | None = None
    "Of latents which each row is."

    def node(self, row: int) -> Node:
        part, pos = self.component, self.pos
        if self.effects.ndim == 2:
            head, key = divmod(row, self.effects.shape[1])
            return Node(Component(part.kind, part.layer, head), pos, key)
        if self.numbers is not None:
            return Node(Component(part.kind, part.layer, int(self.numbers[row]), part.site), pos)
        return Node(Component(part.kind, part.layer, row) if part.kind is Kind.NEURON else part, pos)


def is_edited(changes: Sequence[Change], node: Node) -> bool:
    """Whether an edit stands between what a node reads and what it puts out: any of its row's pairs, for a head."""
    return any(
        change.component == node.component
        and (change.span is None or change.span.first <= node.pos <= change.span.last)
        for change in changes
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """What a dictionary has at one token."""

    numbers: Tensor
    "Of its active latents."
    amounts: Tensor
    "What multiplies their decoder rows."
    left: Tensor
    "What is left over: [d_out]."


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What dictionaries have at the tokens that are asked for, each found once."""

    model: GPT2
    trace: Trace
    _found: dict[tuple[Where, int], _Taken] = field(default_factory=dict[tuple[Where, int], _Taken])

    def find(self, at: Where, positions: Sequence[int]) -> None:
        """Find them at several tokens together, which is quicker."""
        new = [pos for pos in positions if (at, pos) not in self._found]
        if not new:
            return
        latents = active(self.trace, at, new)
        for pos, left in zip(new, error(self.trace, at, new, latents), strict=True):
            here = latents.pos == pos
            amounts = latents.value[here] * latents.scale[here]
            self._found[at, pos] = _Taken(latents.index[here], amounts, left)

    def rows(self, at: Where, pos: int, gradient: Tensor) -> Iterator[Rows]:
        """A dictionary's active latents at a token, and what they leave over; what stands beside is a bias, no node."""
        found, out = self._found[at, pos], matrix_out(self.model, at)
        along = gradient if out is None else out @ gradient
        rows = wide(self.trace.dictionaries[at].w_dec[found.numbers])
        part = Component(Kind.LATENT, at[1], None, LETTER_OF[at[0]])
        yield Rows(part, pos, rows @ along * found.amounts, found.numbers)
        yield Rows(replace(part, kind=Kind.ERROR), pos, (found.left @ along)[None])


def rows_of(
    model: GPT2, trace: Trace, frame: Target, neurons: bool, places: Sequence[Where], parts: Parts
) -> Iterator[Rows]:
    """Every node that a frame reads; `places` are the dictionaries in use, `parts` what they have."""
    positions = sorted({read.pos for read in frame.reads})
    for at in places:
        parts.find(at, positions)
    live = {at: reaching(trace, at).tolist() for at in places}
    written = _Written(model, trace, frame.line, neurons, live, parts)
    for pos in positions:
        pulls: dict[Component | None, Tensor] = {}
        for read in frame.reads:
            if read.pos == pos:
                reader, gradient = reader_of(model, frame, read), gradient_at(model, trace, frame, read)
                reader = reader if trace.met is not None and reader and trace.met.lines(reader) else None
                pulls[reader] = pulls[reader] + gradient if reader in pulls else gradient
        read_by = [
            _arriving(trace, reader, gradient, written.rows(pos, gradient))
            for reader, gradient in pulls.items()
        ]
        for first, *others in zip(*read_by, strict=True):
            yield replace(first, effects=sum((each.effects for each in others), first.effects))


def _arriving(
    trace: Trace, reader: Component | None, gradient: Tensor, rows: Iterable[Rows]
) -> Iterator[Rows]:
    """Rows with what arrives of each at a reader, None being one that meets what all others do."""
    if reader is None or trace.met is None:
        yield from rows
        return
    lines = trace.met.lines(reader)
    for each in rows:
        if written_on(each.component) in lines:
            effects = each.effects.flatten().clone()
            for row in range(len(effects)):
                node = each.node(row)
                effects[row] *= trace.met.share(reader, node.component, node.key, node.pos)
                instead = trace.met.instead(reader, node.component, node.key, node.pos)
                effects[row] += 0.0 if instead is None else instead @ gradient
            each = replace(each, effects=effects.view_as(each.effects))
        yield each


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """What is written before a line."""

    model: GPT2
    trace: Trace
    line: int
    neurons: bool
    live: Mapping[Where, Sequence[bool]]
    "At which tokens the dictionaries in use are there instead of what they take apart."
    parts: Parts

    def rows(self, pos: int, gradient: Tensor) -> Iterator[Rows]:
        """Every node at a token by a gradient [d_model], in the order of the pass."""
        model, trace = self.model, self.trace
        by_line = {line_of_place(at): at for at in self.live}
        stream = next((at for at in self.live if at[0] in STREAM), None)
        if stream is None:
            yield Rows(Component(Kind.EMBED), pos, (wide(trace[Site.RESID_PRE, 0][pos]) @ gradient)[None])
        else:
            yield from self.parts.rows(stream, pos, gradient)
        for line in range(1 if stream is None else line_of_place(stream) + 1, self.line):
            at = by_line.get(line)
            if at is not None and self.live[at][pos]:
                yield from self.parts.rows(at, pos, gradient)
            elif line % 2:
                yield from _attention(model, trace, (line - 1) // 2, pos, gradient)
            else:
                yield _mlp(model, trace, (line - 1) // 2, pos, gradient, self.neurons)


def output_of(model: GPT2, layer: int) -> Tensor:
    """One layer's W_O: [head, d_head, d_model]."""
    config = model.config
    return wide(model.blocks[layer].attn.c_proj.weight).view(config.n_head, config.d_head, config.d_model)


def _attention(model: GPT2, trace: Trace, layer: int, pos: int, gradient: Tensor) -> Iterator[Rows]:
    """A layer's pairs at a query; in place of what was edited whole, that."""
    if overwritten(trace, Kind.ATTN, layer)[pos]:
        yield Rows(
            Component(Kind.ATTN, layer), pos, (wide(trace[Site.ATTN_OUT, layer][pos]) @ gradient)[None]
        )
        return
    along = output_of(model, layer) @ gradient  # [head, d_head]
    pattern = wide(trace[Site.PATTERN, layer][:, pos, : pos + 1])
    values = (wide(trace[Site.V, layer][:, : pos + 1]) @ along[..., None])[..., 0]
    effects = pattern * values  # [head, key]
    for head in range(model.config.n_head):
        part = Component(Kind.HEAD, layer, head)
        if any(change.key is None and is_edited((change,), Node(part, pos)) for change in trace.changes):
            effects[head] = 0
            yield Rows(part, pos, (wide(trace[Site.Z, layer][head, pos]) @ along[head])[None])
    yield Rows(Component(Kind.HEAD, layer), pos, effects)


def _mlp(model: GPT2, trace: Trace, layer: int, pos: int, gradient: Tensor, neurons: bool) -> Rows:
    out = wide(trace[Site.MLP_OUT, layer][pos])
    if overwritten(trace, Kind.MLP, layer)[pos]:
        return Rows(Component(Kind.MLP, layer), pos, (out @ gradient)[None])
    if neurons:
        along = wide(model.blocks[layer].mlp.c_proj.weight) @ gradient
        return Rows(Component(Kind.NEURON, layer), pos, wide(trace[Site.MLP_POST, layer][pos]) * along)
    out = out - wide(trace[Site.MLP_BIAS, layer][pos])
    return Rows(Component(Kind.MLP, layer), pos, (out @ gradient)[None])
