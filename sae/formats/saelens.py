"""SAELens directories: `cfg.json` and `sae_weights.safetensors`.

    W_enc [d_in, latent]   W_dec [latent, d_out]   b_enc [latent] or b_gate, b_mag, r_mag   b_dec [d_out]   threshold

Standard, TopK, JumpReLU and gated, transcoders of the first and third kind, with a skip or without.  Configurations of
older versions keep what is now under `metadata` at the top, and say `activation_fn_str`.  A model whose writing weights
were centred (`center_writing_weights`) had its residual stream and what is added to it centred: so is the input here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.files import CheckpointError, map_safetensors, read_json
from model.sites import Site, Where
from sae.autoencoder import Autoencoder
from sae.nonlinearities import JumpRelu, Nonlinearity, Relu, TopK
from sae.normalization import Normalization
from sae.places import PLACES
from sae.reading import built, exact, matrix, place_of, tensor_of, whole

WEIGHTS, SPARSITY = "sae_weights.safetensors", "sparsity.safetensors"
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", *TRANSCODERS)
NORMALIZATIONS = {
    "none": Normalization.NONE,
    # the estimated scale is folded into the weights before they are used
    "expected_average_only_in": Normalization.NONE,
    "layer_norm": Normalization.LAYER_NORM,
    "constant_norm_rescale": Normalization.UNIT_NORM,
}
CENTRED = (Site.RESID_PRE, Site.RESID_MID, Site.RESID_POST, Site.ATTN_OUT, Site.MLP_OUT)


def load_saelens(path: Path, where: Where | None) -> Autoencoder:
    """A directory of theirs, at the hook point that it names or `where`.  Raises CheckpointError."""
    config, name = read_json(path / "cfg.json"), path.name
    tensors, _ = map_safetensors(path / WEIGHTS)
    kind = _architecture(config, name)
    biases = ("r_mag", "b_gate", "b_mag") if kind == "gated" else ("b_enc",)
    more = (("threshold",) if "jumprelu" in kind else ()) + (("W_skip",) if "skip" in kind else ())
    exact(tensors, ("W_enc", "W_dec", "b_dec", *biases, *more), (), f"{name}/{WEIGHTS}")
    found = {key: tensor_of(tensors, key, name) for key in tensors}
    parts = _encoder(found, kind, matrix(tensors, "W_enc", name))
    if config.get("finetuning_scaling_factor"):
        raise CheckpointError(f"{name} has a finetuning_scaling_factor: fold it into the weights first")
    reads, writes = _places(config, kind, where, name)
    if _setting(config, "rescale_acts_by_decoder_norm"):
        norm = found["W_dec"].norm(dim=-1)
        parts |= {"w_enc": parts["w_enc"] * norm, "b_enc": parts["b_enc"] * norm}
        found["W_dec"] = found["W_dec"] / norm[:, None]
    _check_width(config, "d_in", parts["w_enc"].shape[0], name)
    _check_width(config, "d_sae", parts["w_enc"].shape[1], name)
    return built(
        name,
        w_enc=parts["w_enc"],
        b_enc=parts["b_enc"],
        w_dec=matrix(found, "W_dec", name),
        b_dec=found["b_dec"],
        reads=reads,
        writes=writes,
        nonlinearity=_nonlinearity(config, kind, parts, name),
        normalization=_normalization(config, reads, name),
        pre_bias=kind not in TRANSCODERS and bool(config.get("apply_b_dec_to_input", True)),
        w_skip=found["W_skip"].T if "W_skip" in found else None,
        density=_density(path / SPARSITY, name),
    )


def _density(path: Path, name: str) -> Tensor | None:
    """How often each latent was active at the end of training, which is kept as a power of ten beside the weights."""
    if not path.is_file():
        return None
    tensors, _ = map_safetensors(path)
    exact(tensors, ("sparsity",), (), f"{name}/{SPARSITY}")
    return (10.0 ** tensor_of(tensors, "sparsity", name).float()).clamp(max=1.0)


def _architecture(config: Mapping[str, Any], name: str) -> str:
    kind = config.get("architecture", "standard")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise CheckpointError(f"{name} has architecture {kind!r}: {', '.join(ARCHITECTURES)} are read")
    if kind == "standard" and config.get("activation_fn_str", config.get("activation_fn", "relu")) == "topk":
        return "topk"
    return kind


def _encoder(found: Mapping[str, Tensor], kind: str, w_enc: Tensor) -> dict[str, Tensor]:
    """The weights before the nonlinearity, and its thresholds; a gate is the threshold that its magnitude passes."""
    if kind != "gated":
        return {"w_enc": w_enc, "b_enc": found["b_enc"]} | (
            {"threshold": found["threshold"]} if "threshold" in found else {}
        )
    scale = found["r_mag"].exp()
    threshold = found["b_mag"] - scale * found["b_gate"]
    return {"w_enc": w_enc * scale, "b_enc": found["b_mag"], "threshold": threshold}


def _nonlinearity(
    config: Mapping[str, Any], kind: str, parts: Mapping[str, Tensor], name: str
) -> Nonlinearity:
    if "threshold" in parts:
        return JumpRelu(parts["threshold"])
    if kind != "topk":
        activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))
        if activation not in ("relu", None):
            raise CheckpointError(f"{name} has activation {activation!r}: relu and topk are read")
        return Relu()
    old = config.get("activation_fn_kwargs") or {}
    settings = config if "k" in config else old
    if not isinstance(settings, Mapping) or "k" not in settings:
        raise CheckpointError(f"{name}/cfg.json is of TopK and has no k")
    return TopK(whole(settings, "k", name))


def _normalization(config: Mapping[str, Any], reads: Where, name: str) -> Normalization:
    said = config.get("normalize_activations", "none")
    if said is None or isinstance(said, bool):
        said = "constant_norm_rescale" if said else "none"
    if not isinstance(said, str) or said not in NORMALIZATIONS:
        raise CheckpointError(
            f"{name} has normalize_activations {said!r}: {', '.join(NORMALIZATIONS)} are read"
        )
    loading = _setting(config, "model_from_pretrained_kwargs") or {}
    centred = isinstance(loading, Mapping) and loading.get("center_writing_weights")
    if centred and reads[0] in CENTRED and NORMALIZATIONS[said] is Normalization.NONE:
        return Normalization.CENTRE
    return NORMALIZATIONS[said]


def _places(config: Mapping[str, Any], kind: str, where: Where | None, name: str) -> tuple[Where, Where]:
    hook = _setting(config, "hook_name") or _setting(config, "hook_point")
    if kind in TRANSCODERS:
        out = _setting(config, "hook_name_out") or _setting(config, "hook_point_out")
        if not isinstance(hook, str) or not isinstance(out, str):
            raise CheckpointError(f"{name}/cfg.json has no hook_name and hook_name_out to say where it works")
        return place_of(hook), place_of(out, PLACES)
    if where is not None:
        return where, where
    if not isinstance(hook, str):
        raise CheckpointError(f"{name}/cfg.json has no hook_name: give the place, as in mlp_out.3={name}")
    return place_of(hook, PLACES), place_of(hook, PLACES)


def _setting(config: Mapping[str, Any], key: str) -> Any:
    """From `metadata`, where newer versions have it, or from the top."""
    metadata = config.get("metadata")
    inner = metadata.get(key) if isinstance(metadata, Mapping) else None
    return config.get(key) if inner is None else inner


def _check_width(config: Mapping[str, Any], key: str, found: int, name: str) -> None:
    if config.get(key, found) != found:
        raise CheckpointError(f"{name}/cfg.json has {key} {config[key]}: W_enc says {found}")
