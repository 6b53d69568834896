"""What a component does at each token of a run, in the unit of its dataset examples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.components import Component, Kind
from model.gpt2 import GPT2, wide
from model.latents import latent_values
from model.sites import Site
from model.trace import Trace

Floats = NDArray[np.float32]


def activations(model: GPT2, trace: Trace, part: Component) -> Floats | None:
    """A neuron's activation, an MLP's length, a latent's activation at each token: [pos].

    Of a head the length of what it moves, A_qk |v_k W_O|: [query, key].  None for parts without such a number.
    Raises ValueError for a latent whose dictionary is not loaded.
    """
    match part.kind:
        case Kind.NEURON:
            found = trace[Site.MLP_POST, part.layer][:, part.index]
        case Kind.MLP:
            found = wide(trace[Site.MLP_OUT, part.layer]).norm(dim=-1)
        case Kind.HEAD:
            config, block = model.config, model.blocks[part.layer]
            out = wide(block.attn.c_proj.weight).view(config.n_head, config.d_head, config.d_model)
            moved = (wide(trace[Site.V, part.layer][part.index]) @ out[part.index]).norm(dim=-1)
            found = wide(trace[Site.PATTERN, part.layer][part.index]) * moved
        case Kind.LATENT:
            found = latent_values(trace, part)
        case _:
            return None
    return found.float().cpu().numpy()


def by_token(acts: Floats) -> Floats:
    """One number a token: of a head the largest that goes into it.  [pos]"""
    return acts if acts.ndim == 1 else acts.max(1)


def peak_of(acts: Floats, first: int = 0) -> tuple[int, int | None]:
    """Where it is largest among the tokens from `first` on: a token; of a head the query and the key.

    The `<|endoftext|>` before a text is not counted in a corpus, so it is none of its peaks either.
    """
    if first >= len(acts):
        first = 0
    if acts.ndim == 1:
        return first + int(acts[first:].argmax()), None
    counted = acts[first:, first:]
    query, key = np.unravel_index(int(counted.argmax()), counted.shape)
    return first + int(query), first + int(key)


def first_counted(tokens: Sequence[int], eos: int | None) -> int:
    """The first token that is not a `<|endoftext|>` put before the text."""
    return int(bool(tokens) and tokens[0] == eos)
