"""A latent as what is asked about: its pre-activation, through the sub-layer that its dictionary takes apart.

Read as a frame of tracing it is linear where the run stands: through the real MLP, or through the queries, keys and
values of all heads, the scale of the layer norm before it held (Mossing et al. 2024, Transformer Debugger), and that
of the dictionary's own input; what edits inside of the sub-layer have replaced moves with nothing.  A dictionary of the
residual stream reads that as it is.  What is not linear is in the constant, so the rows and biases add up to the
pre-activation.  Measured, everything is live.
"""

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, SCALES, Component, Kind, Node
from model.dictionaries import Dictionary, dictionary_of, numbers, place_of, side_by_side
from model.edits.edge_tables import left_by
from model.edits.edges import EdgeChange, EdgeKeep
from model.edits.interventions import SINGLE, site_of
from model.edits.links import INPUTS
from model.edits.made import index_of
from model.edits.met import as_met
from model.edits.path_edits import PathPatch
from model.gpt2 import GPT2, Block, wide
from model.held import held_scales
from model.latents import encoded
from model.lines import norm_before, normed, residual_site, written_on
from model.sites import Site, Where
from model.targets import Read, Target, left_of_input, query_key, read_through, value_matrix
from model.trace import Trace

INSIDE = (Site.MLP_OUT, Site.MLP_POST, Site.ATTN_OUT, Site.Z)
"Places that are the work of a sub-layer; the others are of the residual stream."

INPUT_SITES = (Site.Q, Site.K, Site.V)


Edited = tuple[Trace, range]
"A run whose edits inside of the sub-layer are made, and the tokens that are read."


@torch.no_grad()
def latent_target(model: GPT2, trace: Trace, node: Node) -> Target:
    """The pre-activation of a latent at a token.  Raises ValueError where its dictionary is not loaded."""
    part, at = node.component, place_of(node.component)
    dictionary = dictionary_of(trace.dictionaries, part)
    value = float(_pre(dictionary, part, encoded(trace, at)[node.pos]))
    if _many_streams(trace, part):
        return _through_heads(model, trace, node, dictionary, value)
    line, positions, reader = line_read(part), positions_read(node), _reader(part, dictionary)
    stream = as_met(
        stream_at(model, trace, part, positions), positions, [reader] * len(positions), trace.added
    )
    seen = _seen(model, trace, part, positions, stream)
    direction = dictionary.direction(encoded(trace, at)[node.pos], part.index or 0)
    with torch.enable_grad():
        leaf = seen.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            _given(model, dictionary, part, leaf[None], (trace, range(positions[0], node.pos + 1)))[0]
            @ direction,
            leaf,
        )
    left = None if reader is None else left_of_input(trace, reader, node.pos)
    gradient = gradient if left is None else left * gradient
    linear = float((gradient.double() * seen.double()).sum())
    reads = tuple(Read(pos, wide(row), reader) for pos, row in zip(positions, gradient, strict=True))
    return Target(line, reads, value - linear, value, raw=at[0] not in INSIDE, latent=node)


def _reader(part: Component, dictionary: Dictionary) -> Component | None:
    """The part of the model through which a latent reads, where it is one."""
    through_mlp = place_of(part)[0] in INSIDE and dictionary.reads[0] in (Site.MLP_OUT, Site.MLP_POST)
    return Component(Kind.MLP, part.layer) if through_mlp else None


def _many_streams(trace: Trace, part: Component) -> bool:
    """Whether a part is of attention whose heads do not all read one stream."""
    if place_of(part)[0] not in (Site.ATTN_OUT, Site.Z):
        return False
    for change in trace.changes:
        readers = change.heads if isinstance(change, EdgeChange) else ()
        readers = change.receivers if isinstance(change, PathPatch) else readers
        inputs = (each for each in readers if each.kind in INPUTS and each.layer == part.layer)
        if isinstance(change, EdgeKeep) or any(inputs):
            return True
    return False


def _through_heads(model: GPT2, trace: Trace, node: Node, dictionary: Dictionary, value: float) -> Target:
    """A latent of attention by what each head's query, key and value reads: one after the other, as each meets it."""
    part, layer, length = node.component, node.component.layer, node.pos + 1
    direction = dictionary.direction(encoded(trace, place_of(part))[node.pos], part.index or 0)
    leaves = {site: trace[site, layer][None, :, :length].detach().requires_grad_() for site in INPUT_SITES}
    found: dict[Site, Tensor] = {}

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        edited = _as_edited(trace, (site, layer), x, range(length)) if site not in leaves else leaves[site]
        found[site] = edited
        return edited

    with torch.enable_grad():
        model.blocks[layer].attn(trace[Site.RESID_PRE, layer][None, :length], layer, watch)
        given = side_by_side(dictionary.reads[0], found[dictionary.reads[0]])[0, -1]
        pulls = torch.autograd.grad(given @ direction, list(leaves.values()))
    shared: dict[int, Tensor] = {}
    reads, constant = list[Read](), value
    for head in range(model.config.n_head):
        of_head = Component(Kind.HEAD, layer, head)
        w_q, b_q, w_k, b_k = query_key(model, of_head)
        matrices = (w_q, b_q), (w_k, b_k), value_matrix(model, of_head)
        for kind, (weight, bias), leaf, pull in zip(INPUTS, matrices, leaves.values(), pulls, strict=True):
            reader = Component(kind, layer, head)
            for pos, want in enumerate(wide(pull[0, head])):
                whole = float(wide(leaf[0, head, pos]) @ want)
                read, own = read_through(model, trace, reader, pos, weight @ want, float(bias @ want), whole)
                constant += own - whole
                if trace.added(reader) is not None:
                    reads.append(read)
                else:
                    shared[pos] = shared.get(pos, 0.0) + read.normed
    reads += [Read(pos, normed) for pos, normed in shared.items()]
    return Target(line_read(part), tuple(reads), constant, value, latent=node)


