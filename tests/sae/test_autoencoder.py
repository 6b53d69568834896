"""The equations against themselves written plainly, their derivatives against differences, and our own files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.files import CheckpointError
from model.sites import Site
from sae.autoencoder import Autoencoder
from sae.files import load_autoencoder, save_autoencoder
from sae.nonlinearities import BatchTopK, JumpRelu, TopK
from sae.normalization import Normalization
from sae.reading import fits, place_of, place_text
from tests.dictionaries import MLP1, NONLINEARITIES, random_dictionary
from tests.tiny import TINY

GENERATOR = torch.Generator().manual_seed(5)
X = 2 * torch.randn(3, 4, TINY.d_model, generator=GENERATOR, dtype=torch.float64) + 0.5


def plainly(given: Autoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """One vector [d_in] -> (latents, output), written a second time."""
    mean, by, back = torch.zeros(()), 1.0, 1.0
    match given.normalization:
        case Normalization.CENTRE:
            mean = x.mean()
        case Normalization.LAYER_NORM:
            mean = x.mean()
            back = float((((x - mean) ** 2).sum() / (len(x) - 1)) ** 0.5)
            by = back + 1e-5
        case Normalization.UNIT_NORM:
            back = by = float(((x**2).sum() / len(x)) ** 0.5)
    read = (x - mean) / by - (given.b_dec if given.pre_bias else 0)
    pre = torch.stack([read @ given.w_enc[:, at] + given.b_enc[at] for at in range(given.n_latent)])
    latents = pre.clamp(min=0)
    match given.nonlinearity:
        case TopK(k):
            smallest = pre.sort(descending=True).values[k - 1]
            latents = latents * (pre >= smallest)
        case BatchTopK(_, threshold) | JumpRelu(threshold):
            latents = latents * (pre > threshold)
    out = given.b_dec + sum(latents[at] * given.w_dec[at] for at in range(given.n_latent))
    if not given.transcodes:
        out = out * back + mean
    return latents, out if given.w_skip is None else out + x @ given.w_skip


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("name", NONLINEARITIES)
@pytest.mark.parametrize("pre_bias", [True, False])
def test_encoding_and_decoding_are_the_published_equations(
    name: str, normalization: Normalization, pre_bias: bool
) -> None:
    given = random_dictionary(
        MLP1, nonlinearity=NONLINEARITIES[name], normalization=normalization, pre_bias=pre_bias
    )
    out, latents = given.forward(X)
    assert 0 < (latents > 0).double().mean() < 0.6
    for at in [(0, 0), (1, 3), (2, 2)]:
        expected_latents, expected = plainly(given, X[at])
        torch.testing.assert_close(latents[at], expected_latents, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(out[at], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("normalization", [Normalization.NONE, Normalization.LAYER_NORM])
def test_a_transcoder_puts_out_at_another_place_and_undoes_no_normalization(
    skip: bool, normalization: Normalization
) -> None:
    given = random_dictionary(
        (Site.RESID_MID, 1), writes=(Site.MLP_POST, 1), skip=skip, normalization=normalization
    )
    out, latents = given.forward(X)
    assert out.shape == (3, 4, TINY.d_mlp)
    expected_latents, expected = plainly(given, X[1, 2])
    torch.testing.assert_close(latents[1, 2], expected_latents, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out[1, 2], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_gradients_are_those_of_finite_differences(name: str, normalization: Normalization) -> None:
    given = random_dictionary(MLP1, nonlinearity=NONLINEARITIES[name], normalization=normalization)
    x = X[0, 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: given.forward(x[None]), (x,), eps=1e-7, atol=1e-5)


def test_some_latents_can_be_asked_for_alone() -> None:
    given = random_dictionary(MLP1, normalization=Normalization.LAYER_NORM)
    chosen = torch.tensor([3, 60, 7])
    torch.testing.assert_close(given.pre_activations(X, chosen), given.pre_activations(X)[..., chosen])
    torch.testing.assert_close(given.pre_activations(X, slice(5, 9)), given.pre_activations(X)[..., 5:9])


@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_a_saved_dictionary_is_read_back_to_the_bit(
    name: str, normalization: Normalization, tmp_path: Path
) -> None:
    given = random_dictionary(MLP1, nonlinearity=NONLINEARITIES[name], normalization=normalization)
    save_autoencoder(given, tmp_path / "new" / "a.safetensors", {"steps": 3})
    read, notes = load_autoencoder(tmp_path / "new" / "a.safetensors")
    assert notes == {"steps": 3}
    assert (read.reads, read.writes, read.pre_bias) == (given.reads, given.writes, given.pre_bias)
    for there, here in zip(given.forward(X), read.forward(X), strict=True):
        assert torch.equal(there, here)


def test_the_same_dictionary_is_the_same_file(tmp_path: Path) -> None:
    """The library writes the metadata in an order that differs from one time to the next: in eight files, say."""
    dictionary = random_dictionary(MLP1, dtype=torch.float32)
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for file in files:
        save_autoencoder(dictionary, file, {"text": "naïve ☃"})
    assert len({file.read_bytes() for file in files}) == 1
    assert load_autoencoder(files[0])[1] == {"text": "naïve ☃"}


def test_a_saved_transcoder_keeps_both_places_and_its_skip(tmp_path: Path) -> None:
    given = random_dictionary((Site.LN2_NORMALIZED, 2), writes=(Site.MLP_OUT, 2), skip=True)
    save_autoencoder(given, tmp_path / "t.safetensors")
    read, _ = load_autoencoder(tmp_path / "t.safetensors")
    assert (read.reads, read.writes) == ((Site.LN2_NORMALIZED, 2), (Site.MLP_OUT, 2))
    assert torch.equal(read.forward(X)[0], given.forward(X)[0])


def test_a_place_is_spelled_as_here_and_as_other_libraries_do() -> None:
    spellings = {
        "mlp_out.3": (Site.MLP_OUT, 3),
        "blocks.3.hook_mlp_out": (Site.MLP_OUT, 3),
        "blocks.11.mlp.hook_post": (Site.MLP_POST, 11),
        "blocks.0.attn.hook_z": (Site.Z, 0),
        "blocks.5.hook_resid_pre": (Site.RESID_PRE, 5),
        "transformer.h.2": (Site.RESID_POST, 2),
        "ln2_normalized.1": (Site.LN2_NORMALIZED, 1),
    }
    assert {text: place_of(text) for text in spellings} == spellings
    assert all(place_of(place_text(where)) == where for where in spellings.values())
    with pytest.raises(CheckpointError, match=r"'blocks\.3\.hook_q' is no hook point read here"):
        place_of("blocks.3.hook_q")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"b_enc": torch.zeros(3)}, r"b_enc is \[3\]: \[64\] was expected"),
        ({"w_dec": torch.zeros(64, 7)}, r"b_dec is \[48\]"),
        ({"nonlinearity": TopK(65)}, "k is 65: from 1 to the 64 latents"),
        ({"writes": (Site.MLP_OUT, 2)}, "a transcoder has no bias to subtract"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(random_dictionary(MLP1), **change)  # pyright: ignore[reportArgumentType]


def test_a_dictionary_of_another_model_is_refused() -> None:
    wide = random_dictionary(MLP1)
    fits(wide, TINY, "a.pt")
    for where, complaint in (
        ((Site.MLP_OUT, 7), "a.pt reads mlp_out.7: this model has layers 0–2"),
        ((Site.MLP_POST, 1), "a.pt reads 48 numbers: mlp_post.1 has 192 in this model"),
    ):
        with pytest.raises(CheckpointError, match=complaint):
            fits(replace(wide, reads=where, writes=where), TINY, "a.pt")
