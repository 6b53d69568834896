"""The fewest floating-point operations that a task takes, counted by hand, and what they would cost on this machine.

An edit changes nothing before its line and its token; after the last attention only the scored token is needed,
and there only its query.  Two operations a weight or pair; norms, softmax and activations are left out.
"""

import torch

from model.gpt2 import Config
from tests.bench.measuring import SMALL, Work, here


def after_flops(line: int, first: int, tokens: int, config: Config = SMALL) -> int:
    """What follows an addition to the residual stream after a line, from a token on, until the last token is scored.

    Lines are numbered E = 0, A0 = 1, M0 = 2, ..., U.
    """
    d, left, total = config.d_model, tokens - first, 0
    for at in range(line + 1, 2 * config.n_layer + 1):
        last = at >= 2 * config.n_layer - 1
        asking = 1 if last else left
        if at % 2:
            pairs = tokens if last else sum(range(first + 1, tokens + 1))
            total += 4 * d * d * (asking + left) + 4 * d * pairs
        else:
            total += 4 * d * config.d_mlp * asking
    return total


def head_flops(tokens: int, config: Config = SMALL) -> int:
    """Ablating each head, at every token."""
    return sum(
        config.n_head * after_flops(1 + 2 * layer, 0, tokens, config) for layer in range(config.n_layer)
    )


def residual_flops(tokens: int, config: Config = SMALL, differing: int = 0) -> int:
    """Patching `resid_pre` at each layer and token; tokens before the first differing one change nothing."""
    places = [(layer, pos) for layer in range(config.n_layer) for pos in range(differing, tokens)]
    return sum(after_flops(2 * layer, pos, tokens, config) for layer, pos in places)


PRODUCT = 2 * 720 * SMALL.d_model * SMALL.d_mlp
"Operations of the product that a floor is measured by."


def product() -> Work:
    """The model's own largest product, for 720 tokens."""
    x, weight = torch.randn(720, SMALL.d_model), torch.randn(SMALL.d_model, SMALL.d_mlp)
    bias = torch.randn(SMALL.d_mlp)
    return here(lambda: [torch.addmm(bias, x, weight) for _ in range(8)])


def floor_of(flops: int) -> float:
    """How many times `product` a task's operations are."""
    return flops / (8 * PRODUCT)
