"""What a component is found by, in words: the tokens that it promotes, those of its peaks, the text around them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from explanations.blobs import Slots
from explanations.collation.corpus import Row
from explanations.collation.groups import Group
from explanations.writing import BETWEEN
from model.gpt2 import GPT2, wide
from model.tokenizer import Tokenizer

PROMOTED = 10
WORDS = 5
"Examples whose words a component is found by."
AROUND = 5
"Tokens on either side of a peak that count as its context."


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Token strings, and which tokens no list should name."""

    tokenizer: Tokenizer
    rare: NDArray[np.bool_]

    def of(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)


@torch.no_grad()
def promotes(
    model: GPT2, group: Group, rare: NDArray[np.bool_]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The tokens that each component's write raises most, and those that it lowers most, past the final layer norm."""
    if group.writes is None:
        nothing: list[tuple[int, ...]] = [()] * len(group.nodes)
        return nothing, nothing
    writes = wide(group.writes())
    writes = (writes - writes.mean(1, keepdim=True)) * wide(model.ln_f.weight)
    left_out = torch.tensor(rare, device=writes.device)
    up: list[tuple[int, ...]] = []
    down: list[tuple[int, ...]] = []
    for part in writes.split(256):
        scores = part @ wide(model.unembedding).T
        count = min(PROMOTED, int((~left_out).sum()))
        up += map(tuple, scores.masked_fill(left_out, -torch.inf).topk(count).indices.tolist())
        down += map(tuple, (-scores).masked_fill(left_out, -torch.inf).topk(count).indices.tolist())
    return up, down


def words(top: Slots, rows: Sequence[Row], promoted: tuple[int, ...], texts: Texts) -> tuple[str, str, str]:
    """What a component is found by: tokens promoted, tokens of its peaks, the text around them."""
    peaks: list[str] = []
    around: list[str] = []
    for at in range(min(WORDS, len(top.values))):
        tokens, peak = rows[int(top.ordinals[at])].tokens, int(top.peaks[at])
        ends = (peak, int(top.keys[at])) if top.of_pairs else (peak,)
        peaks += [texts.of([tokens[end]]) for end in ends]
        around.append(texts.of(tokens[max(0, peak - AROUND) : peak + AROUND + 1]))
    tokens_promoted = " ".join(texts.of([id]) for id in promoted)
    return tokens_promoted, " ".join(dict.fromkeys(peaks)), BETWEEN.join(dict.fromkeys(around))
