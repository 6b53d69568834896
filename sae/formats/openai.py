"""OpenAI's files: those of the Transformer Debugger and of `sparse_autoencoder`, `.pt` with one table.

    pre_bias [d_in]   encoder.weight [latent, d_in]   latent_bias [latent]   decoder.weight [d_in, latent]

v1 and v4 are ReLU, of the input as it is.  v5 says `activation: TopK` and its input is normalised: minus the mean, over
the unbiased standard deviation plus 1e-5, undone in the output.  A tied decoder is the encoder's transpose, and has no
weights of its own or those of the encoder.  Gao et al. 2024 (2406.04093); Mossing et al. 2024, Transformer Debugger.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.files import CheckpointError, map_bin
from model.sites import Site, Where
from sae.autoencoder import Autoencoder
from sae.nonlinearities import Nonlinearity, Relu, TopK
from sae.normalization import Normalization
from sae.reading import built, exact, matrix, tensor_of, whole

REQUIRED = ("pre_bias", "encoder.weight", "latent_bias")
STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
OPTIONAL = ("decoder.weight", "activation", "activation_state_dict", *STATISTICS)
LOCATIONS = {
    "mlp_post_act": Site.MLP_POST,
    "resid_delta_mlp": Site.MLP_OUT,
    "resid_delta_attn": Site.ATTN_OUT,
    "resid_post_attn": Site.RESID_MID,
    "resid_post_mlp": Site.RESID_POST,
}
"What the folders of the release are called."


def load_openai(path: Path, where: Where | None) -> Autoencoder:
    """A file of theirs; its place is read off the folders, `resid_delta_mlp_v4/autoencoders/3.pt`, if none is given.

    Raises CheckpointError.
    """
    data, name = map_bin(path), path.name
    exact(data, REQUIRED, OPTIONAL, name)
    encoder = matrix(data, "encoder.weight", name)
    decoder = matrix(data, "decoder.weight", name) if "decoder.weight" in data else encoder.T
    nonlinearity = _nonlinearity(data, name)
    place = where or _place(path)
    frequency = data.get("latents_activation_frequency")
    return built(
        name,
        w_enc=encoder.T,
        b_enc=tensor_of(data, "latent_bias", name),
        w_dec=decoder.T,
        b_dec=tensor_of(data, "pre_bias", name),
        reads=place,
        writes=place,
        nonlinearity=nonlinearity,
        # their own code infers it from the activation, too
        normalization=Normalization.LAYER_NORM if isinstance(nonlinearity, TopK) else Normalization.NONE,
        density=_density(data, name) if isinstance(frequency, Tensor) and bool(frequency.any()) else None,
    )


def _nonlinearity(data: Mapping[str, Any], name: str) -> Nonlinearity:
    activation = data.get("activation", "ReLU")
    state = data.get("activation_state_dict") or {}
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{name}: activation_state_dict is no table")
    match activation:
        case "ReLU":
            return Relu()
        case "TopK":
            exact(state, ("k",), ("postact_fn",), name)
            if state.get("postact_fn", "ReLU") != "ReLU":
                raise CheckpointError(f"{name} has postact_fn {state['postact_fn']!r}: only ReLU is read")
            return TopK(whole(state, "k", name))
        case _:
            raise CheckpointError(f"{name} has activation {activation!r}: ReLU and TopK are read")


def _density(data: Mapping[str, Any], name: str) -> Tensor:
    return tensor_of(data, "latents_activation_frequency", name)


def _place(path: Path) -> Where:
    """The place that the folders of the release name.  Raises CheckpointError."""
    location = re.sub(r"_v\d.*$", "", path.parent.parent.name)
    if location in LOCATIONS and path.stem.isdecimal():
        return LOCATIONS[location], int(path.stem)
    raise CheckpointError(f"{path.name} does not say what it takes apart: give it, as in mlp_out.3={path}")
