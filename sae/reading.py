"""What every reader of a dictionary's file needs: its keys checked, its tensors usable, its place in the model."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from model.edits.sources import Where
from model.files import CheckpointError
from model.gpt2 import Config
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.places import READ, width

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def exact(found: Collection[str], required: Collection[str], optional: Collection[str], name: str) -> None:
    """Raises CheckpointError for a key that is missing or unknown: another format would be read wrongly."""
    for key in required:
        if key not in found:
            raise CheckpointError(f"{name} has no {key}: {', '.join(required)} were expected")
    for key in found:
        if key not in required and key not in optional:
            known = ", ".join([*required, *optional])
            raise CheckpointError(f"{name} has a key {key}, unknown to this format: {known} are known")


def tensor_of(data: Mapping[str, Any], key: str, name: str) -> Tensor:
    """A dense, finite floating-point tensor.  Raises CheckpointError."""
    x = data[key]
    if not isinstance(x, Tensor) or x.dtype not in FLOATS or x.layout != torch.strided:
        held = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise CheckpointError(f"{name}: {key} holds {held}: a dense floating-point tensor was expected")
    # an expanded tensor claims a shape that no memory could hold
    if x.numel() == 0 or x.numel() * x.element_size() > x.untyped_storage().nbytes():
        raise CheckpointError(f"{name}: {key} is {list(x.shape)}, which its file does not hold")
    low, high = (float(bound) for bound in torch.aminmax(x.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointError(f"{name}: {key} is not finite: the file is damaged")
    return x.detach()


def matrix(data: Mapping[str, Any], key: str, name: str) -> Tensor:
    """A tensor with two axes.  Raises CheckpointError."""
    x = tensor_of(data, key, name)
    if x.ndim != 2:
        raise CheckpointError(f"{name}: {key} is {list(x.shape)}: a matrix was expected")
    return x


def number(data: Mapping[str, Any], key: str, name: str) -> float:
    """A finite number, also one held in a tensor.  Raises CheckpointError."""
    x = data[key]
    if isinstance(x, Tensor) and x.numel() == 1:
        x = x.item()
    if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
        raise CheckpointError(f"{name} has {key} {x!r}: a number was expected")
    return x


def whole(data: Mapping[str, Any], key: str, name: str) -> int:
    """A positive whole number.  Raises CheckpointError."""
    x = number(data, key, name)
    if x != int(x) or x < 1:
        raise CheckpointError(f"{name} has {key} {x!r}: a positive whole number was expected")
    return int(x)


def built(name: str, **parts: Any) -> Autoencoder:
    """The dictionary of these parts.  Raises CheckpointError where they do not fit each other."""
    try:
        return Autoencoder(**parts)
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}") from None


_HOOKS = (
    (
        re.compile(
            r"(?:blocks|transformer\.h)\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|mlp_out|attn_out)"
        ),
        None,
    ),
    (re.compile(r"(?:blocks)\.(\d+)\.mlp\.hook_post"), Site.MLP_POST),
    (re.compile(r"(?:blocks)\.(\d+)\.attn\.hook_z"), Site.Z),
    (re.compile(r"(?:blocks)\.(\d+)\.ln2\.hook_normalized"), Site.LN2_NORMALIZED),
    (re.compile(r"(?:blocks)\.(\d+)\.ln1\.hook_normalized"), Site.LN1_NORMALIZED),
    (re.compile(r"(?:transformer\.)?h\.(\d+)\.mlp"), Site.MLP_OUT),
    (re.compile(r"(?:transformer\.)?h\.(\d+)\.attn"), Site.ATTN_OUT),
    (re.compile(r"(?:transformer\.)?h\.(\d+)"), Site.RESID_POST),
)
"Where other libraries hook: TransformerLens's names, and those of the modules in `transformers`."


def place_of(text: str, known: Collection[Site] = READ) -> Where:
    """`mlp_out.3`, `blocks.3.hook_mlp_out`, `transformer.h.3.mlp` -> (site, layer).  Raises CheckpointError."""
    sites = {site.text: site for site in known}
    name, _, layer = text.strip().rpartition(".")
    if name in sites and layer.isdecimal():
        return sites[name], int(layer)
    for pattern, site in _HOOKS:
        if match := pattern.fullmatch(text.strip()):
            found = site or Site[match[2].upper()]
            if found in known:
                return found, int(match[1])
    raise CheckpointError(
        f"{text!r} is no hook point read here: {', '.join(sites)}, each with a layer, as in mlp_out.3"
    )


HANDED_ON = {
    Site.LN1_NORMALIZED: (Site.Z, Site.ATTN_OUT),
    Site.LN2_NORMALIZED: (Site.MLP_POST, Site.MLP_OUT),
    Site.MLP_POST: (Site.MLP_OUT,),
}
"From where to where a transcoder may go: within the work of one sub-layer."


def fits(autoencoder: Autoencoder, config: Config, name: str) -> None:
    """Raises CheckpointError where a model has no such place, or one of another width."""
    if autoencoder.transcodes and (
        autoencoder.writes[0] not in HANDED_ON.get(autoencoder.reads[0], ())
        or autoencoder.reads[1] != autoencoder.writes[1]
    ):
        raise CheckpointError(
            f"{name} reads {place_text(autoencoder.reads)} and puts out {place_text(autoencoder.writes)}:"
            " a transcoder of one sub-layer was expected, ln2_normalized.3 to mlp_out.3 say"
        )
    for where, found, word in (
        (autoencoder.reads, autoencoder.d_in, "reads"),
        (autoencoder.writes, autoencoder.d_out, "writes"),
    ):
        site, layer = where
        if not 0 <= layer < config.n_layer:
            raise CheckpointError(
                f"{name} {word} {place_text(where)}: this model has layers 0–{config.n_layer - 1}"
            )
        if found != width(site, config):
            raise CheckpointError(
                f"{name} {word} {found} numbers: {place_text(where)} has {width(site, config)} in this model"
            )


def place_text(where: Where) -> str:
    """`mlp_out.3`"""
    return f"{where[0]}.{where[1]}"
