"""Why a head attends where it does: a pre-softmax score taken apart by what wrote what it reads, against other keys.

The score of a query and a key is q . k / sqrt(d_head), with q and k each linear in the residual stream at their
token once the layer norm's scale is held at what it was.  So every node before the layer has a part in it at the
query, the keys being as they were, and a part at the key, the query being as it was:

    through q   (what the node wrote at the query, as a query) . k / sqrt(d_head)
    through k   q . (what the node wrote at the key, as a key) / sqrt(d_head)

Two ways of cutting the same number up: each adds up to the whole score, with the biases and the constant.  Softmax
sees only how a key's score differs from the others', and so does `contrast`: a part minus the mean of the same part
over the row's other keys (or minus that of one other key), each counting the same whatever attention it has.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.components import Component, Kind
from model.effects.attribution import head_matrix, overwritten
from model.effects.sublayers import added_by_edits, stream_edits
from model.gpt2 import GPT2, wide
from model.lines import written_on
from model.nodes import Floats
from model.readers import scale_met
from model.sites import Site
from model.targets import Via, head_input, left_of_input, query_key
from model.trace import Trace

_Part = tuple[Component, Tensor]
"""A source and its part in each key's score: [key]."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreParts:
    """One row of a head's scores, cut up by what was written at one end: the query (`Via.Q`) or the keys (`Via.K`)."""

    query: int
    via: Via
    sources: tuple[Component, ...]
    """In the order of the pass, then what edits of the stream and edges have added to it; last what the layer adds
    itself, its norm's bias and the end's own (`BT`), and what edits of the query or key have made of it."""
    parts: Floats
    "Each source's part in each visible key's score: [source, key], keys up to the query."

    @property
    def scores(self) -> Floats:
        """The row's scores, as its parts add up to them: [key]."""
        return self.parts.sum(0)

    def contrast(self, key: int, against: int | None = None) -> Floats:
        """Each source's part at a key minus its mean over the other keys, or minus that at one of them: [source].

        Adds up to the score minus the mean of the others'.  Raises ValueError where there is no other key.
        """
        rest = self.rest(key, against)
        return self.parts[:, key] - rest

    def rest(self, key: int, against: int | None = None) -> Floats:
        """What a key is compared with, each source's part in it: [source]."""
        visible = self.parts.shape[1]
        for each in (key, *(() if against is None else (against,))):
            if not 0 <= each < visible:
                raise ValueError(f"query {self.query} does not see token {each}: it sees 0 to {self.query}")
        if visible == 1:
            raise ValueError("query 0 sees no other key: ask about a later one")
        if against == key:
            raise ValueError(f"key {key} cannot be compared with itself: name another")
        others = [at for at in range(visible) if at != key] if against is None else [against]
        return self.parts[:, others].mean(1)


@torch.no_grad()
def row_scores(trace: Trace, head: Component, query: int) -> Floats:
    """A head's pre-softmax scores of one query with every key that it sees, as the run had them: [key]."""
    return _row_scores(trace, head, query).double().cpu().numpy()


def _row_scores(trace: Trace, head: Component, query: int) -> Tensor:
    q = wide(trace[Site.Q, head.layer][head.index, query])
    k = wide(trace[Site.K, head.layer][head.index, : query + 1])  # [key, d_head]
    return k @ q / math.sqrt(len(q))


@torch.no_grad()
def score_parts(model: GPT2, trace: Trace, head: Component, query: int, via: Via) -> ScoreParts:
    """The scores of one query with every key that it sees, by source.

    Sources are both embeddings (or `E`, where an edit replaced their sum), every head, MLP and bias of the layers
    before, and what stands in for a sub-layer that was edited whole.  Raises ValueError, one sentence, for what is
    no head, and for another end than the query's or the key's.
    """
    if head.kind is not Kind.HEAD or head.index is None:
        raise ValueError(f"{head} has no scores: heads have")
    if via not in (Via.Q, Via.K):
        raise ValueError(f"a score is read at its query or at its key, not through {via.value}: q or k")
    pull, constant = _pull(model, trace, head, query, via)
    reader = head_input(head, via)
    tokens = [query] * (query + 1) if via is Via.Q else list(range(query + 1))
    at = slice(query, query + 1) if via is Via.Q else slice(query + 1)
    written = [*_embeddings(trace, pull, at), *_layers(model, trace, head.layer, pull, at)]
    added = dict(_added(trace, head.layer, pull, at))
    if (by_edges := trace.added(reader)) is not None:
        arriving = [(part, _arriving(trace, reader, part, share, pull, tokens)) for part, share in written]
        more, place = _met(by_edges[at], pull), Component(Kind.RESID_PRE, head.layer)
        for (_, share), (_, less) in zip(written, arriving, strict=True):
            more = more + share - less
        written, added[place] = arriving, more + added.get(place, torch.zeros_like(more))
    parts = torch.stack([part for _, part in (*written, *added.items())])
    for row, pos in enumerate(tokens):
        left = left_of_input(trace, reader, pos)
        if left is not None:  # what is not left of it is as an edit has made it
            parts[:, row] *= left
            constant[row] = _row_scores(trace, head, query)[row] - parts[:, row].sum()
    sources = (*(part for part, _ in written), *added, Component(Kind.TARGET_BIAS))
    return ScoreParts(query, via, sources, torch.cat([parts, constant[None]]).double().cpu().numpy())


