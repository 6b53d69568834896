"""How much each head does of each role at each query of a text, and the means of that: what `roles.py` is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.effects.attribution import head_matrices
from model.gpt2 import GPT2, wide
from model.sites import Site
from model.trace import Trace

NEEDED = (Site.PATTERN, Site.Z, Site.LN_FINAL_SCALE)
"What a run must have recorded."


class Role(Enum):
    PREVIOUS = "previous-token"
    DUPLICATE = "duplicate-token"
    INDUCTION = "induction"
    FIRST = "first-token"
    COPYING = "copying"


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One role's score of every head, and what it rests on."""

    score: NDArray[np.float64]
    "[layer, head]; not a number where the text has no query that could show it."
    count: int
    "Queries that it is taken over."
    example: NDArray[np.int64]
    "The strongest: (sequence, query, key), [layer, head, 3]."
    strength: NDArray[np.float64]
    "Its attention; for copying, its attention x logits by which the token is raised over the others: [layer, head]."


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One role in one text: for each query that could show it, what every head did."""

    query: NDArray[np.int64]
    "[query]"
    key: NDArray[np.int64]
    "Which of the role's keys was the strongest: [layer, head, query]."
    strength: NDArray[np.float64]
    "That key's: [layer, head, query]."
    value: NDArray[np.float64]
    "Over all of the role's keys: [layer, head, query]; for copying [3, ...]: covariance, both variances."


def keys_of(tokens: Sequence[int]) -> Mapping[Role, Tensor]:
    """Which keys would show each role: bool [query, key]."""
    ids = torch.tensor(list(tokens))
    pos = torch.arange(len(ids))
    before = pos[None] < pos[:, None]  # [query, key]
    same = ids[:, None] == ids[None]
    after = torch.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    free = before & (pos[None] > 0)
    return {
        Role.PREVIOUS: free & (pos[None] == pos[:, None] - 1),
        Role.DUPLICATE: free & same,
        Role.INDUCTION: free & after,
        Role.FIRST: before & (pos[None] == 0),
    }


def looking(model: GPT2, trace: Trace, keys: Tensor) -> Seen:
    """Attention to the keys [query, key] of a role, at the queries that have any."""
    query = keys.any(1).nonzero().flatten()
    wanted = keys[query].to(trace[Site.PATTERN, 0].device)
    value, strength, key = [], [], []
    for layer in range(model.config.n_layer):
        there = wide(trace[Site.PATTERN, layer])[:, query] * wanted  # [head, query, key]
        best = there.max(-1)
        value.append(there.sum(-1))
        strength.append(best.values)
        key.append(best.indices)
    return Seen(query.numpy(), *(_array(each) for each in (key, strength, value)))


def copied(model: GPT2, trace: Trace) -> Seen:
    """Attention to each token of the text against the head's effect on its logit, at queries after the first."""
    tokens = torch.tensor(trace.tokens, device=trace[Site.PATTERN, 0].device)
    ids = tokens[tokens != tokens[0]].unique()
    if not len(ids):
        empty = np.zeros((model.config.n_layer, model.config.n_head, 0))
        return Seen(np.zeros(0, int), empty.astype(int), empty, np.stack([empty] * 3))
    is_token = tokens[1:, None] == ids[None]  # [key, token]
    rows = wide(model.unembedding[ids])
    rows = (rows - rows.mean(0)) * wide(model.ln_f.weight)
    value, strength, key = [], [], []
    for layer, w_o in enumerate(head_matrices(model)):
        pattern = wide(trace[Site.PATTERN, layer])[:, 1:, 1:]  # [head, query, key]
        along = (w_o - w_o.mean(-1, keepdim=True)) @ rows.T  # [head, d_head, token]
        effect = (
            wide(trace[Site.Z, layer])[:, 1:] @ along / trace[Site.LN_FINAL_SCALE, 0][1:]
        )  # [head, query, token]
        attended = pattern @ is_token.to(pattern.dtype)
        centred = attended - attended.mean(-1, keepdim=True)
        value.append(
            torch.stack([(x * y).sum(-1) for x, y in ((centred, effect), (centred,) * 2, (effect,) * 2)])
        )
        there = pattern * (effect @ is_token.T.to(effect.dtype))
        at = there.abs().argmax(-1, keepdim=True)
        strength.append(there.gather(-1, at)[..., 0])
        key.append(1 + at[..., 0])
    values = np.moveaxis(_array(value), 1, 0)
    return Seen(np.arange(1, len(trace.tokens)), _array(key), _array(strength), values)


def pooled(seen: Sequence[Seen]) -> Score:
    """A mean over all queries of all texts."""
    value = np.concatenate([each.value for each in seen], -1)
    count = value.shape[-1]
    score = value.mean(-1) if count else np.full(value.shape[:2], np.nan)
    return Score(score, count, *_example(seen))


def correlated(seen: Sequence[Seen]) -> tuple[Score, NDArray[np.float64]]:
    """Correlation over all queries of all texts, and the mean covariance summed over tokens: logits raised."""
    both, attended, effect = np.concatenate([each.value for each in seen], -1)  # [layer, head, query]
    count = both.shape[-1]
    if not count:
        nothing = np.full(both.shape[:2], np.nan)
        return Score(nothing, 0, *_example(seen)), nothing
    size = np.sqrt(attended.sum(-1) * effect.sum(-1))
    score = np.divide(both.sum(-1), size, out=np.zeros_like(size), where=size > 0)
    return Score(score, count, *_example(seen)), both.mean(-1)


def _example(seen: Sequence[Seen]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the strongest was, (sequence, query, key), and how strong; -1 and not a number where there is none."""
    strength, key = (
        np.concatenate([getattr(each, name) for each in seen], -1) for name in ("strength", "key")
    )
    if not strength.shape[-1]:
        return np.full((*strength.shape[:2], 3), -1), np.full(strength.shape[:2], np.nan)
    sequence = np.concatenate([np.full(len(each.query), n) for n, each in enumerate(seen)])
    query = np.concatenate([each.query for each in seen])
    at = np.abs(strength).argmax(-1)  # [layer, head]
    picked = (np.take_along_axis(each, at[..., None], -1)[..., 0] for each in (key, strength))
    best_key, best = picked
    return np.stack([sequence[at], query[at], best_key], -1), best


def _array(layers: Sequence[Tensor]) -> NDArray:
    """Tensors of every layer as one array: [layer, ...]."""
    stacked = torch.stack(list(layers)).cpu()
    return (stacked.double() if stacked.is_floating_point() else stacked).numpy()
