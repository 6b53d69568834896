"""What a store knows of a component, as lines and as plain values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.cells import cell_len

from explanations.bins import LEAST
from explanations.published.catalogue import CAVEATS
from explanations.records import Best, Example, Explanation, Statistics
from model.tokenizer import Tokenizer, printable
from tdb_tui.formats import plain, quoted

WIDTH = 66
BARS = " ▁▂▃▄▅▆▇█"


def example_line(tokenizer: Tokenizer, example: Example, width: int = WIDTH) -> str:
    """The tokens around a peak, `[ Mary]` where it is; of a head also `< to>`, the token that it reads."""
    texts = [marked(tokenizer, example, pos) for pos in range(len(example.tokens))]
    first = last = example.peak
    while True:
        left = first > 0 and cell_len("".join(texts[first - 1 : last + 1])) <= width
        if left:
            first -= 1
        right = last + 1 < len(texts) and cell_len("".join(texts[first : last + 2])) <= width
        if right:
            last += 1
        if not left and not right:
            break
    ends = "…" if first else "", "…" if last + 1 < len(texts) else ""
    key = example.key
    hidden = "" if key is None or first <= key <= last else f"  <{tokenizer.display(example.tokens[key])}>"
    return f"{ends[0]}{''.join(texts[first : last + 1])}{ends[1]}{hidden}"


def marked(tokenizer: Tokenizer, example: Example, pos: int) -> str:
    text = tokenizer.display(example.tokens[pos])
    if pos == example.peak:
        return f"[{text}]"
    return f"<{text}>" if pos == example.key else text


def example_rows(tokenizer: Tokenizer, examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [
        {
            "tokens": [tokenizer.text(token) for token in each.tokens],
            "activations": each.activations.tolist(),
            "peak": each.peak,
            "key": each.key,
            "value": each.value,
            "source": each.source,
        }
        for each in examples
    ]


def statistics_lines(tokenizer: Tokenizer, found: Statistics) -> list[str]:
    """How large its activations are in the corpus, and the tokens that it raises and lowers by its weights."""
    said = corpus_lines(found)
    for name, ids in (("promotes", found.promoted), ("suppresses", found.suppressed)):
        if ids:
            said.append(f"{name:<10} {' '.join(quoted(tokenizer, id) for id in ids[:8])}")
    return said


def corpus_lines(found: Statistics) -> list[str]:
    """Over how much, how large, how often; and the histogram."""
    moments = found.moments
    density = "" if found.density is None else f"  above zero at {found.density:.2%}"
    shape = (
        "" if np.isnan(moments.mean) else f"  mean {plain(moments.mean)}  sd {plain(moments.variance**0.5)}"
    )
    places = f"{moments.count:,} {'tokens' if found.density is not None else 'places'}"
    over = f"over {places}" if found.origin is None else f"{found.origin.about}, by {found.origin.name}"
    said = [f"{over}: max {plain(found.max)}{shape}{density}", *fault_lines(found)]
    if bars := histogram_line(found):
        said.append(bars)
    return said


def fault_lines(found: Statistics) -> list[str]:
    """What is wrong with numbers that were published."""
    return [f"careful: {text}" for text in cautions((), found)]


def cautions(explanations: Sequence[Explanation], found: Statistics | None) -> list[str]:
    """What must be known of scores and numbers that were published, a sentence each."""
    methods = dict.fromkeys(each.method for each in explanations if each.method in CAVEATS)
    said = [f"{method} was {CAVEATS[method]}" for method in methods]
    origin = None if found is None else found.origin
    return said if origin is None or not origin.fault else [*said, origin.fault]


def histogram_line(found: Statistics, columns: int = 48, bars: str = BARS) -> str:
    """How often which activation occurs, as a row of bars whose height goes with the logarithm of the count.

    A bin's count is spread evenly over its width.
    """
    edges, counts = found.histogram.edges.copy(), found.histogram.counts
    if len(counts) < 2:
        return ""
    edges[0] = 2 * edges[1] if np.isinf(edges[0]) else edges[0]
    edges[-1] = 2 * edges[-2] if np.isinf(edges[-1]) else edges[-1]
    grid = np.linspace(edges[0], edges[-1], columns + 1)
    below = np.interp(grid, edges, np.concatenate([[0], np.cumsum(counts)]))
    spread = np.maximum(np.diff(below), 0)  # rounding can go below
    heights = np.log1p(spread)
    steps = len(bars) - 1
    levels = np.where(spread < 0.5, 0, np.ceil(heights / heights.max() * steps)).astype(int)
    drawn = "".join(bars[level] for level in levels)
    return f"{_edge(edges[0])} {drawn} {_edge(edges[-1])}  (log counts)"


def _edge(value: float) -> str:
    """What is as small as the bin around zero is zero."""
    return plain(0.0 if abs(value) <= 2.0**LEAST else value)


def score_text(explanation: Explanation | Best) -> str:
    return " ----" if explanation.score is None else f"{explanation.score:5.2f}"


def scored_text(explanation: Explanation | Best) -> str:
    """`0.75 attends to the first token`."""
    return f"{score_text(explanation).strip()} {printable(explanation.text)}"


def explanation_lines(found: Sequence[Explanation], count: int = 3) -> list[str]:
    """Best first, each with its score and who said it; then what must be known of scores that were published."""
    said: list[str] = []
    for each in found[:count]:
        score = "  ----" if each.score is None else f"{each.score:6.2f}"
        who = ", ".join(filter(None, (each.method, each.model)))
        said.append(f"{score}  {each.text}  ({who})")
    return [*said, *(f"careful: {text}" for text in cautions(found[:count], None))]
