"""The equations of dictionaries written twice: what the two say of random ones."""

import pytest
import torch

from model.reference.dictionaries import PlainDictionary
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.normalization import Normalization
from tdb_tui.tables.plain_saes import plain_dictionary
from tests.dictionaries import NONLINEARITIES, random_dictionary

AT, READ = (Site.MLP_OUT, 1), (Site.LN2_NORMALIZED, 1)
X = 3 * torch.randn(7, 48, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def both(**options: object) -> tuple[Autoencoder, PlainDictionary]:
    found = random_dictionary(options.pop("reads", AT), **options)  # pyright: ignore[reportArgumentType]
    return found, plain_dictionary(found)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize(
    "shape", ["tied to its input", "a bias off its input", "a transcoder", "one with a skip"]
)
def test_they_agree(nonlinearity: str, normalization: Normalization, shape: str) -> None:
    transcodes = shape in ("a transcoder", "one with a skip")
    one, other = both(
        nonlinearity=NONLINEARITIES[nonlinearity],
        normalization=normalization,
        pre_bias=shape == "a bias off its input",
        reads=READ if transcodes else AT,
        writes=AT if transcodes else None,
        skip=shape == "one with a skip",
    )
    x = X[:, : one.d_in]
    x = torch.cat([x, torch.zeros_like(x[:1])]) if normalization is Normalization.UNIT_NORM else x
    latents = one.encode(x)
    assert 0 < int((latents != 0).sum()) < latents.numel()
    torch.testing.assert_close(other.latents(x), latents, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.beside(x), one.beside(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.factor(x), one.factor(x), rtol=1e-12, atol=1e-12)
    put_out = other.sum_of(x, latents) + other.beside(x)
    torch.testing.assert_close(put_out, one.decode(latents, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(other.direction(x[0], 3), one.direction(x[0], 3), rtol=1e-12, atol=1e-12)