def _added(trace: Trace, layer: int, pull: Tensor, at: slice) -> Iterator[_Part]:
    """What edits of the residual stream have added before a layer."""
    for place in stream_edits(trace):
        if written_on(place) <= 2 * layer:
            yield place, _met(added_by_edits(trace, place)[at], pull)


def _arriving(
    trace: Trace, reader: Component, part: Component, share: Tensor, pull: Tensor, tokens: Sequence[int]
) -> Tensor:
    """Of a source's part in each key's score, what arrives where edges into the reader are edited: [key]."""
    assert trace.met is not None  # it has such edges
    found = share.clone()
    for row, pos in enumerate(tokens):
        found[row] *= trace.met.share(reader, part, None, pos)
        instead = trace.met.instead(reader, part, None, pos)
        found[row] += 0.0 if instead is None else instead @ pull[row]
    return found


def _pull(model: GPT2, trace: Trace, head: Component, query: int, via: Via) -> tuple[Tensor, Tensor]:
    """d score / d residual at the end that is read [key, d_model], and the score's part that no residual has [key]."""
    layer, norm, root = head.layer, model.blocks[head.layer].ln_1, math.sqrt(model.config.d_head)
    w_q, b_q, w_k, b_k = query_key(model, head)
    q = wide(trace[Site.Q, layer][head.index, query])
    k = wide(trace[Site.K, layer][head.index, : query + 1])  # [key, d_head]
    if via is Via.Q:
        normed, constant, at = k @ w_q.T / root, k @ b_q / root, slice(query, query + 1)
    else:
        normed, at = (w_k @ q / root).expand(query + 1, -1), slice(query + 1)
        constant = (b_k @ q / root).expand(query + 1)
    scale = scale_met(model, trace, 1 + 2 * layer, head_input(head, via))[at]
    weighted = normed * wide(norm.weight)
    return (weighted - weighted.mean(-1, keepdim=True)) / scale, constant + normed @ wide(norm.bias)


def _embeddings(trace: Trace, pull: Tensor, at: slice) -> Iterator[_Part]:
    live = ~overwritten(trace, Kind.EMBED, 0)[at]
    for kind, site in ((Kind.TOKEN_EMBED, Site.EMBED), (Kind.POS_EMBED, Site.POS_EMBED)):
        yield Component(kind), _met(wide(trace[site, 0][at]), pull) * live
    if not live.all():
        yield Component(Kind.EMBED), _met(wide(trace[Site.RESID_PRE, 0][at]), pull) * ~live


def _layers(model: GPT2, trace: Trace, stop: int, pull: Tensor, at: slice) -> Iterator[_Part]:
    """Heads, MLPs and biases of the layers before `stop`."""
    for layer in range(stop):
        yield from _attention(model, trace, layer, pull, at)
        live = ~overwritten(trace, Kind.MLP, layer)[at, None]  # [1 or key, 1]
        bias = wide(trace[Site.MLP_BIAS, layer][at]) * live
        yield Component(Kind.MLP, layer), _met(wide(trace[Site.MLP_OUT, layer][at]) - bias, pull)
        yield Component(Kind.MLP_BIAS, layer), _met(bias, pull)


def _attention(model: GPT2, trace: Trace, layer: int, pull: Tensor, at: slice) -> Iterator[_Part]:
    """A layer's heads and bias; where an edit replaced all of them at once, that as one."""
    live = ~overwritten(trace, Kind.ATTN, layer)[at]
    along = pull @ head_matrix(model, layer).transpose(1, 2)  # [head, key, d_head]
    heads = (wide(trace[Site.Z, layer][:, at]) * along).sum(-1) * live  # [head, key]
    yield from ((Component(Kind.HEAD, layer, index), part) for index, part in enumerate(heads))
    if not live.all():
        yield Component(Kind.ATTN, layer), _met(wide(trace[Site.ATTN_OUT, layer][at]), pull) * ~live
    yield Component(Kind.ATTN_BIAS, layer), _met(wide(trace[Site.ATTN_BIAS, layer][at]), pull) * live


def _met(write: Tensor, pull: Tensor) -> Tensor:
    """What writes do: [1 or key, d_model] against [key, d_model] -> [key]."""
    return (write * pull).sum(-1)
