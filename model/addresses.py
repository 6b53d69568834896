"""Text -> components: the spellings that people type, checked against one model's shape.

    L9H9  L9H*  L9H{6,9}  L9H0-3  L9 (A9 and M9)  A9  A9-11  M*  N10.1307  Fm8.2231  F8.2231  Xm8  BFm8
    E  WTE  WPE  U  BA9  BM9  BU  resid_pre.9  resid_mid.9  resid_post.9  L9H9.q  L9H*.pattern  L9.pattern
    ln1_scale.9  ln2_scale.9  ln_final_scale

A latent without a letter is of the only dictionary of its layer: which that is, is for who has loaded it to say.  The
spellings of other tools are read too (`9.9`, `blocks.9.attn.hook_z[9]`, `mlp10`); `str(Component)` is the
one that is printed.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from model.components import DICTIONARY_SITES, INSIDE_HEADS, RESIDUAL, Component, Kind

if TYPE_CHECKING:  # the annotation alone must not load torch
    from model.gpt2 import Config


class AddressError(ValueError):
    """Text that names no part of this model."""


QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*\'"""
"A quoted string, as a regular expression: nothing inside it separates."

_NUMBER = r"[0-9]{1,9}"
_LIST = rf"{_NUMBER}|\{{{_NUMBER}(?:,{_NUMBER})*\}}"
_RANGE = rf"\*|{_NUMBER}-{_NUMBER}|{_LIST}"
_PARTS = {
    "<layer>": f"(?P<layer>{_NUMBER})",
    "<layers>": f"(?P<layer>{_RANGE})",
    "<index>": f"(?P<index>{_NUMBER})",
    "<indices>": f"(?P<index>{_RANGE})",
    # How many latents there are is for their dictionary to say, so there is no `*`.
    "<latents>": f"(?P<index>{_LIST})",
    "<site>": f"(?P<site>[{''.join(DICTIONARY_SITES)}]?)",
}


def _spelling(text: str, *kinds: Kind) -> tuple[re.Pattern[str], tuple[Kind, ...]]:
    """A pattern in which `<...>` stand for numbers and all else for itself, and what it spells."""
    pattern = "".join(_PARTS.get(piece) or re.escape(piece) for piece in re.split(r"(<\w+>)", text))
    return re.compile(pattern, re.IGNORECASE), kinds


_SPELLINGS = (
    _spelling("L<layers>H<indices>", Kind.HEAD),
    _spelling("L<layers>", Kind.ATTN, Kind.MLP),
    _spelling("A<layers>", Kind.ATTN),
    _spelling("M<layers>", Kind.MLP),
    _spelling("N<layers>.<indices>", Kind.NEURON),
    _spelling("F<site><layer>.<latents>", Kind.LATENT),
    _spelling("X<site><layers>", Kind.ERROR),
    _spelling("BF<site><layers>", Kind.SAE_BIAS),
    _spelling("BA<layers>", Kind.ATTN_BIAS),
    _spelling("BM<layers>", Kind.MLP_BIAS),
    *(_spelling(kind.letters, kind) for kind in Kind if not kind.has_layer),
    *(_spelling(f"{kind.letters}.<layers>", kind) for kind in (*RESIDUAL, Kind.LN1_SCALE, Kind.LN2_SCALE)),
    *(_spelling(f"L<layers>H<indices>.{kind.letters}", kind) for kind in INSIDE_HEADS),
    *(_spelling(f"L<layers>.{kind.letters}", kind) for kind in INSIDE_HEADS),
    _spelling("L<layers>H<indices>.z", Kind.HEAD),
    _spelling("L<layers>.z", Kind.HEAD),
    _spelling("attn_out.<layers>", Kind.ATTN),
    _spelling("mlp_out.<layers>", Kind.MLP),
    # As other tools and papers write them.
    _spelling("<layer>.<index>", Kind.HEAD),
    _spelling("H<layer>.<index>", Kind.HEAD),
    _spelling("A<layer>.H<index>", Kind.HEAD),
    _spelling("L<layer>.H<index>", Kind.HEAD),
    _spelling("attn_L<layer>_<index>", Kind.HEAD),
    _spelling("attn[<layer>.<index>]", Kind.HEAD),
    _spelling("blocks.<layer>.attn.hook_z[<index>]", Kind.HEAD),
    _spelling("attn<layer>", Kind.ATTN),
    _spelling("L<layer>A", Kind.ATTN),
    _spelling("blocks.<layer>.hook_attn_out", Kind.ATTN),
    _spelling("mlp<layer>", Kind.MLP),
    _spelling("L<layer>M", Kind.MLP),
    _spelling("blocks.<layer>.hook_mlp_out", Kind.MLP),
    _spelling("L<layer>N<index>", Kind.NEURON),
    _spelling("blocks.<layer>.mlp.hook_post[<index>]", Kind.NEURON),
    *(_spelling(f"blocks.<layer>.hook_{kind.letters}", kind) for kind in RESIDUAL),
    *(_spelling(f"blocks.<layer>.attn.hook_{kind.letters}[<index>]", kind) for kind in INSIDE_HEADS),
    *(_spelling(f"blocks.<layer>.attn.hook_{kind.letters}", kind) for kind in INSIDE_HEADS),
    _spelling("blocks.<layer>.attn.hook_z", Kind.HEAD),
    _spelling("blocks.<layer>.ln1.hook_scale", Kind.LN1_SCALE),
    _spelling("blocks.<layer>.ln2.hook_scale", Kind.LN2_SCALE),
    _spelling("ln_final.hook_scale", Kind.LN_FINAL_SCALE),
)


