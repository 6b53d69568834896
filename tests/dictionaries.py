"""Random dictionaries on which a wrong convention shows: no bias is zero, decoder norms differ, few latents are active."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from model.edits.sources import Where
from model.gpt2 import Config
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.files import save_autoencoder
from sae.nonlinearities import BatchTopK, JumpRelu, Nonlinearity, Relu, TopK
from sae.normalization import Normalization
from sae.places import width
from tests.tiny import TINY

N_LATENT = 64

NONLINEARITIES: Mapping[str, Nonlinearity] = {
    "relu": Relu(),
    "topk": TopK(5),
    "batchtopk": BatchTopK(5, 0.8),
    "jumprelu": JumpRelu(torch.linspace(-0.5, 1.5, N_LATENT, dtype=torch.float64)),
}


def random_dictionary(
    where: Where,
    config: Config = TINY,
    *,
    writes: Where | None = None,
    n_latent: int = N_LATENT,
    nonlinearity: Nonlinearity | None = None,
    normalization: Normalization = Normalization.NONE,
    pre_bias: bool = True,
    skip: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Autoencoder:
    generator = torch.Generator().manual_seed(1000 * seed + 10 * where[1] + len(where[0].text))

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    out = writes or where
    d_in, d_out = width(where[0], config), width(out[0], config)
    dictionary = Autoencoder(
        w_enc=noise(d_in, n_latent) / d_in**0.5,
        b_enc=0.3 * noise(n_latent) - 0.7,
        w_dec=noise(n_latent, d_out)
        * (0.5 + torch.rand(n_latent, 1, generator=generator, dtype=torch.float64)),
        b_dec=0.2 * noise(d_out),
        reads=where,
        writes=out,
        nonlinearity=nonlinearity or Relu(),
        normalization=normalization,
        pre_bias=pre_bias and writes is None,
        w_skip=0.1 * noise(d_in, d_out) if skip else None,
    )
    return dictionary.to(dtype=dtype)


def write_dictionaries(folder: Path, dictionaries: Iterable[Autoencoder]) -> Path:
    """The folder, with a file of each, named by the place that it takes apart."""
    for each in dictionaries:
        site, layer = each.writes
        save_autoencoder(each, folder / f"{site}.{layer}.safetensors")
    return folder


MLP1, ATTN1 = (Site.MLP_OUT, 1), (Site.ATTN_OUT, 1)
