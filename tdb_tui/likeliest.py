"""The tokens that a session is about where nobody named any: what the model says next, and what it nearly says."""

from collections.abc import Collection, Iterator

import numpy as np

from model.vocabulary import TokenizerError
from tdb_tui.engine import Engine
from tdb_tui.formats import probability, quoted
from tdb_tui.metrics import make_metric
from tdb_tui.state import Inputs, Prompt


def likeliest(
    engine: Engine, prompt: Prompt, distractors: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """The likeliest next token as target, the runner-up as distractor unless some are given; and what to say of it.

    Raises ComputeFailed and Interrupted.
    """
    end = len(prompt.tokens) - 1
    logits = engine.reading(Inputs(prompt, make_metric((prompt.tokens[end],), (), end))).logits(end)
    logprobs = logits - np.logaddexp.reduce(logits)

    def named(token: int) -> str:
        return f"{quoted(engine.tokenizer, token)} (p {probability(float(np.exp(logprobs[token])))})"

    found = _in_order(engine, prompt, logits, distractors)
    target = next(found)
    known = int(np.argmax(logits)) in (target, *distractors)
    said = f"no --target: {named(target)}, the likeliest next token{'' if known else ' that can be typed'}"
    if distractors:
        return (target,), distractors, said
    second = next(found)
    return (target,), (second,), f"{said}, against {named(second)}, the runner-up"


def _in_order(engine: Engine, prompt: Prompt, logits: np.ndarray, besides: Collection[int]) -> Iterator[int]:
    """Tokens, the likeliest first: those that a script can name, as parts of a letter cannot be."""
    for token in np.argsort(-logits, kind="stable").tolist():
        try:
            read = engine.tokenizer.resolve_single(engine.tokenizer.text(token), prompt.text)
        except TokenizerError:
            continue
        if read.id == token and token not in besides:
            yield token
