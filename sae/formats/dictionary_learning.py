"""Directories of the library `dictionary_learning`: `ae.pt` and `config.json`, which names the class.

AutoEncoder, AutoEncoderNew      encoder.weight [latent, d_in], encoder.bias, decoder.weight [d_in, latent], a bias
AutoEncoderTopK, BatchTopKSAE    ... b_dec, k, threshold
GatedAutoEncoder                 encoder.weight, r_mag, gate_bias, mag_bias, decoder.weight, decoder_bias
JumpReluAutoEncoder              W_enc [d_in, latent], b_enc, W_dec [latent, d_in], b_dec, threshold
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.files import CheckpointError, map_bin, read_json
from model.sites import Site, Where
from sae.autoencoder import Autoencoder
from sae.nonlinearities import BatchTopK, JumpRelu, Relu, TopK
from sae.places import PLACES
from sae.reading import built, exact, matrix, number, place_of, tensor_of, whole

SUBMODULES = {"attn": Site.ATTN_OUT, "mlp": Site.MLP_OUT, "resid": Site.RESID_POST}
"What their training scripts call where they hooked: `attn_layer3`."

Parts = dict[str, Any]


def load_dictionary_learning(path: Path, where: Where | None) -> Autoencoder:
    """A directory of theirs, at the submodule that it names or `where`.  Raises CheckpointError."""
    config, name = read_json(path / "config.json"), path.name
    trainer = config.get("trainer")
    settings = trainer if isinstance(trainer, Mapping) else config
    kind = settings.get("dict_class")
    if not isinstance(kind, str) or kind not in READERS:
        raise CheckpointError(f"{name}/config.json has dict_class {kind!r}: {', '.join(READERS)} are read")
    place = where or _place(settings, name)
    return built(name, reads=place, writes=place, **READERS[kind](map_bin(path / "ae.pt"), f"{name}/ae.pt"))


def _linear(data: Mapping[str, Any], bias: str, encoder_bias: str, name: str) -> Parts:
    return {
        "w_enc": matrix(data, "encoder.weight", name).T,
        "b_enc": tensor_of(data, encoder_bias, name),
        "w_dec": matrix(data, "decoder.weight", name).T,
        "b_dec": tensor_of(data, bias, name),
    }


def _standard(data: Mapping[str, Any], name: str) -> Parts:
    exact(data, ("encoder.weight", "encoder.bias", "decoder.weight", "bias"), (), name)
    return _linear(data, "bias", "encoder.bias", name) | {"nonlinearity": Relu()}


def _new(data: Mapping[str, Any], name: str) -> Parts:
    exact(data, ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"), (), name)
    return _linear(data, "decoder.bias", "encoder.bias", name) | {"pre_bias": False}


def _topk(data: Mapping[str, Any], name: str) -> Parts:
    exact(data, (*_TOPK, "k"), ("threshold",), name)
    return _linear(data, "b_dec", "encoder.bias", name) | {"nonlinearity": TopK(whole(data, "k", name))}


def _batch_topk(data: Mapping[str, Any], name: str) -> Parts:
    exact(data, (*_TOPK, "k", "threshold"), (), name)
    used = BatchTopK(whole(data, "k", name), number(data, "threshold", name))
    return _linear(data, "b_dec", "encoder.bias", name) | {"nonlinearity": used}


_TOPK = ("encoder.weight", "encoder.bias", "decoder.weight", "b_dec")


def _gated(data: Mapping[str, Any], name: str) -> Parts:
    """A gate is the threshold that its magnitude passes."""
    exact(
        data,
        ("encoder.weight", "r_mag", "gate_bias", "mag_bias", "decoder.weight", "decoder_bias"),
        (),
        name,
    )
    parts = _linear(data, "decoder_bias", "mag_bias", name)
    scale = tensor_of(data, "r_mag", name).exp()
    threshold = parts["b_enc"] - scale * tensor_of(data, "gate_bias", name)
    return parts | {"w_enc": parts["w_enc"] * scale, "nonlinearity": JumpRelu(threshold)}


def _jumprelu(data: Mapping[str, Any], name: str) -> Parts:
    exact(data, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), (), name)
    return {
        "w_enc": matrix(data, "W_enc", name),
        "b_enc": tensor_of(data, "b_enc", name),
        "w_dec": matrix(data, "W_dec", name),
        "b_dec": tensor_of(data, "b_dec", name),
        "nonlinearity": JumpRelu(tensor_of(data, "threshold", name)),
        "pre_bias": False,
    }


READERS: dict[str, Callable[[Mapping[str, Any], str], Parts]] = {
    "AutoEncoder": _standard,
    "AutoEncoderNew": _new,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
}


def _place(settings: Mapping[str, Any], name: str) -> Where:
    submodule, layer = settings.get("submodule_name"), settings.get("layer")
    if isinstance(submodule, str):
        kind = submodule.partition("_")[0]
        if kind in SUBMODULES and isinstance(layer, int):
            return SUBMODULES[kind], layer
        try:
            return place_of(submodule, PLACES)
        except CheckpointError:
            pass
    raise CheckpointError(f"{name} does not say what it takes apart: give it, as in mlp_out.3={name}")
