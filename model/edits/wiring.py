"""The hook that makes edited edges: readers meet the residual stream with some of its writes replaced.

Within one pass, and for edges alone: a reader's input is computed again from

    stream + sum over its edges of (what the edge carries - what its tail writes in this run)

through the layer norm as it is then.  Other changes are made first where they edit what tails write, and after where
they edit the input itself, so an ablated query stays ablated.  A cost of one vector per edge, tail and token.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.changes import Change, Span
from model.edits.edge_tables import Reads, all_readers, cuts_of, left_by, of_whole, tables, tails_of
from model.edits.edges import NODE_CHANGES, EdgeChange, EdgeKeep
from model.edits.interventions import Sources, Splice, Where, as_hook, by_row, where
from model.edits.links import INPUTS, reading_line
from model.gpt2 import GPT2, LayerNorm, wide
from model.lines import written_on
from model.sites import Site

Seen = Callable[[Where], Tensor]
"""A site's tensor in a recorded run: [batch or 1, ...]."""

KINDS = {Site.Q: Kind.Q, Site.K: Kind.K, Site.V: Kind.V, Site.MLP_PRE: Kind.MLP}
NORMS = (Site.LN1_SCALE, Site.LN1_NORMALIZED, Site.LN2_SCALE, Site.LN2_NORMALIZED)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a reader is given to read at some tokens."""

    where: Tensor
    "bool [pos]"
    value: Tensor
    "[batch or 1, pos, width]"

    def put(self, x: Tensor) -> Tensor:
        """x, [batch, pos, width], with it; tokens after the prompt's keep their own."""
        length = len(self.where)
        known = torch.where(self.where[:, None].to(x.device), self.value.to(x.dtype), x[:, :length])
        return torch.cat([known, x[:, length:]], 1)


