"""Examples made by hand: sequences of token ids, and what a component did on them."""

from collections.abc import Callable, Sequence

import numpy as np

from explanations.records import Example, Floats, Sampling

VOCABULARY = 50
Does = Callable[[Sequence[int]], Floats]


def texts(count: int, seed: int, length: int = 24) -> list[tuple[int, ...]]:
    random = np.random.default_rng(seed)
    return [tuple(map(int, random.integers(0, VOCABULARY, length))) for _ in range(count)]


def example(tokens: tuple[int, ...], does: Does, sampling: Sampling) -> Example:
    activations = does(tokens).astype(np.float32)
    place = np.unravel_index(int(activations.argmax()), activations.shape)
    key = None if activations.ndim == 1 else int(place[1])
    return Example(tokens, activations, float(activations.max()), int(place[0]), key, sampling, str(tokens))


def collated(does: Does, seed: int = 0) -> dict[Sampling, list[Example]]:
    """What a collation keeps, over 400 sequences: top and active ones by their peaks, and random ones."""
    found = [example(tokens, does, Sampling.TOP) for tokens in texts(400, seed)]
    by_peak = sorted(found, key=lambda each: -each.value)
    active = [each for each in by_peak if each.value > 0][::9][:20]
    return {
        Sampling.TOP: by_peak[:20],
        Sampling.QUANTILE: [example(each.tokens, does, Sampling.QUANTILE) for each in active],
        Sampling.RANDOM: [example(each.tokens, does, Sampling.RANDOM) for each in found[:10]],
    }


def spell(token: int) -> str:
    return f" t{token}"
