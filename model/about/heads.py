"""What a head does by its weights alone: what its OV circuit copies, what its QK circuit matches, whom it follows.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".  A view: the weights stay raw.  In it the
weight of ln_1 is folded into W_Q, W_K and W_V, that of ln_f into W_U, and the centring of both norms is kept; their
scales, a positive number for each token, and all biases are left out.  What no softmax sees is taken out too: the
mean over the vocabulary of the unembedding (OV) and of the keys (QK).  Token embeddings stand for the residual
stream, positions are left out.  Tokens in `exclude` (see `reads.untrained`) are no part of the circuit: a crowd that
was never trained lies in one place and would sway every number.  Everything goes through factors with d_head columns:
no [vocab, vocab] matrix is built.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.about.reads import Ends, top_tokens
from model.components import Component, Kind
from model.effects.attribution import head_matrix
from model.gpt2 import GPT2, LayerNorm, wide
from model.sites import Site, no_hook
from model.targets import query_key, value_matrix

ROWS = 256
"""Tokens unembedded at a time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A singular pair: a direction among the tokens that are read, and the one that it goes to."""

    value: float
    read: Ends
    "OV: the attended token; QK: the query's.  Its top goes with the top of `write`, its bottom with the bottom."
    write: Ends
    "OV: the logits written; QK: the key's token."


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A [vocab, vocab] circuit of rank d_head: OV in logits, QK in pre-softmax score, both with norms' scales at 1."""

    eigenvalues: NDArray[np.complex128]
    "Those that can be other than zero: [d_head]."
    values: NDArray[np.float64]
    "Singular values, largest first: [d_head]."
    pairs: tuple[Pair, ...]
    "The leading ones."

    @property
    def score(self) -> float:
        """Sum of eigenvalues over sum of their absolute values: 1 where a token leads to itself, -1 away from it.

        Of OV it is the copy score; of QK it says whether tokens attend to their like.
        """
        return eigenvalue_score(self.eigenvalues)


@dataclass(frozen=True, slots=True)
class Copied:
    """Of the tokens asked about, the fraction among the top logits of the head's output for them."""

    positive: float
    negative: float
    "The same with the output negated: what a negative name mover shows."


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """How much of what each head of an earlier layer writes a head reads: |A B| / |A| |B|, Frobenius norms."""

    query: NDArray[np.float64]
    "[layer, head], for the layers before the head's own."
    key: NDArray[np.float64]
    value: NDArray[np.float64]
    chance: float
    "Root mean square of each where the earlier head's output is turned at random; take it off to see what is meant."


def eigenvalue_score(eigenvalues: NDArray[np.complex128]) -> float:
    """Sum over sum of absolute values, -1 to 1; 0 for a head that is all zeros."""
    total = float(np.abs(eigenvalues).sum())
    return float(eigenvalues.sum().real) / total if total else 0.0


@torch.no_grad()
def ov(
    model: GPT2, head: Component, pairs: int = 5, count: int = 10, exclude: NDArray[np.bool_] | None = None
) -> View:
    """W_E W_V W_O W_U: attended token -> logits.  Each of `pairs` leading pairs names `count` tokens an end.

    Raises ValueError, one sentence, for what is no head of the model.
    """
    _check(model, head)
    w_v, _ = value_matrix(model, head)
    read = wide(model.wte.weight) @ _reading(model.blocks[head.layer].ln_1, w_v)
    write = wide(model.unembedding) @ _writing(model.ln_f, head_matrix(model, head.layer)[head.index or 0])
    return _view(read, write, pairs, count, _kept(model, exclude))


@torch.no_grad()
def qk(
    model: GPT2, head: Component, pairs: int = 5, count: int = 10, exclude: NDArray[np.bool_] | None = None
) -> View:
    """W_E W_Q (W_E W_K)^T / sqrt(d_head): query's token -> score of the key's token; else as `ov`."""
    _check(model, head)
    norm, embedding = model.blocks[head.layer].ln_1, wide(model.wte.weight)
    w_q, _, w_k, _ = query_key(model, head)
    query, key = embedding @ _reading(norm, w_q), embedding @ _reading(norm, w_k)
    return _view(query / math.sqrt(model.config.d_head), key, pairs, count, _kept(model, exclude))


