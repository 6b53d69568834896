"""GPT-2, written to be read, with the hook as an argument.

Parameter names and matrix layouts are those of the published checkpoints (`wte`, `h.0.attn.c_attn`, ...,
weights as `[in, out]`), so a memory-mapped file is used as it lies.  Weights stay raw: nothing is folded
or centred.  Must agree with `transformers.GPT2LMHeadModel`.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.sites import Hook, Site, no_hook


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a GPT-2; all that a checkpoint's `config.json` has to say about the computation."""

    n_layer: int
    n_head: int
    d_model: int
    d_mlp: int
    n_ctx: int
    n_vocab: int
    ln_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}")

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_head


def wide(x: Tensor) -> Tensor:
    """At least float32: means, roots and softmax lose too much in half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Projection(nn.Module):
    """x @ weight + bias, the weight lying as `[in, out]` (the checkpoints' `Conv1D`)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Centre, divide by the scale, then weight and bias; the scale and the normalised vector are sites."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_model))
        self.bias = nn.Parameter(torch.empty(d_model))
        self.eps = eps

    def scale(self, x: Tensor) -> Tensor:
        """sqrt(variance + eps), in at least float32: x [..., d_model] -> [..., 1]."""
        return (wide(x).var(-1, keepdim=True, unbiased=False) + self.eps).sqrt()

    def normalize(self, x: Tensor, layer: int, hook: Hook, scale: Site, normalized: Site) -> Tensor:
        """(x - mean) / scale, before weight and bias: [batch, pos, d_model]."""
        sigma = hook(scale, layer, self.scale(x))
        centred = wide(x) - wide(x).mean(-1, keepdim=True)
        return hook(normalized, layer, (centred / sigma).to(x.dtype))


Past = Callable[[int], tuple[Tensor, Tensor]]
"""layer -> keys and values of the tokens before those that are run: each [batch, head, pos, d_head]."""


def scores_of(q: Tensor, k: Tensor) -> Tensor:
    """Before the causal mask: q [..., query, d_head], k [..., key, d_head] -> [..., query, key]."""
    return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])


def pattern_of(scores: Tensor) -> Tensor:
    """Masked and through the softmax, the last query seeing every key: [..., query, key]."""
    queries, keys = scores.shape[-2:]
    ahead = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).triu(1 + keys - queries)
    return wide(scores).masked_fill(ahead, -math.inf).softmax(-1).to(scores.dtype)


def activated(pre: Tensor) -> Tensor:
    """GELU, in the form that GPT-2 has: the same shape."""
    return F.gelu(pre, approximate="tanh")


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_head, self.d_head = config.n_head, config.d_head
        self.c_attn = Projection(config.d_model, 3 * config.d_model)
        self.c_proj = Projection(config.d_model, config.d_model)

    def forward(self, x: Tensor, layer: int, hook: Hook, past: Past | None = None) -> Tensor:
        batch, pos, d_model = x.shape
        q, k, v = self.c_attn(x).view(batch, pos, 3, self.n_head, self.d_head).permute(2, 0, 3, 1, 4)
        q = hook(Site.Q, layer, q)  # [batch, head, pos, d_head]
        k = hook(Site.K, layer, k)
        v = hook(Site.V, layer, v)
        if past is not None:
            k, v = (
                torch.cat([old.expand(batch, -1, -1, -1), new], 2)
                for old, new in zip(past(layer), (k, v), strict=True)
            )
        # The hook sees the scores before the causal mask: finite everywhere, and no edit can look ahead.
        scores = hook(Site.SCORES, layer, scores_of(q, k))
        pattern = hook(Site.PATTERN, layer, pattern_of(scores))  # [batch, head, query, key]
        z = hook(Site.Z, layer, pattern @ v)  # [batch, head, pos, d_head]
        heads = z.transpose(1, 2).reshape(batch, pos, d_model) @ self.c_proj.weight
        bias = hook(Site.ATTN_BIAS, layer, self.c_proj.bias.expand(batch, pos, d_model))
        return hook(Site.ATTN_OUT, layer, heads + bias)