def line_read(part: Component) -> int:
    """The line that a latent reads as: its sub-layer's; after a place of the stream the next."""
    return written_on(part) + (place_of(part)[0] not in INSIDE)


def positions_read(node: Node) -> tuple[int, ...]:
    """The tokens that a latent at one token reads, that token last: all before it through attention."""
    through_attention = place_of(node.component)[0] in (Site.ATTN_OUT, Site.Z)
    return tuple(range(node.pos + 1)) if through_attention else (node.pos,)


def stream_at(model: GPT2, trace: Trace, part: Component, positions: tuple[int, ...]) -> Tensor:
    """The residual stream that a latent reads: [read, d_model]."""
    at = place_of(part)
    where = residual_site(line_read(part), model.config.n_layer) if at[0] in INSIDE else at
    return trace[where][list(positions)]


def pre_activation(model: GPT2, trace: Trace, node: Node, resid: Tensor) -> Tensor:
    """A latent's pre-activation as the stream at the tokens it reads makes it: [batch, read, d_model] -> [batch].

    Scales that edits have set are held, all else is live; edits inside of the sub-layer are not made.
    """
    part, positions = node.component, positions_read(node)
    dictionary = dictionary_of(trace.dictionaries, part)
    seen = _seen(model, trace, part, positions, resid)
    return _pre(dictionary, part, _given(model, dictionary, part, seen))


def edited_inside(trace: Trace, node: Node) -> bool:
    """Whether edits stand between the stream and what a latent's dictionary is given."""
    part = node.component
    if left_of_input(trace, Component(Kind.MLP, part.layer), node.pos) is not None:
        return place_of(part)[0] in (Site.MLP_OUT, Site.MLP_POST)  # a path has given it
    if _many_streams(trace, part):
        return True
    return place_of(part)[0] in INSIDE and any(
        change.component.kind not in (*DICTIONARY, *RESIDUAL, *SCALES)
        and written_on(change.component) == line_read(part)
        for change in trace.changes
    )


def _seen(model: GPT2, trace: Trace, part: Component, positions: tuple[int, ...], resid: Tensor) -> Tensor:
    """The stream through the layer norm before the sub-layer, or as it is: [..., read, d_model]."""
    if place_of(part)[0] not in INSIDE:
        return resid
    line = line_read(part)
    norm, held = norm_before(model, line), held_scales(model, trace, line)
    edited = None if held is None else held.at(positions).of
    return normed(norm, resid, norm.bias, edited=edited).to(resid.dtype)


def _given(
    model: GPT2, dictionary: Dictionary, part: Component, seen: Tensor, edited: Edited | None = None
) -> Tensor:
    """What the dictionary is given at the last token, from what is seen: [batch, read, d_model] -> [batch, d_in].

    With the edits that a run has inside of the sub-layer, where it is named.
    """
    if place_of(part)[0] not in INSIDE:
        return seen[:, -1]
    return _inside(model.blocks[part.layer], part.layer, dictionary.reads, seen, edited)


def _inside(block: Block, layer: int, reads: Where, seen: Tensor, edited: Edited | None) -> Tensor:
    """What a dictionary reads inside of a sub-layer at the last token: [batch, read, d_model] -> [batch, d_in]."""
    norm = {Site.LN1_NORMALIZED: block.ln_1, Site.LN2_NORMALIZED: block.ln_2}.get(reads[0])
    if norm is not None:
        return (seen[:, -1] - norm.bias) / norm.weight
    found: dict[Site, Tensor] = {}

    def watch(site: Site, layer: int, x: Tensor) -> Tensor:
        found[site] = x if edited is None else _as_edited(edited[0], (site, layer), x, edited[1])
        return found[site]

    if reads[0] in (Site.MLP_OUT, Site.MLP_POST):
        block.mlp(seen, layer, watch)
    else:
        block.attn(seen, layer, watch)
    return side_by_side(reads[0], found[reads[0]])[:, -1]


def _as_edited(trace: Trace, at: Where, x: Tensor, read: range) -> Tensor:
    """x, [batch, ...] at the tokens that are read, as edits in a run have left it: their values and their slopes."""
    changes = [change for change in trace.changes if isinstance(change, SINGLE) and site_of(change) == at]
    changes = [change for change in changes if change.component.kind not in DICTIONARY]
    if not changes:
        return x
    scores = at[0] is Site.SCORES
    recorded = trace[Site.PATTERN if scores else at[0], at[1]][None]
    left = torch.ones_like(recorded)
    for change in changes:
        left[index_of(change.component, change.span, change.key)] *= left_by(change)
    square = scores or at[0] is Site.PATTERN
    here = (..., slice(read.start, read.stop), slice(read.stop if square else None))
    if scores:
        return x.masked_fill(left[here] == 0, -torch.inf)
    return recorded[here] + left[here] * (x - x.detach())


def _pre(dictionary: Dictionary, part: Component, x: Tensor) -> Tensor:
    """x [..., d_in] -> a latent's pre-activation [...], in at least float32."""
    return wide(dictionary.pre_activations(x, numbers([part.index or 0], x)))[..., 0]
