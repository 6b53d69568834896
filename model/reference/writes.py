"""What nodes of a reference run write, and which edits take the place of it."""

import torch
from torch import Tensor

from model.components import DICTIONARY, Component, Kind, Node
from model.edits.interventions import Change
from model.reference.passes import Pass
from model.reference.run import PlainGPT2
from model.reference.splices import (
    error_of,
    is_of_a_dictionary,
    line_of_place,
    out_of,
    parts_at,
    taken_apart,
)

TAKEN_APART = {
    "m": Kind.MLP,
    "p": Kind.NEURON,
    "a": Kind.ATTN,
    "z": Kind.HEAD,
    "r": Kind.RESID_PRE,
    "i": Kind.RESID_MID,
    "o": Kind.RESID_POST,
}
"""What dictionaries take apart, by their letters: all neurons and all heads, of those inside."""
INSIDE = {"p": Kind.MLP, "z": Kind.ATTN}


def line_of(part: Component) -> int:
    """The line on which a component writes."""
    match part.kind:
        case Kind.EMBED | Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return 0
        case Kind.HEAD | Kind.ATTN | Kind.ATTN_BIAS | Kind.RESID_MID:
            return 1 + 2 * part.layer
        case Kind.RESID_PRE:
            return 2 * part.layer
        case kind if kind in DICTIONARY:
            return line_of_place(taken_apart(part))
        case _:
            return 2 + 2 * part.layer


def write_of(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    """What a node has put into the stream, nothing where an edit replaced the whole that it is part of: [d_model].

    Raises ValueError for parts that are no writers.
    """
    part, pos, layer = node.component, node.pos, node.component.layer
    if part.kind in (Kind.ATTN, Kind.MLP):
        name = "attn" if part.kind is Kind.ATTN else "mlp"
        whole = run[f"{name}_out", layer][pos]
        return whole if replaced(run, part, pos) else whole - run[f"{name}_bias", layer][pos]
    write = _part_of(plain, run, node)
    gone = any(replaced(run, whole, pos) for whole in _wholes(node))
    return torch.zeros_like(write) if gone else write


def edited(change: Change) -> Component:
    """What an edit replaces something of: of a dictionary's part what that takes apart."""
    part = change.component
    return Component(TAKEN_APART[part.site], part.layer) if is_of_a_dictionary(change) else part


def _of_dictionary(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    part, pos, at = node.component, node.pos, taken_apart(node.component)
    parts, dictionary = parts_at(run, at), run.dictionaries[at]
    match part.kind:
        case Kind.LATENT:
            row = dictionary.decoder[part.index or 0].to(plain.dtype) * dictionary.factor(parts.read[pos])
            write = parts.latents[pos, part.index or 0] * row
        case Kind.SAE_BIAS:
            write = parts.beside[pos]
        case _:
            write = error_of(dictionary, run.values, parts)[pos]
    return write @ out_of(plain, at)


def _part_of(plain: PlainGPT2, run: Pass, node: Node) -> Tensor:
    if node.component.kind in DICTIONARY:
        return _of_dictionary(plain, run, node)
    part, pos, layer, index = node.component, node.pos, node.component.layer, node.component.index or 0
    match part.kind:
        case Kind.EMBED:
            return run.stream[0][pos]
        case Kind.TOKEN_EMBED:
            return run["embed", 0][pos]
        case Kind.POS_EMBED:
            return run["positions", 0][pos]
        case Kind.HEAD if node.key is None:
            return run["z", layer][index, pos] @ plain.output(layer, index)
        case Kind.HEAD:
            value = run["v", layer][index, node.key] @ plain.output(layer, index)
            return run["pattern", layer][index, pos, node.key] * value
        case Kind.NEURON:
            return run["post", layer][pos, index] * plain.weight(f"h.{layer}.mlp.c_proj.weight")[index]
        case Kind.ATTN_BIAS:
            return run["attn_bias", layer][pos]
        case Kind.MLP_BIAS:
            return run["mlp_bias", layer][pos]
        case Kind.RESID_PRE:
            return run["resid_pre", layer][pos] - run["resid_post", layer - 1][pos]
        case Kind.RESID_MID:
            return run["resid_mid", layer][pos] - run["resid_pre", layer][pos] - run["attn_out", layer][pos]
        case Kind.RESID_POST:
            return run["resid_post", layer][pos] - run["resid_mid", layer][pos] - run["mlp_out", layer][pos]
        case _:
            raise ValueError(f"{part} is no part that the independent pass knows")


def _wholes(node: Node) -> list[Component]:
    """What a node is part of: an edit of that takes its place."""
    part = node.component
    match part.kind:
        case Kind.HEAD if node.key is not None:
            return [Component(Kind.ATTN, part.layer), Component(Kind.HEAD, part.layer, part.index)]
        case Kind.HEAD | Kind.ATTN_BIAS:
            return [Component(Kind.ATTN, part.layer)]
        case Kind.NEURON | Kind.MLP_BIAS:
            return [Component(Kind.MLP, part.layer)]
        case Kind.TOKEN_EMBED | Kind.POS_EMBED:
            return [Component(Kind.EMBED)]
        case kind if kind in DICTIONARY and part.site in INSIDE:
            return [Component(INSIDE[part.site], part.layer)]
        case _:
            return []


def replaced(run: Pass, part: Component, pos: int) -> bool:
    """Whether an edit replaced a part's whole output at a token."""
    heads = Component(Kind.HEAD, part.layer)  # of all at once
    return any(
        (edited(change) == part or (part.kind is Kind.HEAD and edited(change) == heads))
        and change.key is None
        and (change.span is None or change.span.first <= pos <= change.span.last)
        for change in run.changes
    )


def places_after(line: int) -> list[Component]:
    """The places of the stream between a line and the next."""
    layer = (line - 1) // 2
    if line % 2:
        return [Component(Kind.RESID_MID, layer)]
    return [Component(Kind.RESID_POST, layer), Component(Kind.RESID_PRE, layer + 1)] if line else []
