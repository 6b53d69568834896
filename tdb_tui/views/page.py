"""Snapshot -> the page of a component: explanations, statistics, examples with their tokens shaded, this prompt too."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from explanations.records import Example, Sampling
from model.components import Kind
from model.gpt2 import wide
from model.sites import Site
from model.tokenizer import Tokenizer
from tdb_tui.formats import plain
from tdb_tui.session import Snapshot
from tdb_tui.tables.examples import explanation_lines, marked, statistics_lines
from tdb_tui.tables.known import Known
from tdb_tui.views.data import PageRow, PageView, Piece

BEFORE = 18
"Cells of text before a peak."
STEPS = 4
"Strengths of a shade."


def page(snapshot: Snapshot) -> PageView | None:
    """The component that was asked about last; None where none was."""
    known = snapshot.page
    if known is None:
        return None
    return PageView(str(known.component), (*_said(snapshot, known), *_examples(snapshot.tokenizer, known)))


def _said(snapshot: Snapshot, known: Known) -> list[PageRow]:
    """What there is before the examples."""
    rows = [_text(line) for line in explanation_lines(known.explanations)]
    rows += [_text(line) for line in (*(f"note: {note}" for note in known.notes), *known.measures)]
    acts = activations(snapshot, known)
    if acts is not None:
        largest = float(acts.max())
        top = known.statistics.max if known.statistics else largest
        tokens = snapshot.state.inputs.prompt.tokens
        rows.append(_text(f"on this prompt, max {plain(largest)}", dim=True))
        shades = _levels(acts, max(top, largest))
        peak = int(acts.argmax())
        rows.append(_shaded([snapshot.tokenizer.display(token) for token in tokens], shades, peak))
    if known.statistics is None:
        return [*rows, _text("no store has examples of it: tdb-tui collate makes one", dim=True)]
    return [*rows, *(_text(line) for line in statistics_lines(snapshot.tokenizer, known.statistics))]


def activations(snapshot: Snapshot, known: Known) -> NDArray[np.float32] | None:
    """What it does at each token of the prompt, in the unit of its examples: [pos]; None where that has no number."""
    part, trace = known.component, snapshot.now.trace
    match part.kind:
        case Kind.NEURON:
            found = trace[Site.MLP_POST, part.layer][:, part.index]
        case Kind.MLP:
            found = wide(trace[Site.MLP_OUT, part.layer]).norm(dim=-1)
        case Kind.HEAD:
            config, block = snapshot.info.config, snapshot.now.model.blocks[part.layer]
            out = wide(block.attn.c_proj.weight).view(config.n_head, config.d_head, config.d_model)[
                part.index
            ]
            moved = (wide(trace[Site.V, part.layer][part.index]) @ out).norm(dim=-1)
            found = (wide(trace[Site.PATTERN, part.layer][part.index]) * moved).amax(-1)
        case _:
            return None
    return found.float().cpu().numpy()


def _examples(tokenizer: Tokenizer, known: Known) -> list[PageRow]:
    rows: list[PageRow] = []
    top = known.statistics.max if known.statistics else 0.0
    for sampling in Sampling:
        found = known.examples.get(sampling, [])
        if found:
            rows.append(_text(sampling.value, dim=True))
        rows += [_example(tokenizer, each, top) for each in found]
    return rows


def _example(tokenizer: Tokenizer, example: Example, top: float) -> PageRow:
    texts = [marked(tokenizer, example, pos) for pos in range(len(example.tokens))]
    shades = _levels(example.by_token, top)
    if example.key is not None:  # a head: blue where it reads, orange what it reads
        read = _levels(example.out_of_token, top)
        shades = tuple(a if a >= b else -b for a, b in zip(shades, read, strict=True))
    row = _shaded(texts, shades, example.peak)
    if example.key is not None and texts[example.key] not in [text for text, _ in row]:
        row = (
            (texts[example.key], f"heat{shades[example.key]}"),
            (" ", "plain"),
            *row,
        )  # too far back to be in it
    return ((f"{plain(example.value):>7} ", "plain"), *row)


def _shaded(texts: Sequence[str], levels: Sequence[int], peak: int) -> PageRow:
    """As much as fits before the peak, and all after it; the pane cuts it off."""
    first = peak
    while first and cell_len("".join(texts[first - 1 : peak])) <= BEFORE:
        first -= 1
    start: tuple[Piece, ...] = (("…", "dim"),) if first else ()
    return (
        *start,
        *((text, f"heat{level}") for text, level in zip(texts[first:], levels[first:], strict=True)),
    )


def _levels(values: NDArray[np.float32], largest: float) -> tuple[int, ...]:
    """Strengths from 0 to STEPS; nothing for what is not above zero."""
    if largest <= 0:
        return (0,) * len(values)
    steps = np.ceil(np.clip(values / largest, 0, 1) * STEPS - 0.5)
    return tuple(int(step) for step in np.clip(steps, 0, STEPS))


def _text(line: str, dim: bool = False) -> PageRow:
    return ((line, "dim" if dim else "plain"),)
