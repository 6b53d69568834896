"""Interventions against nnsight on a `transformers` model: another library's edits of another implementation's pass."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.edits.noise import gaussian
from model.gpt2 import GPT2
from model.trace import logits_at, record
from tests.model.test_gpt2 import twin
from tests.tiny import END, OTHER, TINY, TOKENS, random_model, sources_of

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(importlib.util.find_spec("nnsight") is None, reason="needs nnsight"),
]
POS, HEAD = 2, 2


@pytest.fixture(scope="module")
def model() -> GPT2:
    return random_model()


@pytest.fixture(scope="module")
def theirs(model: GPT2) -> Any:
    return importlib.import_module("nnsight").NNsight(twin(model))


@pytest.fixture(scope="module")
def values(theirs: Any) -> Mapping[str, list[Tensor]]:
    """What nnsight reads in prompt B's run, by place and layer: [pos, ...]."""
    found: dict[str, list[Tensor]] = {"resid_pre": [], "z": [], "attn_out": [], "mlp_out": []}
    for layer in range(TINY.n_layer):
        with theirs.trace(torch.tensor([OTHER])):
            block = theirs.transformer.h[layer]
            resid = block.input.save()
            z = block.attn.c_proj.input.save()
            attn_out = block.attn.c_proj.output.save()
            mlp_out = block.mlp.output.save()
        for name, value in zip(found, (resid, z, attn_out, mlp_out), strict=True):
            found[name].append(value[0].clone())
    return found


def ours(model: GPT2, change: Change, sources: Sources) -> Tensor:
    """Logits at the end with a change made: [vocab]."""
    return logits_at(model, record(model, TOKENS, [change], sources), END)


@pytest.mark.parametrize("layer", range(TINY.n_layer))
@pytest.mark.parametrize("place", ["resid_pre", "z", "attn_out", "mlp_out", "noise", "zero"])
def test_an_intervention_gives_the_logits_that_nnsight_gets(
    model: GPT2, theirs: Any, values: Mapping[str, list[Tensor]], place: str, layer: int
) -> None:
    d_head, span = TINY.d_head, Span(POS, POS)
    part = slice(HEAD * d_head, (HEAD + 1) * d_head)
    mlp, head = Component(Kind.MLP, layer), Component(Kind.HEAD, layer, HEAD)
    drawn = torch.as_tensor(gaussian(7, str(mlp), POS, 1, TINY.d_model))[0]
    with theirs.trace(torch.tensor([TOKENS])):
        block = theirs.transformer.h[layer]
        if place == "resid_pre":
            block.input[:, POS] = values["resid_pre"][layer][POS]
        elif place == "z":
            block.attn.c_proj.input[:, POS, part] = values["z"][layer][POS, part]
        elif place == "attn_out":
            block.attn.c_proj.output[:, POS] = values["attn_out"][layer][POS]
        elif place == "mlp_out":
            block.mlp.output[:, POS] = values["mlp_out"][layer][POS]
        elif place == "noise":
            block.mlp.output[:, POS] = block.mlp.output[:, POS] + 1.5 * drawn
        else:
            block.attn.c_proj.input[:, :, part] = 0
        logits = theirs.lm_head.output[0, -1].save()
    change: Change = {
        "resid_pre": Patch(Component(Kind.RESID_PRE, layer), span, span),
        "z": Patch(head, span, span),
        "attn_out": Patch(Component(Kind.ATTN, layer), span, span),
        "mlp_out": Patch(mlp, span, span),
        "noise": Ablate(mlp, span, mode=Mode.NOISE, amount=1.5, seed=7),
        "zero": Ablate(head),
    }[place]
    torch.testing.assert_close(logits, ours(model, change, sources_of(model)), rtol=0, atol=1e-10)
    plain = logits_at(model, record(model, TOKENS), END)
    if layer < TINY.n_layer - 1:  # what the last one does at other tokens nobody reads
        assert not torch.allclose(logits, plain)
