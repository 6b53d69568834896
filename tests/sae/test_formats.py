"""Foreign files: what each library's equations give is what is read, and what is wrong with a file is a sentence."""

import json
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.files import CheckpointError
from model.sites import Site
from sae.files import save_autoencoder
from sae.formats import load, parts_of
from tests.dictionaries import MLP1, random_dictionary

D, N = 12, 40
GENERATOR = torch.Generator().manual_seed(11)
X = 2 * torch.randn(5, D, generator=GENERATOR) + 0.7


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def openai(**more: Any) -> dict[str, Any]:
    return {
        "pre_bias": noise(D),
        "encoder.weight": noise(N, D),
        "latent_bias": noise(N) - 1,
        "decoder.weight": noise(D, N),
        **more,
    }


TOPK = {"activation": "TopK", "activation_state_dict": {"k": 6, "postact_fn": "ReLU"}}


def published(data: Mapping[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """One vector through the equations of `sparse_autoencoder/model.py`, written a second time: latents, output."""
    mean, spread = x.mean(), torch.ones(())
    if data.get("activation") == "TopK":
        spread = (((x - mean) ** 2).sum() / (D - 1)) ** 0.5
        x = (x - mean) / (spread + 1e-5)
    else:
        mean = torch.zeros(())
    pre = torch.stack([(x - data["pre_bias"]) @ row for row in data["encoder.weight"]]) + data["latent_bias"]
    latents = pre.clamp(min=0)
    if data.get("activation") == "TopK":
        kept = pre.argsort(descending=True)[: data["activation_state_dict"]["k"]]
        latents = torch.zeros(N).index_put((kept,), latents[kept])
    rows = data["decoder.weight"].T if "decoder.weight" in data else data["encoder.weight"]
    out = sum((latents[at] * rows[at] for at in range(N)), data["pre_bias"])
    return latents, out * spread + mean


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("how", [{}, {"activation": "ReLU"}, TOPK], ids=["v1", "v4", "v5"])
def test_openais_files_give_what_the_published_equations_give(
    how: dict[str, Any], tied: bool, tmp_path: Path
) -> None:
    data = openai(**how)
    if tied:
        del data["decoder.weight"]
    path = tmp_path / "resid_delta_mlp_v4" / "autoencoders" / "3.pt"
    path.parent.mkdir(parents=True)
    torch.save(data, path)
    found = load(path)
    assert found.writes == (Site.MLP_OUT, 3)
    out, latents = found.forward(X)
    for row in range(len(X)):
        wanted, put_out = published(data, X[row])
        torch.testing.assert_close(latents[row], wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out[row], put_out, rtol=1e-5, atol=1e-5)


def saelens(directory: Path, config: dict[str, Any], **tensors: Tensor) -> Path:
    directory.mkdir()
    whole = {"hook_name": "blocks.2.hook_resid_pre", "d_in": D, "d_sae": N, **config}
    (directory / "cfg.json").write_text(json.dumps(whole))
    given = {"W_enc": noise(D, N), "W_dec": noise(N, D), "b_enc": noise(N) - 1, "b_dec": noise(D), **tensors}
    if config.get("architecture") == "gated":
        del given["b_enc"]
    save_file(given, directory / "sae_weights.safetensors")
    return directory


def test_a_gate_is_a_threshold(tmp_path: Path) -> None:
    """Gated autoencoders as `sae_lens` writes them, by its own equation: a gate and a magnitude."""
    more = {"r_mag": 0.3 * noise(N), "b_gate": noise(N) - 0.5, "b_mag": noise(N)}
    found = load(saelens(tmp_path / "g", {"architecture": "gated", "apply_b_dec_to_input": True}, **more))
    from safetensors.torch import load_file

    given = load_file(tmp_path / "g" / "sae_weights.safetensors")
    x = X - given["b_dec"]
    gate = (x @ given["W_enc"] + given["b_gate"] > 0).float()
    magnitude = (x @ (given["W_enc"] * given["r_mag"].exp()) + given["b_mag"]).relu()
    assert 0.1 < gate.mean() < 0.9
    torch.testing.assert_close(found.encode(X), gate * magnitude, rtol=1e-5, atol=1e-5)


def test_centred_weights_mean_a_centred_input(tmp_path: Path) -> None:
    plain = load(saelens(tmp_path / "p", {}))
    told = json.loads((tmp_path / "p" / "cfg.json").read_text())
    told["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (tmp_path / "p" / "cfg.json").write_text(json.dumps(told))
    centred, mean = load(tmp_path / "p"), X.mean(-1, keepdim=True)
    torch.testing.assert_close(centred.encode(X), plain.encode(X - mean))
    torch.testing.assert_close(centred.forward(X)[0], plain.forward(X - mean)[0] + mean)


def test_a_directory_of_several_is_all_of_them(tmp_path: Path) -> None:
    for layer in (2, 0, 1):
        save_autoencoder(random_dictionary((Site.MLP_OUT, layer)), tmp_path / f"mlp_out.{layer}.safetensors")
    saelens(tmp_path / "another", {})
    assert [path.name for path in parts_of(tmp_path)] == [
        "another", "mlp_out.0.safetensors", "mlp_out.1.safetensors", "mlp_out.2.safetensors"
    ]  # fmt: skip
    (tmp_path / "checkpoint.safetensors").write_bytes(b"of a training that goes on here")
    assert len(parts_of(tmp_path)) == 4
    with pytest.raises(CheckpointError, match="does not exist"):
        parts_of(tmp_path / "nowhere")


class Harmful:
    """What a pickle that runs code when it is read looks like."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def test_a_file_with_code_in_it_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "was-run", tmp_path / "a.pt"
    torch.save(openai(extra=Harmful(mark)), path)
    with pytest.raises(CheckpointError, match=r"holds more than tensors: nothing in it was run"):
        load(path, MLP1)
    for protocol in (2, 4):  # of which torch warns
        path.write_bytes(pickle.dumps(Harmful(mark), protocol=protocol))
        with pytest.raises(CheckpointError):
            load(path, MLP1)
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_refused_wherever_the_damage_is(zipped: bool, tmp_path: Path) -> None:
    path, draw = tmp_path / "a.pt", random.Random(0)
    torch.save(openai(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        at = draw.randrange(1500)
        path.write_bytes(whole[:at] + draw.randbytes(3) + whole[at + draw.randrange(6) :])
        try:
            load(path, MLP1)
        except CheckpointError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"latent_bias": torch.full((N,), torch.nan)}, "latent_bias is not finite"),
        ({"pre_bias": torch.zeros(()).expand(1 << 40)}, "which its file does not hold"),
        ({"latent_bias": torch.zeros(3)}, r"b_enc is \[3\]: \[40\] was expected"),
        ({"encoder.weight": torch.zeros(N, D, dtype=torch.int32)}, "a dense floating-point tensor"),
        ({"surprise": torch.zeros(1)}, "has a key surprise, unknown to this format"),
        ({"activation": "Softplus"}, "has activation 'Softplus': ReLU and TopK are read"),
        ({"activation": "TopK", "activation_state_dict": {}}, "has no k"),
        ({"activation": "TopK", "activation_state_dict": {"k": 41}}, "k is 41: from 1 to the 40 latents"),
        ({"activation": "TopK", "activation_state_dict": {"k": -1}}, "a positive whole number"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    torch.save(openai(**change), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=complaint) as error:
        load(tmp_path / "a.pt", MLP1)
    assert "\n" not in str(error.value)


def test_a_missing_key_and_an_unnamed_place_are_named(tmp_path: Path) -> None:
    data = openai()
    torch.save(data, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"a\.pt does not say what it takes apart: give it, as in mlp_out"
    ):
        load(tmp_path / "a.pt")
    del data["latent_bias"]
    torch.save(data, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt has no latent_bias"):
        load(tmp_path / "a.pt", MLP1)


@pytest.mark.parametrize("keep", [0, 3, 40, 4000])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_truncated_files_are_refused(name: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save(openai(), path)
    else:
        save_autoencoder(random_dictionary(MLP1), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        load(path, MLP1)


@pytest.mark.parametrize(
    ("config", "tensors", "complaint"),
    [
        ({"architecture": "temporal"}, {}, "has architecture 'temporal': standard"),
        ({"architecture": {}}, {}, "has architecture {}: standard"),
        ({"normalize_activations": []}, {}, r"has normalize_activations \[\]: none"),
        ({"hook_name": "blocks.2.attn.hook_q"}, {}, "is no hook point read here"),
        ({"hook_name": None}, {}, "has no hook_name"),
        (
            {"normalize_activations": "covariance_whitening"},
            {},
            "has normalize_activations 'covariance_whitening'",
        ),
        ({"d_in": 13}, {}, "has d_in 13: W_enc says 12"),
        ({"architecture": "topk"}, {}, "is of TopK and has no k"),
        ({"architecture": "jumprelu"}, {}, "has no threshold"),
        ({}, {"threshold": torch.zeros(N)}, "has a key threshold, unknown"),
        ({"activation_fn_str": "tanh-relu"}, {}, "has activation 'tanh-relu'"),
        ({"finetuning_scaling_factor": True}, {}, "has a finetuning_scaling_factor"),
    ],
)
def test_what_is_wrong_with_a_saelens_directory_is_one_sentence(
    config: dict[str, Any], tensors: dict[str, Tensor], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        load(saelens(tmp_path / "s", config, **tensors))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    save_file(
        {"w": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"schema": "tdb-sae/9", "sae": "{}"}
    )
    with pytest.raises(CheckpointError, match=r"a\.safetensors is tdb-sae/9: this version reads tdb-sae/1"):
        load(tmp_path / "a.safetensors")