class MLP(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_fc = Projection(config.d_model, config.d_mlp)
        self.c_proj = Projection(config.d_mlp, config.d_model)

    def forward(self, x: Tensor, layer: int, hook: Hook) -> Tensor:
        pre = hook(Site.MLP_PRE, layer, self.c_fc(x))  # [batch, pos, d_mlp]
        post = hook(Site.MLP_POST, layer, activated(pre))
        bias = hook(Site.MLP_BIAS, layer, self.c_proj.bias.expand(x.shape))
        return hook(Site.MLP_OUT, layer, post @ self.c_proj.weight + bias)


class Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.d_model, config.ln_eps)
        self.attn = Attention(config)
        self.ln_2 = LayerNorm(config.d_model, config.ln_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, layer: int, hook: Hook, past: Past | None = None) -> Tensor:
        x = self.attend(hook(Site.RESID_PRE, layer, x), layer, hook, past)
        return self.think(hook(Site.RESID_MID, layer, x), layer, hook)

    def attend(self, x: Tensor, layer: int, hook: Hook = no_hook, past: Past | None = None) -> Tensor:
        """The residual stream with attention's output added: [batch, pos, d_model]."""
        seen = self.ln_1.normalize(x, layer, hook, Site.LN1_SCALE, Site.LN1_NORMALIZED)
        return x + self.attn(seen * self.ln_1.weight + self.ln_1.bias, layer, hook, past)

    def think(self, x: Tensor, layer: int, hook: Hook = no_hook) -> Tensor:
        """The residual stream with the MLP's output added: [batch, pos, d_model]."""
        seen = self.ln_2.normalize(x, layer, hook, Site.LN2_SCALE, Site.LN2_NORMALIZED)
        return hook(
            Site.RESID_POST, layer, x + self.mlp(seen * self.ln_2.weight + self.ln_2.bias, layer, hook)
        )


class GPT2(nn.Module):
    """The weights and the forward pass, in pieces that can be rerun from any layer."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.n_vocab, config.d_model)
        self.wpe = nn.Embedding(config.n_ctx, config.d_model)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(config.d_model, config.ln_eps)
        self.lm_head = nn.Linear(config.d_model, config.n_vocab, bias=False)
        self.lm_head.weight = self.wte.weight  # tied, unless a checkpoint brings its own

    @property
    def blocks(self) -> list[Block]:
        return list(self.h)  # pyright: ignore[reportReturnType]

    @property
    def unembedding(self) -> Tensor:
        """W_U, one row a token: [vocab, d_model]."""
        return self.lm_head.weight

    def forward(self, tokens: Tensor, hook: Hook = no_hook) -> Tensor:
        """tokens [batch, pos] -> logits [batch, pos, vocab]."""
        resid = self.layers(self.embed(tokens, hook), hook)
        return hook(Site.LOGITS, 0, self.unembed(self.final_norm(resid, hook)))

    def embed(self, tokens: Tensor, hook: Hook = no_hook) -> Tensor:
        """Token plus position embedding: tokens [batch, pos] -> [batch, pos, d_model]."""
        length = tokens.shape[1]
        if length > self.config.n_ctx:
            raise ValueError(f"{length} tokens are too many: this model's context is {self.config.n_ctx}")
        token = hook(Site.EMBED, 0, self.wte(tokens))
        return token + hook(Site.POS_EMBED, 0, self.wpe.weight[:length].expand_as(token))

    def layers(self, resid: Tensor, hook: Hook = no_hook, first: int = 0, stop: int | None = None) -> Tensor:
        """Layers `first` to before `stop`: the residual stream entering the one -> that leaving the other."""
        for layer, block in enumerate(self.blocks[first:stop], start=first):
            resid = block(resid, layer, hook)
        return resid

    def final_norm(self, resid: Tensor, hook: Hook = no_hook) -> Tensor:
        """The final layer norm, which the logits and every lens read: [batch, pos, d_model] -> the same."""
        seen = self.ln_f.normalize(resid, 0, hook, Site.LN_FINAL_SCALE, Site.LN_FINAL_NORMALIZED)
        bias = hook(Site.LN_FINAL_BIAS, 0, self.ln_f.bias.expand_as(seen))
        return hook(Site.LN_FINAL, 0, seen * self.ln_f.weight + bias)

    def unembed(self, normed: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits of `tokens` (all by default), from what `final_norm` returned: [..., d_model] -> [..., token].

        Slice positions before calling: the vocabulary is the largest matrix of the model.
        """
        rows = self.unembedding if tokens is None else self.unembedding[tokens]
        return normed @ rows.T
