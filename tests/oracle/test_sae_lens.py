"""Dictionaries of random weights, as `sae_lens` and `dictionary_learning` write and compute them."""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from sae.formats import load

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

REQUIRED = "TDB_SAE_LENS" in os.environ
"Seen as the tests are collected: while they run, the program's own variables are not there."
D, N = 24, 96
HOOK = "blocks.1.hook_mlp_out"


def peer(name: str) -> Any:
    """The library that is compared with; where TDB_SAE_LENS is set its absence is no reason to skip."""
    if REQUIRED:
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed")


def randomised(module: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        size = 1 / D**0.5 if parameter.ndim > 1 else 0.3
        parameter.data = size * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def x(of: torch.nn.Module) -> torch.Tensor:
    dtype = next(of.parameters()).dtype
    return 2 * torch.randn(7, D, generator=torch.Generator().manual_seed(3), dtype=dtype) + 0.5


@pytest.mark.parametrize(
    "normalization", ["none", "layer_norm", "constant_norm_rescale", "expected_average_only_in"]
)
@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize("kind", ["standard", "topk", "topk rescaled", "jumprelu", "gated"])
def test_latents_and_outputs_are_those_of_sae_lens(
    kind: str, pre_bias: bool, normalization: Any, tmp_path: Path
) -> None:
    lens = peer("sae_lens")
    saes = importlib.import_module("sae_lens.saes.sae")
    name, more = kind.partition(" ")[0], {}
    if name == "topk":
        more = {"k": 9, "rescale_acts_by_decoder_norm": kind.endswith("rescaled")}
    cfg_class = {
        "standard": lens.StandardSAEConfig,
        "topk": lens.TopKSAEConfig,
        "jumprelu": lens.JumpReLUSAEConfig,
        "gated": lens.GatedSAEConfig,
    }[name]
    sae_class = {
        "standard": lens.StandardSAE,
        "topk": lens.TopKSAE,
        "jumprelu": lens.JumpReLUSAE,
        "gated": lens.GatedSAE,
    }[name]
    theirs = sae_class(
        cfg_class(
            d_in=D,
            d_sae=N,
            apply_b_dec_to_input=pre_bias,
            normalize_activations=normalization,
            metadata=saes.SAEMetadata(hook_name=HOOK),
            **more,
        )
    )
    randomised(theirs)
    theirs.save_model(tmp_path)
    ours = load(tmp_path)
    with torch.no_grad():
        latents = theirs.encode(x(theirs))
        put_out = theirs.decode(latents)
    assert 0.02 < (latents > 0).float().mean() < 0.9
    out, found = ours.forward(x(theirs))
    torch.testing.assert_close(found, latents, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out, put_out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder"]
)
def test_transcoders_put_out_what_those_of_sae_lens_do(kind: str, tmp_path: Path) -> None:
    peer("sae_lens")
    module = importlib.import_module("sae_lens.saes.transcoder")
    saes = importlib.import_module("sae_lens.saes.sae")
    metadata = saes.SAEMetadata(hook_name="blocks.1.ln2.hook_normalized", hook_name_out=HOOK)
    config = getattr(module, f"{kind}Config")(
        d_in=D, d_sae=N, d_out=D, apply_b_dec_to_input=False, metadata=metadata
    )
    theirs = getattr(module, kind)(config)
    randomised(theirs)
    theirs.save_model(tmp_path)
    with torch.no_grad():
        wanted = theirs(x(theirs))
    torch.testing.assert_close(load(tmp_path).forward(x(theirs))[0], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("dictionary", "AutoEncoder"),
        ("dictionary", "AutoEncoderNew"),
        ("dictionary", "GatedAutoEncoder"),
        ("dictionary", "JumpReluAutoEncoder"),
        ("trainers.top_k", "AutoEncoderTopK"),
        ("trainers.batch_top_k", "BatchTopKSAE"),
    ],
)
def test_latents_and_outputs_are_those_of_dictionary_learning(module: str, kind: str, tmp_path: Path) -> None:
    peer("dictionary_learning")
    found = getattr(importlib.import_module(f"dictionary_learning.{module}"), kind)
    theirs = found(D, N, 9) if "TopK" in kind else found(D, N)
    randomised(theirs)
    if kind == "BatchTopKSAE":
        theirs.threshold.fill_(0.4)
    torch.save(theirs.state_dict(), tmp_path / "ae.pt")
    config = {"trainer": {"dict_class": kind, "layer": 1, "submodule_name": "mlp_layer1"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.no_grad():
        latents = theirs.encode(x(theirs))
        put_out = theirs.decode(latents)
    ours = load(tmp_path)
    out, got = ours.forward(x(theirs))
    torch.testing.assert_close(got, latents, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out, put_out, rtol=1e-5, atol=1e-5)
