"""What comes after an edit, run for many edits at once and only as far as something is read.

An edit that only adds to the residual stream after a line leaves all earlier tokens and lines as they were.  So
each joins a batch after its own line, with the tokens from its own on; keys and values of earlier tokens come from
the recorded run, and of the last attention only the tokens that are read ask.  Tokens of all edits go through
the weights together, and are apart, by where they begin, in attention alone.  Nobody watches inside, so lines
are run without their sites: `attend` and `think` must agree with `Block`'s to rounding.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from model.gpt2 import GPT2, Attention, Block, LayerNorm, wide
from model.lines import handed_on
from model.sites import Hook, Site, compose
from model.trace import Trace

ROWS = 1024
"Tokens in a batch: enough to keep a matrix product busy, few enough to be cancelled soon."

Parts = Mapping[int, Tensor]
"""First token -> the residual streams that begin there: [batch, pos, d_model]."""


@dataclass(frozen=True, slots=True)
class Push:
    """Where something is added to the residual stream."""

    number: int
    line: int
    "After which line (numbered E = 0, A0 = 1, M0 = 2, ..., U)."
    first: int
    "From which token on."


@dataclass(frozen=True, slots=True)
class Goal:
    """What the replay is for."""

    line: int
    "The line that reads."
    positions: tuple[int, ...]
    "The tokens at which it reads."

    @property
    def stop(self) -> int:
        """The token after the last one that is read."""
        return max(self.positions) + 1

    def is_too_late(self, line: int, first: int) -> bool:
        """Whether what is added after a line, from a token on, is not read."""
        return line >= self.line or first >= self.stop

    def begin(self, line: int, first: int) -> int:
        """The first token that matters after a line: `first`, and after the last attention the first that is read."""
        return min(pos for pos in self.positions if pos >= first) if self.is_apart(line) else first

    def is_apart(self, line: int) -> bool:
        """Whether no token reads another after a line: no attention is left to come."""
        return line >= (self.line - 1 if self.line % 2 == 0 else self.line - 2)


Start = tuple[Push, Tensor]
"A push, and what it adds from its first token on: [pos, d_model]."


def batches(starts: Iterable[Start], goal: Goal) -> Iterator[list[Start]]:
    """Neighbours together, at most ROWS tokens."""
    batch: list[Start] = []
    rows = 0
    for start in starts:
        rows += goal.stop - start[0].first
        if batch and rows > ROWS:
            yield batch
            batch, rows = [], goal.stop - start[0].first
        batch.append(start)
    if batch:
        yield batch


def carried(
    model: GPT2,
    trace: Trace,
    goal: Goal,
    starts: Sequence[Start],
    also: Hook,
    edits: Hook | None = None,
) -> Tensor:
    """What the goal's line reads after each start: [batch, read, d_model].

    `starts` are in the order of their lines.  `also` is called before every line and may raise to stop.  `edits` are
    to be made again on the way: they need every site and every token, all pushes beginning at 0.
    """
    stop = goal.stop if edits is None else len(trace.tokens)
    live: dict[int, Tensor] = {}
    order: dict[int, list[int]] = {}

    def begin(line: int, first: int) -> int:
        return goal.begin(line, first) if edits is None else 0

    for line in range(starts[0][0].line, goal.line):
        if live:
            live = _line(model, trace, line, live, partial(begin, line), also, edits)
        joining: dict[int, list[int]] = {}
        for at, (push, _) in enumerate(starts):
            if push.line == line:
                joining.setdefault(push.first, []).append(at)
        for first, rows in joining.items():
            since = begin(line, first)
            added = torch.stack([starts[at][1][since - first : stop - first] for at in rows])
            new = after_line(trace, line)[since:stop] + added
            live[first] = torch.cat([live[first], new]) if first in live else new
            order.setdefault(first, []).extend(rows)
    kept = after_line(trace, goal.line - 1)
    read = [_read(goal, first, x, begin(goal.line - 1, first), kept) for first, x in live.items()]
    back = torch.tensor([at for first in live for at in order[first]]).argsort()
    return torch.cat(read)[back]


def after_line(trace: Trace, line: int) -> Tensor:
    """The recorded residual stream after a line, as the next one reads it: [pos, d_model]."""
    if line % 2:
        return trace[Site.RESID_MID, line // 2]
    entering = Site.RESID_PRE, line // 2
    return trace[entering if entering in trace.acts else (Site.RESID_POST, line // 2 - 1)]


def _read(goal: Goal, first: int, x: Tensor, begin: int, kept: Tensor) -> Tensor:
    """The streams at the tokens that are read, those before the push as they were: [batch, read, d_model]."""
    rows = [x[:, pos - begin] if pos >= first else kept[pos].expand(len(x), -1) for pos in goal.positions]
    return torch.stack(rows, 1)


def _line(
    model: GPT2,
    trace: Trace,
    line: int,
    live: Parts,
    begin: Callable[[int], int],
    also: Hook,
    edits: Hook | None,
) -> dict[int, Tensor]:
    """One line for all parts, which then have the tokens from `begin(first)` on."""
    layer = (line - 1) // 2
    block = model.blocks[layer]
    if edits is not None:
        hook = compose(also, edits)
        run, n_layer = block.attend if line % 2 else block.think, model.config.n_layer
        return {first: handed_on(line, n_layer, run(x, layer, hook), hook) for first, x in live.items()}
    for x in live.values():
        also(Site.RESID_PRE if line % 2 else Site.RESID_MID, layer, x)
    if line % 2 == 0:
        return think(block, live)
    return attend(block, live, trace[Site.K, layer], trace[Site.V, layer], begin)


def attend(
    block: Block, parts: Parts, k: Tensor, v: Tensor, begin: Callable[[int], int]
) -> dict[int, Tensor]:
    """Residual streams with attention's output added, for the tokens from `begin(first)` on.

    k and v are the recorded run's, [head, pos, d_head], of which a part takes the tokens before its first.
    """
    attn = block.attn
    together = attn.c_attn(_normed(block.ln_1, _rows(parts)))  # [row, 3 x d_model]
    asking = {first: x[:, begin(first) - first :] for first, x in parts.items()}
    z = {
        first: _attention(attn, own, (k[:, :first], v[:, :first]), begin(first) - first)
        for first, own in _apart(together, parts).items()
    }
    written = _apart(attn.c_proj(_rows(z)), asking)
    return {first: x + written[first] for first, x in asking.items()}


def _attention(attn: Attention, projected: Tensor, past: tuple[Tensor, Tensor], begin: int) -> Tensor:
    """z of one part, for its tokens from the `begin`-th on: [batch, pos, 3 x d_model] -> [batch, pos, d_model]."""
    batch, length, _ = projected.shape
    q, k, v = projected.view(batch, length, 3, attn.n_head, attn.d_head).permute(2, 0, 3, 1, 4)
    q = q[:, :, begin:]
    seen = torch.ones(length - begin, length, dtype=torch.bool, device=q.device).tril(begin)
    if past[0].shape[1]:
        z = _with_past(q, k, v, past, seen)
    else:
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return z.transpose(1, 2).reshape(batch, length - begin, -1)


def _with_past(q: Tensor, k: Tensor, v: Tensor, past: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
    """z where earlier tokens are shared by the batch, and copied for none of it: [batch, head, pos, d_head]."""
    batch, n_head, length, d_head = q.shape
    old_k, old_v = past
    before = old_k.shape[1]

    def shared(each: Tensor, with_: Tensor) -> Tensor:
        flat = each.transpose(0, 1).reshape(n_head, batch * length, -1)
        return (flat @ with_).view(n_head, batch, length, -1).transpose(0, 1)

    own = (q @ k.transpose(2, 3)).masked_fill(~seen, -math.inf)
    scores = torch.cat([shared(q, old_k.transpose(1, 2)), own], -1) / math.sqrt(d_head)
    pattern = wide(scores).softmax(-1).to(q.dtype)
    return shared(pattern[..., :before], old_v) + pattern[..., before:] @ v


def think(block: Block, parts: Parts) -> dict[int, Tensor]:
    """Residual streams with the MLP's output added."""
    mlp, rows = block.mlp, _rows(parts)
    return _apart(rows + mlp.c_proj(F.gelu(mlp.c_fc(_normed(block.ln_2, rows)), approximate="tanh")), parts)


def _normed(norm: LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)


def _rows(parts: Parts) -> Tensor:
    """Every token of every part: [row, d_model]."""
    return torch.cat([x.flatten(0, 1) for x in parts.values()])


def _apart(rows: Tensor, parts: Parts) -> dict[int, Tensor]:
    """Rows as the parts that they came from: [batch, pos, ...]."""
    split = rows.split([len(x) * x.shape[1] for x in parts.values()])
    return {first: each.view(*x.shape[:2], -1) for (first, x), each in zip(parts.items(), split, strict=True)}