@dataclass(eq=False)
class Wiring:
    """A hook for one pass at a time, or for lines of a recorded run, one after the other.

    The rows of a batch may have changes of their own, made after those that they share.
    """

    model: GPT2
    edges: Sequence[EdgeChange | EdgeKeep]
    plain: Sequence[Change]
    "The other changes."
    sources: Sources
    seen: Seen | None = None
    "A run of the same changes up to where the pass begins: for writes that the pass does not compute."
    held: Mapping[Component, Given] = field(default_factory=dict[Component, Given])
    "Readers whose input does not come from the stream: what it is after all edits of it."
    own: Sequence[Sequence[Change]] = ()
    "Each row's further changes, of single sites; none where rows are alike."
    parts: Tensor | None = None
    "How much of the way those are made, [row], to be differentiated by; None is all of it."
    into: dict[Where, Splice] | None = None
    "Takes what edits made of dictionaries' parts."

    def __post_init__(self) -> None:
        if self.own:
            self.inner = by_row(self.plain, self.own, self.sources, self.parts)
        else:
            self.inner = as_hook(self.plain, self.sources, self.into)
        cuts = [cuts_of((*self.plain, *own)) for own in self.own or [()]]
        self.cuts = tuple(cuts if len(set(cuts)) > 1 else cuts[:1])
        self._tables: dict[int, Mapping[int, Reads]] = {}
        self._acts: dict[Where, Tensor] = {}
        self._deltas: dict[NODE_CHANGES, Tensor] = {}
        self._norm: dict[Site, Tensor] = {}
        self._watched = set(self._sites())
        self.leaves: dict[NODE_CHANGES, Tensor] | None = None
        "Differences of writes that are not computed on the line at hand, to be differentiated by; None keeps none."

    def __call__(self, site: Site, layer: int, x: Tensor) -> Tensor:
        if site in KINDS:
            x = self._inputs(site, layer, x)
        x = self.inner(site, layer, x)
        if site in KINDS:
            x = self._given(KINDS[site], layer, x)
        if site is Site.RESID_POST and layer == self.model.config.n_layer - 1:
            x = self._final(x)
        if site in NORMS:
            self._norm[site] = x
        if (site, layer) in self._watched:
            self._acts[site, layer] = x
            self._deltas = {
                change: delta for change, delta in self._deltas.items() if (site, layer) not in _sites(change)
            }
        return x

    def begin(self) -> None:
        """Differentiate a line: what earlier ones wrote is taken as it was, and leaves are this line's."""
        self._acts = {at: x.detach() for at, x in self._acts.items()}
        self._deltas, self.leaves = {}, {}

    def keep(self, site: Site, layer: int, x: Tensor) -> None:
        """Take a site's tensor for this one."""
        if (site, layer) in self._watched:
            self._acts[site, layer] = x

    def readers(self) -> list[Component]:
        """Everything that has an edited edge."""
        edited = (edit.heads for edit in self.edges if isinstance(edit, EdgeChange))
        every = (each for heads in edited for each in heads)
        if any(isinstance(edit, EdgeKeep) for edit in self.edges):
            last = reading_line(Component(Kind.UNEMBED), self.model.config.n_layer)
            every = (each for line in range(1, last + 1) for each in all_readers(line, self.model.config))
        return list(dict.fromkeys(every))

    def weights(self, head: Component, length: int) -> dict[NODE_CHANGES, Tensor]:
        """How often each tail's difference is added to what a reader reads: [batch or 1, pos]."""
        reads = self._table(length).get(reading_line(head, self.model.config.n_layer))
        if reads is None or head not in reads.heads:
            return {}
        return dict(zip(reads.changes, reads.weights[reads.heads.index(head)], strict=True))

    def tails_on(self, line: int) -> list[NODE_CHANGES]:
        """The tails that write on a line."""
        every = (change for edit in self.edges for change in tails_of(edit, self.model.config))
        return [change for change in dict.fromkeys(every) if written_on(change.component) == line]

    def again(self) -> "Wiring":
        """The same hook for a pass of its own, which starts from what this one has computed."""
        acts, seen = dict(self._acts), self.seen

        def known(at: Where) -> Tensor:
            if at in acts or seen is None:
                return acts[at]
            return seen(at)

        return replace(self, seen=known)

    def watch(self, changes: Iterable[NODE_CHANGES]) -> None:
        """Keep what the differences of these are computed from, too."""
        self._watched.update(at for change in changes for at in _sites(change))

    def added(self, head: Component, like: Tensor) -> Tensor | None:
        """What edges add to a reader's stream, None where it has none: [batch, pos, d_model], as `like` has them."""
        reads = self._table(like.shape[1]).get(reading_line(head, self.model.config.n_layer))
        if reads is None or head not in reads.heads:
            return None
        row = reads.heads.index(head)
        return self._sum(reads, [row], like)[0]

    def _inputs(self, site: Site, layer: int, x: Tensor) -> Tensor:
        """Queries, keys, values or pre-activations of a layer, as the edited stream gives them."""
        kind, length = KINDS[site], x.shape[-2]
        line = reading_line(Component(kind, layer), self.model.config.n_layer)
        reads = self._table(length).get(line)
        rows = [row for row, head in enumerate(reads.heads) if head.kind is kind] if reads else []
        if reads is not None and rows:
            before = (
                (Site.LN1_SCALE, Site.LN1_NORMALIZED) if line % 2 else (Site.LN2_SCALE, Site.LN2_NORMALIZED)
            )
            scale, seen = (self._norm[each] for each in before)
            stream = wide(seen) * scale  # centred, which is all that a layer norm reads
            x = x.clone()
            for row, delta in zip(rows, self._sum(reads, rows, stream), strict=True):
                head, changed = reads.heads[row], moved(delta)
                if bool(changed.any()):
                    read = self.read(head, stream + delta, frozen=not scale.requires_grad)
                    here = _of(head)
                    x[here] = torch.where(changed, read.to(x.dtype), x[here])
        return x

    def _given(self, kind: Kind, layer: int, x: Tensor) -> Tensor:
        """A site's inputs with those of readers that are held, whose own edits are made already."""
        for head, given in self.held.items():
            if head.kind is kind and head.layer == layer:
                x = x.clone()
                x[_of(head)] = given.put(x[_of(head)])
        return x

    def read(self, head: Component, stream: Tensor, *, frozen: bool = False) -> Tensor:
        """A reader's input from a residual stream, U's being the stream: [batch, pos, d_model] -> [..., width].

        A scale that other changes hold is held; `frozen` takes it for a constant.
        """
        if head.kind is Kind.UNEMBED:
            return stream
        block = self.model.blocks[head.layer]
        if head.kind is Kind.MLP:
            seen = self._normed(block.ln_2, stream, Site.LN2_SCALE, head.layer, frozen)
            return block.mlp.c_fc(seen)
        seen = self._normed(block.ln_1, stream, Site.LN1_SCALE, head.layer, frozen)
        d_model, d_head = self.model.config.d_model, self.model.config.d_head
        first = INPUTS.index(head.kind) * d_model + (head.index or 0) * d_head
        project = block.attn.c_attn
        return seen @ project.weight[:, first : first + d_head] + project.bias[first : first + d_head]

    def _normed(self, norm: LayerNorm, stream: Tensor, site: Site, layer: int, frozen: bool) -> Tensor:
        x = wide(stream)
        scale = norm.scale(x).detach() if frozen else norm.scale(x)
        scale = self.inner(site, layer, scale)
        seen = ((x - x.mean(-1, keepdim=True)) / scale).to(norm.weight.dtype)
        return seen * norm.weight + norm.bias

    def _final(self, x: Tensor) -> Tensor:
        """The stream that leaves the last layer: the unembedding alone reads it, so its edges are made here."""
        end = Component(Kind.UNEMBED)
        delta = self.added(end, x)
        if delta is not None:
            x = torch.where(moved(delta), (wide(x) + delta).to(x.dtype), x)
        return self.held[end].put(x) if end in self.held else x

    def _sum(self, reads: Reads, rows: Sequence[int], like: Tensor) -> Tensor:
        """What some readers' edges add to their stream: [reader, batch, pos, d_model]."""
        weights = reads.weights[list(rows)].to(like.device, wide(like).dtype)
        used = weights.flatten(2).any(-1).any(0).nonzero()[:, 0].tolist()
        total = wide(like).new_zeros(len(rows), *like.shape)
        for at in used:
            total = total + weights[:, at, :, :, None] * self.delta(reads.changes[at])
        return total

    def delta(self, change: NODE_CHANGES) -> Tensor:
        """What a change of a tail would add to its write, as this run stands: [batch or 1, pos, d_model]."""
        found = self._deltas.get(change)
        if found is None:
            found = self._delta(change)
            if self.leaves is not None and torch.is_grad_enabled() and not found.requires_grad:
                found = self.leaves[change] = found.detach().requires_grad_()
            self._deltas[change] = found
        return found

    def _delta(self, change: NODE_CHANGES) -> Tensor:
        part, (site, layer) = change.component, where(change.component, change.key)
        x = self._act((site, layer))
        diff = wide(as_hook((change,), self.sources)(site, layer, x)) - wide(x)
        block = self.model.blocks[layer]
        if site in (Site.PATTERN, Site.Z):
            head, width = part.index or 0, self.model.config.d_head
            diff = diff[:, head]
            if site is Site.PATTERN:
                diff = diff @ wide(self._act((Site.V, layer))[:, head])
            diff = diff @ wide(block.attn.c_proj.weight[head * width : (head + 1) * width])
        elif site is Site.MLP_POST:
            diff = diff[..., part.index, None] * wide(block.mlp.c_proj.weight[part.index])
        return diff * self._reaches(change, diff.shape[1])[..., None].to(diff)

    def _act(self, at: Where) -> Tensor:
        """A site's tensor in this pass, or in the recorded run where the pass has begun later: [batch or 1, ...]."""
        if at in self._acts:
            return self._acts[at]
        if self.seen is None:
            raise ValueError(f"{at[0]} of layer {at[1]} has not been computed: give the run that it is of")
        return self.seen(at)

    def _reaches(self, tail: NODE_CHANGES, length: int) -> Tensor:
        """How much of a tail's write its whole still has, changes having been made of that: [batch or 1, pos]."""
        whole = torch.ones(length) if self.parts is None else self.parts.new_ones(length)
        found = [whole.clone() for _ in self.own or [()]]
        for row, left in enumerate(found):
            own = self.own[row] if self.own else ()
            for at, change in enumerate((*self.plain, *own)):
                if of_whole(change, tail):
                    made = 1.0 if at < len(self.plain) or self.parts is None else self.parts[row]
                    left[_slice(change.span)] *= 1 - made * (1 - left_by(change))
        return torch.stack(found)

    def _table(self, length: int) -> Mapping[int, Reads]:
        if length not in self._tables:
            self._tables[length] = tables(tuple(self.edges), self.cuts, length, self.model.config)
        return self._tables[length]

    def _sites(self) -> Iterable[Where]:
        for edit in self.edges:
            for change in tails_of(edit, self.model.config):
                yield from _sites(change)


@lru_cache(maxsize=4096)
def _sites(change: NODE_CHANGES) -> tuple[Where, ...]:
    """What a change's difference is computed from."""
    site, layer = where(change.component, change.key)
    return ((site, layer), (Site.V, layer)) if site is Site.PATTERN else ((site, layer),)


def moved(delta: Tensor) -> Tensor:
    """Where something is added; wherever it could be, where it is differentiated: bool [batch, pos, 1]."""
    return delta.any(-1, keepdim=True) | delta.requires_grad


def _of(head: Component) -> tuple[slice | int, ...]:
    """A reader's part of its site's tensor."""
    return (slice(None), head.index) if head.kind in INPUTS and head.index is not None else (slice(None),)


def _slice(span: Span | None) -> slice:
    return slice(None) if span is None else span.slice