def parse_components(text: str, config: "Config", model_name: str) -> tuple[Component, ...]:
    """All that `text` names, `L9H*,A3` say, each once and in order.  Raises AddressError."""
    found = (part for item in split_list(text) for part in _expand(item, config, model_name))
    return tuple(dict.fromkeys(found))


def parse_component(text: str, config: "Config", model_name: str) -> Component:
    """The one component that `text` names.  Raises AddressError, also where it names several."""
    first, *others = parse_components(text, config, model_name)
    if others:
        raise AddressError(f"{text!r} names {1 + len(others)} components: give one, such as {first}")
    return first


def split_list(text: str) -> list[str]:
    """The parts between commas, without the spaces around them; quotes, braces and brackets keep theirs."""
    parts = [""]
    for piece in re.findall(rf"{QUOTED}|\{{[^}}]*\}}|\[[^\]]*\]|.", text, re.DOTALL):
        if piece == ",":
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts]


_PAIR = re.compile(r"(?P<part>attn\[[^\]]*\])\[(?P<pos>[^,\]]+)(?:,(?P<key>[^\]]+))?\]", re.IGNORECASE)
_NODE = re.compile(
    rf"(?P<part>[^@<]*)(?:@(?P<pos>(?:{QUOTED}|[^<])*))?(?:<(?P<key>.*))?",
    re.DOTALL,
)


def split_node(text: str) -> tuple[str, str | None, str | None]:
    """The texts of component, position and key, None where not given.

    `L9H9@END<Mary` -> `L9H9`, `END`, `Mary`, and so does `attn[9.9][END,Mary]`.  Quotes stay as they are.
    Raises AddressError where an `@` or a `<` has nothing after it, and for a key without a query.
    """
    match = _PAIR.fullmatch(text) or _NODE.fullmatch(text)
    if match is None or not match["part"]:
        raise AddressError(_not_a_node(text))
    part, pos, key = match["part"], match["pos"], match["key"]
    if key is not None and pos is None:
        raise AddressError(f"{text!r} has a key and no query: write {part}@END<{key or 'Mary'}")
    if pos == "" or key == "":
        mark, example = ("@", f"{part}@END") if pos == "" else ("<", f"{part}@{pos}<0")
        raise AddressError(f"{text!r} needs a position after {mark!r}: write {example}")
    return part, pos, key


def _expand(text: str, config: "Config", model_name: str) -> Iterator[Component]:
    """Lazily, so that a range far out of bounds fails at its first component."""
    for pattern, kinds in _SPELLINGS:
        if match := pattern.fullmatch(text):
            given = match.groupdict()
            site = (given.get("site") or "").lower()
            limit = config.d_mlp if kinds == (Kind.NEURON,) else config.n_head
            # a head without a number is every head; other places of a layer's heads are addressed as one
            indices = "*" if kinds == (Kind.HEAD,) and "index" not in given else given.get("index")
            for layer in _numbers(given.get("layer"), config.n_layer, text):
                for index in _numbers(indices, limit, text):
                    for kind in kinds:
                        part = Component(kind, layer or 0, index, site)
                        _check(part, config, model_name)
                        yield part
            return
    raise AddressError(_not_a_node(text))


def _numbers(text: str | None, count: int, whole: str) -> Sequence[int | None]:
    """`*` -> all `count`, `0-3` -> four, `{6,9}` -> two, `9` -> one; no number at all -> None."""
    if text is None:
        return (None,)
    if text == "*":
        return range(count)
    if text.startswith("{"):
        return [int(number) for number in text[1:-1].split(",")]
    first, dash, last = text.partition("-")
    if dash and int(last) < int(first):
        raise AddressError(f"{whole!r} runs backwards: write {whole.replace(text, f'{last}-{first}')}")
    return range(int(first), int(last or first) + 1)


def _check(part: Component, config: "Config", model_name: str) -> None:
    """Raises AddressError for a layer, head or neuron that the model does not have."""
    layer_exists = not part.kind.has_layer or part.layer < config.n_layer
    match part.kind:
        case kind if (
            kind.has_heads and part.index is not None and (not layer_exists or part.index >= config.n_head)
        ):
            heads, layers = _span(config.n_head), _span(config.n_layer)
            raise AddressError(f"no head {part}: {model_name} has heads {heads} in layers {layers}")
        case Kind.ATTN | Kind.MLP if not layer_exists:
            raise AddressError(f"no line {part}: the last is {part.kind.letters}{config.n_layer - 1}")
        case _ if not layer_exists:
            raise AddressError(f"{part} is out of range: {model_name} has layers {_span(config.n_layer)}")
        case Kind.NEURON if (part.index or 0) >= config.d_mlp:
            neurons = _span(config.d_mlp)
            raise AddressError(f"{part} is out of range: layer {part.layer} has neurons {neurons}")
        case _:
            return


def _span(count: int) -> str:
    return "0" if count == 1 else f"0–{count - 1}"


def _not_a_node(text: str) -> str:
    return f"{text!r} isn't a node: write L9H9, A9, M9, N9.123, F9.123, E or U (h nodes)"
