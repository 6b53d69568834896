"""A component's examples as a language model is shown them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from explanations.records import Example, Floats

LEVELS = 10
"Activations are shown as whole numbers from 0 to this (Bills et al. 2023)."
PAIRS = 5
"The strongest pairs of tokens that a head's explainer is shown (TDB)."

Spell = Callable[[int], str]


def levels(activations: Floats, largest: float) -> list[int]:
    """`min(10, floor(10 relu(x) / M))`, M the largest of those shown: [pos]."""
    if largest <= 0:
        return [0] * len(activations)
    return np.clip(np.floor(LEVELS * np.maximum(activations, 0) / largest), 0, LEVELS).astype(int).tolist()


def shown(token: int, spell: Spell) -> str:
    """A token on one line of its own."""
    return spell(token).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def columns(examples: Sequence[Example], spell: Spell) -> str:
    """Token, tab, 0 to 10; one block a sequence."""
    largest = max((example.value for example in examples), default=0.0)
    blocks = (
        "\n".join(
            f"{shown(token, spell)}\t{level}"
            for token, level in zip(example.tokens, levels(example.activations, largest), strict=True)
        )
        for example in examples
    )
    return "\n".join(f"<start>\n{block}\n<end>" for block in blocks)


def strongest_pairs(examples: Iterable[Example], count: int = PAIRS) -> list[tuple[Example, int, int]]:
    """A head's strongest (query, key) over all examples, at most one a query."""
    found: list[tuple[float, Example, int, int]] = []
    for example in examples:
        for query, row in enumerate(example.activations):
            key = int(row[: query + 1].argmax())
            found.append((float(row[key]), example, query, key))
    found.sort(key=lambda each: -each[0])
    return [(example, query, key) for strength, example, query, key in found[:count] if strength > 0]


def with_pair(example: Example, query: int, key: int, spell: Spell) -> str:
    """The text with `**to**` at the query and `[[from]]` at the key (TDB)."""
    words = [shown(token, spell) for token in example.tokens]
    if query == key:
        words[query] = f"[[**{words[query]}**]]"
    else:
        words[query], words[key] = f"**{words[query]}**", f"[[{words[key]}]]"
    return "".join(words)


def with_marks(tokens: Sequence[int], marked: Iterable[int], spell: Spell) -> str:
    """The text with `<<` and `>>` around some tokens (Paulo et al. 2024)."""
    chosen = set(marked)
    return "".join(
        f"<<{shown(token, spell)}>>" if at in chosen else shown(token, spell)
        for at, token in enumerate(tokens)
    )
