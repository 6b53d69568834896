"""What a latent's pre-activation reads of a reference run, by hand: through the MLP, or through all heads.

Read linearly where the run stands, the scale of the norm before the sub-layer and that of the dictionary's own input
held; and live, as the stream of any line makes it.
"""

import math

import torch
from torch import Tensor

from model.components import DICTIONARY, RESIDUAL, SCALES, Component, Kind, Node
from model.reference.dictionaries import PlainDictionary
from model.reference.passes import Pass
from model.reference.run import PlainGPT2, gelu_slope
from model.reference.splices import STREAM, Place, line_of_place, out_of, parts_at, taken_apart

NORMS = {"ln1_normalized": "ln_1", "ln2_normalized": "ln_2"}
"""Norms whose output, before weight and bias, a transcoder may read."""

Reads = tuple[tuple[int, Tensor], ...]
"""(token, what multiplies the layer norm's output there, or the stream [d_model])."""


def line_read(part: Component) -> int:
    """The line that a latent reads as."""
    at = taken_apart(part)
    return line_of_place(at) + (at[0] in STREAM)


def is_raw(part: Component) -> bool:
    """Whether it reads the stream as it is."""
    return taken_apart(part)[0] in STREAM


def value_of(run: Pass, node: Node) -> float:
    """A latent's pre-activation in a run."""
    dictionary, read = _dictionary(run, node)
    return float(dictionary.pre(read, [node.component.index or 0])[0])


def reads_of(plain: PlainGPT2, run: Pass, node: Node) -> Reads:
    """What it reads.  Raises ValueError where edits stand inside of its sub-layer."""
    part, pos, layer = node.component, node.pos, node.component.layer
    dictionary, read = _dictionary(run, node)
    wanted = dictionary.direction(read, part.index or 0)
    if is_raw(part):
        return ((pos, wanted),)
    if edited_inside(run, part):
        raise ValueError(f"what edits inside of its sub-layer leave of {part} is unknown to it")
    name = dictionary.reads[0]
    if part.site in ("a", "z") and _many_streams(run, part):
        raise ValueError(f"what {part} reads through heads that do not all read one stream is unknown to it")
    if name in NORMS:
        return ((pos, wanted / plain.weight(f"h.{layer}.{NORMS[name]}.weight")),)
    if name in ("mlp_out", "post"):
        wanted = wanted if name == "post" else plain.weight(f"h.{layer}.mlp.c_proj.weight") @ wanted
        slope = gelu_slope(run["pre", layer][pos])
        return ((pos, plain.weight(f"h.{layer}.mlp.c_fc.weight") @ (slope * wanted)),)
    wanted = wanted if name == "z" else out_of(plain, ("z", layer)) @ wanted
    return _through_heads(plain, run, layer, pos, torch.stack(wanted.chunk(plain.n_head)))


def reader_of(run: Pass, part: Component) -> Component | None:
    """The MLP, where it reads through that."""
    through = not is_raw(part) and run.dictionaries[taken_apart(part)].reads[0] in ("mlp_out", "post")
    return Component(Kind.MLP, part.layer) if through else None


def _many_streams(run: Pass, part: Component) -> bool:
    """Whether edges or paths into heads of a latent's layer are edited."""
    readers = (*run.met, *run.handed)
    return any(each.kind in (Kind.Q, Kind.K, Kind.V) and each.layer == part.layer for each in readers)


def _through_heads(plain: PlainGPT2, run: Pass, layer: int, pos: int, wanted: Tensor) -> Reads:
    """What sum over heads of z . wanted reads of every token: through values, keys and the query."""
    found = [torch.zeros(len(run.stream[0][0]), dtype=plain.dtype) for _ in range(pos + 1)]
    for head, wish in enumerate(wanted):
        (w_q, _), (w_k, _), (w_v, _) = (plain.columns(layer, head, letter) for letter in "qkv")
        q, k = run["q", layer][head, pos], run["k", layer][head, : pos + 1]
        shares, worth = run["pattern", layer][head, pos, : pos + 1], run["v", layer][head, : pos + 1] @ wish
        slopes = shares * (worth - shares @ worth) / math.sqrt(len(q))  # by each score, before the root
        for key in range(pos + 1):
            found[key] = found[key] + shares[key] * (w_v @ wish) + slopes[key] * (w_k @ q)
        found[pos] = found[pos] + w_q @ (slopes @ k)
    return tuple(enumerate(found))


def live_value(plain: PlainGPT2, run: Pass, node: Node, stream: Tensor) -> float:
    """A latent's pre-activation as a stream makes it, scales that edits have set held: [pos, d_model]."""
    part, pos = node.component, node.pos
    dictionary = run.dictionaries[taken_apart(part)]
    given = stream[pos] if is_raw(part) else _given(plain, run, dictionary, part, stream[: pos + 1])[pos]
    return float(dictionary.pre(given, [part.index or 0])[0])


def _given(plain: PlainGPT2, run: Pass, dictionary: PlainDictionary, part: Component, x: Tensor) -> Tensor:
    """What a dictionary is given of the stream that comes to its sub-layer: [pos, d_in]."""
    kept: dict[Place, Tensor] = {}
    layer, line = part.layer, line_read(part)

    def keep(name: str, layer: int, x: Tensor) -> Tensor:
        if name in ("ln1_scale", "ln2_scale"):
            x = torch.stack([run.scale_of(line, pos)(each) for pos, each in enumerate(x)])
        kept[name, layer] = x
        return x

    if line % 2:
        kept["resid_pre", layer] = x
        plain.attention(layer, x, keep, False)
    else:
        kept["resid_mid", layer] = x
        plain.mlp(layer, x, keep, False)
    return dictionary.read(kept)


def edited_inside(run: Pass, part: Component) -> bool:
    """Whether edits stand between the stream and what a latent's dictionary is given."""
    return not is_raw(part) and any(
        change.component.kind not in (*DICTIONARY, *RESIDUAL, *SCALES)
        and change.component.line == line_read(part)
        for change in run.changes
    )


def _dictionary(run: Pass, node: Node) -> tuple[PlainDictionary, Tensor]:
    """A latent's dictionary, and what it has encoded at its token."""
    at = taken_apart(node.component)
    return run.dictionaries[at], parts_at(run, at).read[node.pos]
