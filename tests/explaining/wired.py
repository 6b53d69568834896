"""A small GPT-2 in whose first layer neurons are wired by hand, each to fire on words of its own and on nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.gpt2 import GPT2
from model.sites import Site, no_hook
from model.tokenizer import Tokenizer, load_tokenizer
from model.weights import save_model
from tests.sessions import SHAPE, WORDS, write_vocabulary
from tests.tiny import random_model

SPELLED = tuple(f" {word}" for word in WORDS)
HEIGHT = 4.0
"What a wired neuron reads on its words at least; on everything else, at most this far below zero."


def wired(directory: Path, fires_on: Mapping[int, frozenset[str]]) -> Tokenizer:
    """Save a model whose neurons of layer 0, by index, fire on these words of `SPELLED`; its tokenizer.

    Attention writes nothing in the first layer and positions are nowhere, so that its MLP reads the token alone.  Every
    word has a direction of its own, in which no other token goes.
    """
    model = random_model(replace(SHAPE, d_model=64), 0).float()
    write_vocabulary(directory)
    tokenizer = load_tokenizer(directory)
    own = [tokenizer.single(word).id for word in SPELLED]
    with torch.no_grad():
        _let_the_mlp_see_tokens_alone(model, own)
        seen = _seen_by_the_mlp(model)
        first = model.blocks[0].mlp.c_fc
        for index, words in fires_on.items():
            mine = [SPELLED.index(word) for word in words]
            direction = torch.zeros(seen.shape[1])
            direction[mine] = 1.0
            fires = torch.zeros(len(seen), dtype=torch.bool)
            fires[[own[at] for at in mine]] = True
            scale, offset = _between(seen @ direction, fires)
            first.weight[:, index], first.bias[index] = direction * scale, offset
    save_model(model, directory)
    return tokenizer


def _let_the_mlp_see_tokens_alone(model: GPT2, own: list[int]) -> None:
    model.blocks[0].ln_2.weight.abs_()  # so that a word is read with the sign of its direction
    embedding, attention = model.wte.weight, model.blocks[0].attn.c_proj
    embedding.normal_(generator=torch.Generator().manual_seed(0))
    embedding[:, : len(own)] = 0.0
    embedding[own, range(len(own))] = 8.0
    for parameter in (model.wpe.weight, attention.weight, attention.bias):
        parameter.zero_()


def _seen_by_the_mlp(model: GPT2) -> Tensor:
    """[token, d_model]"""
    norm = model.blocks[0].ln_2
    found = norm.normalize(model.wte.weight, 0, no_hook, Site.LN2_SCALE, Site.LN2_NORMALIZED)
    return found * norm.weight + norm.bias


def _between(read: Tensor, fires: Tensor) -> tuple[float, float]:
    """Scale and offset that put `HEIGHT` under everything that fires, and its negative over all else."""
    low, high = float(read[~fires].max()), float(read[fires].min())
    assert high > low, "they cannot be told apart"
    scale = 2 * HEIGHT / (high - low)
    return scale, HEIGHT - scale * high


def text_of(words: int, seed: int = 0) -> str:
    """Words drawn at random, the later ones of `SPELLED` less often."""
    chances = 1 / (1.0 + np.arange(len(SPELLED)))
    return "".join(np.random.default_rng(seed).choice(SPELLED, words, p=chances / chances.sum()))