def _check(model: GPT2, head: Component) -> None:
    config = model.config
    if head.kind is not Kind.HEAD or head.index is None:
        raise ValueError(f"{head} is no head: a head is written L0H0")
    if head.layer >= config.n_layer or head.index >= config.n_head:
        last = Component(Kind.HEAD, config.n_layer - 1, config.n_head - 1)
        raise ValueError(f"{head} is not in this model: heads go up to {last}")


def _reading(norm: LayerNorm, weight: Tensor) -> Tensor:
    """A matrix that reads through a norm, the norm's weight and centring folded in: [..., d_model, d_head]."""
    weighted = wide(norm.weight)[:, None] * weight
    return weighted - weighted.mean(-2, keepdim=True)


def _writing(norm: LayerNorm, w_o: Tensor) -> Tensor:
    """W_O as the final norm passes it on, transposed: [d_head, d_model] -> [d_model, d_head]."""
    return wide(norm.weight)[:, None] * (w_o - w_o.mean(-1, keepdim=True)).T


def _kept(model: GPT2, exclude: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    kept = np.ones(model.config.n_vocab, dtype=bool) if exclude is None else ~exclude
    if not kept.any():
        raise ValueError("every token is excluded: a circuit needs some")
    return kept


def _view(read: Tensor, write: Tensor, pairs: int, count: int, kept: NDArray[np.bool_]) -> View:
    """The circuit read @ write.T, its columns centred, of factors [vocab, d_head]; rows only where `kept` [vocab]."""
    mask = torch.from_numpy(kept)[:, None]
    read, write = read.cpu().double() * mask, write.cpu().double() * mask
    write = (write - write.sum(0) / mask.sum()) * mask
    eigenvalues = torch.linalg.eigvals(write.T @ read)  # those of A B that are not zero are those of B A
    (q_read, r_read), (q_write, r_write) = torch.linalg.qr(read), torch.linalg.qr(write)
    u, values, v = torch.linalg.svd(r_read @ r_write.T)
    left, right = (q_read @ u[:, :pairs]).T.numpy(), (q_write @ v[:pairs].T).T.numpy()
    found = tuple(
        Pair(float(value), *(top_tokens(_sign(a) * x, count, ~kept) for x in (a, b)))
        for value, a, b in zip(values, left, right, strict=False)
    )
    return View(eigenvalues.numpy(), values.numpy(), found)


def _sign(read: NDArray[np.float64]) -> float:
    """A pair may be negated as a whole: the largest entry on the side that is read is made positive."""
    return 1.0 if read[np.abs(read).argmax()] >= 0 else -1.0


@torch.no_grad()
def copy_scores(model: GPT2, exclude: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """`ov(head).score` of every head, meeting the vocabulary once for all of them: [layer, head]."""
    kept = torch.from_numpy(_kept(model, exclude)).to(model.wte.weight.device)
    unembedding, embedding = wide(model.unembedding[kept]), wide(model.wte.weight[kept])
    gram = (unembedding - unembedding.mean(0)).T @ embedding  # [d_model, d_model]
    scores = np.zeros((model.config.n_layer, model.config.n_head))
    for layer, head in np.ndindex(scores.shape):
        w_v, _ = value_matrix(model, Component(Kind.HEAD, layer, head))
        write = _writing(model.ln_f, head_matrix(model, layer)[head])
        small = write.T @ gram @ _reading(model.blocks[layer].ln_1, w_v)  # [d_head, d_head]
        scores[layer, head] = eigenvalue_score(torch.linalg.eigvals(small.cpu().double()).numpy())
    return scores


@torch.no_grad()
def copied(model: GPT2, head: Component, tokens: Sequence[int], top: int = 5) -> Copied:
    """The copy score of Wang et al. 2022, "Interpretability in the Wild", appendix on name movers.

    Each token's embedding goes through the first MLP, the head's ln_1, W_V with its bias, W_O, the final norm with
    its scale anew, and W_U; it counts where it is among its own `top` logits.  Positions are left out.  A head of
    the first layer comes before that MLP and reads the embedding alone.
    """
    _check(model, head)
    if not tokens:
        raise ValueError("a copy score needs tokens: those that the head would copy")
    ids = torch.tensor(list(tokens), device=model.wte.weight.device)
    hits = [_among_top(model, head, part, top) for part in ids.split(ROWS)]
    positive, negative = (torch.cat(each).double().mean() for each in zip(*hits, strict=True))
    return Copied(float(positive), float(negative))


def _among_top(model: GPT2, head: Component, ids: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Whether each token is in its own top logits, by the head's output and by its negative: bool [token] twice."""
    resid, norm = model.wte(ids)[None], model.blocks[head.layer].ln_1
    if head.layer:
        resid = model.blocks[0].think(resid, 0)
    seen = norm.normalize(resid, head.layer, no_hook, Site.LN1_SCALE, Site.LN1_NORMALIZED)[0]
    w_v, b_v = value_matrix(model, head)
    v = wide(seen * norm.weight + norm.bias) @ w_v + b_v
    out = v @ head_matrix(model, head.layer)[head.index or 0]
    positive, negative = (wide(model.final_norm(x)) @ wide(model.unembedding).T for x in (out, -out))
    return _in_top(positive, ids, top), _in_top(negative, ids, top)


def _in_top(logits: Tensor, ids: Tensor, top: int) -> Tensor:
    return (logits >= logits.gather(1, ids[:, None])).sum(
        1
    ) <= top  # itself, and what ties with it, among them


@torch.no_grad()
def composition(model: GPT2, head: Component) -> Composition:
    """Q-, K- and V-composition of a head with every head of the layers before it; see `Composition`."""
    _check(model, head)
    norm, n_head = model.blocks[head.layer].ln_1, model.config.n_head
    w_q, _, w_k, _ = query_key(model, head)
    w_v, _ = value_matrix(model, head)
    q, k, v = (_reading(norm, w) for w in (w_q, w_k, w_v))
    r_q, r_k, r_v = (_triangle(x) for x in (q, k, v))
    w_o = head_matrix(model, head.layer)[head.index or 0]
    r_o = _triangle((w_o - w_o.mean(-1, keepdim=True)).T)
    found = torch.zeros(3, head.layer, n_head, dtype=torch.float64)
    for layer in range(head.layer):
        r_read, out = _earlier(model, layer)
        written = (r_read @ _triangle(out.transpose(1, 2)).transpose(1, 2)).norm(dim=(1, 2))  # |OV|: [head]
        for row, (into, other) in enumerate(((q, r_k), (k, r_q), (v, r_o))):
            met = (r_read @ (out @ into) @ other.T).norm(dim=(1, 2))
            size = (r_v @ r_o.T if row == 2 else r_q @ r_k.T).norm()
            found[row, layer] = torch.nan_to_num(met / (written * size)).cpu().double()  # a head of zeros: 0
    query, key, value = found.numpy()
    chance = 1 / math.sqrt(model.config.d_model - 1)  # centring takes one direction
    return Composition(query, key, value, chance)


def _earlier(model: GPT2, layer: int) -> tuple[Tensor, Tensor]:
    """Of a layer's heads, the triangle of W_V [head, d_head, d_head] and centred W_O [head, d_head, d_model]."""
    heads = [Component(Kind.HEAD, layer, index) for index in range(model.config.n_head)]
    w_v = torch.stack([value_matrix(model, head)[0] for head in heads])
    w_o = head_matrix(model, layer)
    return _triangle(_reading(model.blocks[layer].ln_1, w_v)), w_o - w_o.mean(-1, keepdim=True)


def _triangle(x: Tensor) -> Tensor:
    """R of x = QR, which stands for x in Frobenius norms: [..., d_model, d_head] -> [..., d_head, d_head]."""
    return torch.linalg.qr(x, mode="r").R
