"""What a node is about, in tokens: those it argues for, those that drive it, and which tokens such lists leave out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.components import Kind, Node
from model.effects.writes import write_of
from model.frames import frame_target
from model.gpt2 import GPT2, wide
from model.latents import row_of
from model.sites import Site
from model.targets import Target, Via, gradient_at
from model.tokenizer import Tokenizer
from model.trace import Trace

MADS = 4.0
"""How many deviations make an outlier; one is 1.4826 x the median absolute deviation, as in a normal distribution."""


class Unit(Enum):
    """What tokens that a node promotes are scored in."""

    LOGIT = "logit"
    "The node's direct effect on each token's logit, the final norm's scale at its own token held."
    TDB = "tdb"
    "The Transformer Debugger's score: neither centred nor divided by the scale, its mean over tokens taken off."


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a list of tokens, as (token, score)."""

    top: tuple[tuple[int, float], ...]
    "Highest first."
    bottom: tuple[tuple[int, float], ...]
    "Lowest first."


@dataclass(frozen=True, slots=True, eq=False)
class TokenRead:
    """What each token's embedding, added to the residual stream at `pos`, would add to a target."""

    pos: int
    scores: NDArray[np.float64]
    "In the target's unit: [vocab]."


@torch.no_grad()
def promoted(model: GPT2, trace: Trace, node: Node, unit: Unit = Unit.LOGIT) -> NDArray[np.float64]:
    """What a node's write does to every token's logit at its own token, read by the final norm: [vocab].

    A write that an edit of its whole sub-layer replaced is read all the same, and of a latent that is not active what
    an activation of 1 would write.  Raises ValueError for a part
    that puts nothing out.
    """
    write = write_of(model, trace, node)
    if node.component.kind is Kind.LATENT and not bool(write.any()):
        write = row_of(model, trace, node.component)
    if node.component.kind is not Kind.FINAL_BIAS:
        if unit is Unit.LOGIT:
            write = (write - write.mean()) / trace[Site.LN_FINAL_SCALE, 0][node.pos]
        write = write * wide(model.ln_f.weight)
    scores = _float64(wide(model.unembedding) @ write)
    return scores - scores.mean() if unit is Unit.TDB else scores


@torch.no_grad()
def driving(
    model: GPT2, trace: Trace, node: Node, via: Via | None = None, of: Target | None = None
) -> tuple[TokenRead, ...]:
    """Which tokens drive what tracing `node` asks about, one list for every token that is read.

    A neuron has one: W_E[v] . d(pre-activation)/d(residual), its layer norm's scale held.  A head's score has the
    query's, the key's or both (`via`: Q, K, QK, where None is QK); a value and an MLP need what they are for (`of`).
    Raises ValueError, one sentence, where a node cannot be traced so.
    """
    target = frame_target(model, trace, node, via, of)
    embedding = wide(model.wte.weight)
    return tuple(
        TokenRead(read.pos, _float64(embedding @ gradient_at(model, trace, target, read)))
        for read in target.reads
    )


def top_tokens(scores: NDArray[np.float64], count: int, exclude: NDArray[np.bool_] | None = None) -> Ends:
    """The `count` highest and lowest tokens of `scores` [vocab], without those where `exclude` [vocab] is true.

    Of equal scores the lower id comes first at either end.
    """
    kept = np.arange(len(scores)) if exclude is None else np.flatnonzero(~exclude)
    down = kept[np.argsort(-scores[kept], kind="stable")[:count]]
    up = kept[np.argsort(scores[kept], kind="stable")[:count]]
    return Ends(_scored(scores, down), _scored(scores, up))


def _scored(scores: NDArray[np.float64], ids: NDArray[np.intp]) -> tuple[tuple[int, float], ...]:
    return tuple((int(id), float(scores[id])) for id in ids)


def impossible(tokenizer: Tokenizer, n_vocab: int) -> tuple[int, ...]:
    """Rows of the model that no text can use: those without a token, and tokens with a byte that UTF-8 never has."""
    return tuple(
        id for id in range(n_vocab) if id not in tokenizer.tokens or _NOT_UTF8 & set(tokenizer.tokens[id])
    )


_NOT_UTF8 = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


@torch.no_grad()
def untrained(embedding: Tensor, never: Sequence[int] = ()) -> NDArray[np.bool_]:
    """Rare "glitch" tokens, by their embeddings alone: embedding [vocab, d_model] -> bool [vocab].

    Training pulls the embeddings of tokens that hardly ever occur to one place.  Two rules say which are there:

    - near the mean of all embeddings, closer than the vocabulary's median distance by MADS deviations (Rumbelow
      and Watkins 2023, "SolidGoldMagikarp"; true of GPT-2 small, not of XL, where that place is far out);
    - as near the mean of the tokens in `never`, of which it is known (`impossible`), as they themselves are: no
      farther than the median of their own distances, each from the mean of the others, plus MADS deviations
      (the reference of Land and Bartolo 2024, "Fishing for Magikarp").  It counts only where that is less than
      half the vocabulary's own spread: in an untrained model they are anywhere.

    Tokens in `never` are always among them.
    """
    rows = wide(embedding)
    away = _float64((rows - rows.mean(0)).norm(dim=1))
    middle, spread = _robust(away)
    found = away < middle - MADS * spread
    if len(never) >= 3:  # the fewest that have a median deviation
        found |= _like(rows, list(never), float(np.sqrt((away**2).mean())))
    found[list(never)] = True
    return found


def _like(rows: Tensor, never: list[int], spread: float) -> NDArray[np.bool_]:
    """Rows that lie among the rows in `never`, where these lie together: rows [vocab, d_model] -> bool [vocab]."""
    known, count = rows[never], len(never)
    others = (known.sum(0) - known) / (count - 1)
    middle, deviation = _robust(_float64((known - others).norm(dim=1)))
    limit = middle + MADS * deviation
    if limit >= spread / 2:
        return np.zeros(len(rows), dtype=bool)
    return _float64((rows - known.mean(0)).norm(dim=1)) <= limit


def _robust(x: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and deviation by the median absolute one; at least 5% of the median: few may agree by chance."""
    middle = float(np.median(x))
    return middle, max(1.4826 * float(np.median(np.abs(x - middle))), 0.05 * middle)


def _float64(x: Tensor) -> NDArray[np.float64]:
    return x.cpu().double().numpy()
