"""GPT-2 a second time, in float64 from the tensors of a checkpoint, to check the first.

Shares no computation with `gpt2.py`: one head after the other, its own layer norm, softmax and nonlinearity, no hook
but for edits, no batch.  Slow and plain on purpose.  Only the values that say what was asked (`Change`, `Component`,
`Metric`) are the same.

Radford et al. 2019; the tensors' names and layouts are those of the published checkpoints.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Change, Compound, flat
from model.files import read_json, read_tensors
from model.reference.edits import edits
from model.reference.passes import NOTHING, Edit, Given, Handed, Pass
from model.reference.splices import Parts, Place
from model.reference.told import apart
from model.reference.wiring import Reads, Scales, given_by

KEPT_BYTES = 4 << 30
"""Weights kept in the dtype of the pass; those beyond are converted each time."""

Tick = Callable[[], None]
"""Called before every sub-layer; may raise to stop."""


def no_tick() -> None:
    """Never stop."""


@dataclass(eq=False)
class PlainGPT2:
    """The weights, and the pass over them; `dtype` is float64 but for measuring what rounding does."""

    tensors: Mapping[str, Tensor]
    n_layer: int
    n_head: int
    eps: float
    dtype: torch.dtype = torch.float64
    _kept: dict[str, Tensor] = field(default_factory=dict)
    _bytes: int = 0

    def weight(self, name: str) -> Tensor:
        """A tensor of the checkpoint in the dtype of the pass."""
        if name in self._kept:
            return self._kept[name]
        converted = self.tensors[name].detach().to(self.dtype)
        if self._bytes + converted.nbytes <= KEPT_BYTES:
            self._kept[name] = converted
            self._bytes += converted.nbytes
        return converted

    @property
    def parameters(self) -> int:
        """How many numbers the checkpoint has."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def unembedding(self) -> Tensor:
        """[vocab, d_model]; the embedding where the checkpoint has no other."""
        return self.weight("lm_head.weight" if "lm_head.weight" in self.tensors else "wte.weight")

    @property
    def last(self) -> int:
        """The number of lines that write: embedding, attentions, MLPs; also the line that unembeds."""
        return 2 * self.n_layer + 1

    def run(
        self,
        tokens: Sequence[int],
        changes: Sequence[Change | Compound] = (),
        given: Given = NOTHING,
        tick: Tick = no_tick,
        handed: Mapping[Component, Handed] | None = None,
        scales: Scales | None = None,
    ) -> Pass:
        """A whole pass with the edits made; `handed` is what paths give to read, where it is known.

        `scales` are another run's, which norms of sub-layers then divide by.

        Raises ValueError for an edit that is unknown here.
        """
        single, edges, paths = apart(flat(changes))
        values: dict[Place, Tensor] = {}
        spliced: dict[Place, Parts] = {}
        made = edits(single, given, values, spliced)
        reads = Reads(self, values, made, edges, given, scales=scales)
        if handed is not None:
            reads = replace(reads, given=handed)
        elif paths:
            before = self.run(tokens, (*single, *edges), given, tick)
            reads = replace(reads, given=given_by(before, replace(reads, values=before.values), paths))

        def edit(name: str, layer: int, x: Tensor) -> Tensor:
            held = None if scales is None else scales.shared(name, layer)
            values[name, layer] = made(name, layer, x) if held is None else held
            return values[name, layer]

        with torch.no_grad():
            ids = torch.tensor(list(tokens))
            token = edit("embed", 0, self.weight("wte.weight")[ids])
            stream = [
                edit("resid_pre", 0, token + edit("positions", 0, self.weight("wpe.weight")[: len(ids)]))
            ]
            for line in range(1, self.last):
                tick()
                stream.append(self.step(line, stream[-1], edit, reads=reads))
            stream[-1] = values["resid_post", self.n_layer - 1] = reads.met(
                Component(Kind.UNEMBED), stream[-1]
            )
            edit("final_bias", 0, self.weight("ln_f.bias").repeat(len(ids), 1))
            edit("ln_final_scale", 0, self.scale(at_least_float32(stream[-1])))
        done = tuple(tokens), flat(changes), tuple(stream), values, reads.given
        return Pass(*done, given.dictionaries, spliced, made, reads.streams)

    def step(
        self, line: int, x: Tensor, edit: Edit, held: bool = False, reads: Reads | None = None
    ) -> Tensor:
        """The residual stream after a line that is no embedding; `held` takes the norm's scale for a constant.

        `reads` knows the inputs of readers that do not all read the same stream.
        """
        layer = (line - 1) // 2
        if line % 2:
            return edit("resid_mid", layer, x + self.attention(layer, x, edit, held, reads))
        after = edit("resid_post", layer, x + self.mlp(layer, x, edit, held, reads))
        return edit("resid_pre", layer + 1, after) if layer + 1 < self.n_layer else after

    def attention(self, layer: int, x: Tensor, edit: Edit, held: bool, reads: Reads | None = None) -> Tensor:
        seen = self.norm(f"h.{layer}.ln_1", x, held, lambda scale: edit("ln1_scale", layer, scale))
        q, k, v = (
            edit(
                n, layer, torch.stack([self.head_input(layer, h, n, seen, reads) for h in range(self.n_head)])
            )
            for n in "qkv"
        )
        visible = torch.ones(len(x), len(x), dtype=torch.bool).tril()
        scores = edit("scores", layer, torch.einsum("hqd,hkd->hqk", q, k) / math.sqrt(q.shape[-1]))
        rows: list[Tensor] = []
        for each in scores:
            score = torch.where(visible, at_least_float32(each), -math.inf)
            rows.append(torch.exp(score - torch.logsumexp(score, 1, keepdim=True)).to(self.dtype))
        pattern = edit("pattern", layer, torch.stack(rows))
        z = edit("z", layer, torch.einsum("hqk,hkd->hqd", pattern, v))
        out = edit("attn_bias", layer, self.weight(f"h.{layer}.attn.c_proj.bias").repeat(len(x), 1))
        for head in range(self.n_head):
            out = out + z[head] @ self.output(layer, head)
        return edit("attn_out", layer, out)

    def head_input(self, layer: int, head: int, letter: str, seen: Tensor, reads: Reads | None) -> Tensor:
        """A head's query, key or value from what the layer's norm gives, or from what it alone meets."""
        read = self.project(layer, head, letter, seen)
        return read if reads is None else reads.met(Component(Kind[letter.upper()], layer, head), read)

    def mlp(self, layer: int, x: Tensor, edit: Edit, held: bool, reads: Reads | None = None) -> Tensor:
        name = f"h.{layer}.mlp"
        seen = self.norm(f"h.{layer}.ln_2", x, held, lambda scale: edit("ln2_scale", layer, scale))
        read = seen @ self.weight(f"{name}.c_fc.weight") + self.weight(f"{name}.c_fc.bias")
        read = read if reads is None else reads.met(Component(Kind.MLP, layer), read)
        pre = edit("pre", layer, read)
        post = edit("post", layer, gelu(pre))
        bias = edit("mlp_bias", layer, self.weight(f"{name}.c_proj.bias").repeat(len(x), 1))
        return edit(
            "mlp_out", layer, torch.einsum("pn,nm->pm", post, self.weight(f"{name}.c_proj.weight")) + bias
        )

    def bent(self, pre: Tensor) -> Tensor:
        """Neurons before the nonlinearity -> after it."""
        return gelu(pre)

    def norm(
        self, name: str, x: Tensor, held: bool = False, edit: Callable[[Tensor], Tensor] = lambda scale: scale
    ) -> Tensor:
        """Layer norm with weight and bias, its scale edited: [..., d_model]."""
        wide = at_least_float32(x)
        scale = edit(self.scale(wide).detach() if held else self.scale(wide))
        seen = (wide - wide.mean(-1, keepdim=True)) / scale
        return seen.to(self.dtype) * self.weight(f"{name}.weight") + self.weight(f"{name}.bias")

    def scale(self, x: Tensor) -> Tensor:
        """sqrt(mean of squares - square of mean, taken around the mean, + eps): [..., 1]."""
        off = x - x.mean(-1, keepdim=True)
        return torch.sqrt((off * off).mean(-1, keepdim=True) + self.eps)

    def columns(self, layer: int, head: int, which: str) -> tuple[Tensor, Tensor]:
        """A head's W_Q, W_K or W_V [d_model, d_head] and its bias [d_head]."""
        name = f"h.{layer}.attn.c_attn"
        width = self.tensors[f"{name}.weight"].shape[1] // 3
        part = slice(*(("qkv".index(which) * width + n * width // self.n_head) for n in (head, head + 1)))
        return self.weight(f"{name}.weight")[:, part], self.weight(f"{name}.bias")[part]

    def project(self, layer: int, head: int, which: str, seen: Tensor) -> Tensor:
        """A head's query, key or value: [pos, d_model] -> [pos, d_head]."""
        weight, bias = self.columns(layer, head, which)
        return seen @ weight + bias

    def output(self, layer: int, head: int) -> Tensor:
        """A head's W_O: [d_head, d_model]."""
        weight = self.weight(f"h.{layer}.attn.c_proj.weight")
        width = len(weight) // self.n_head
        return weight[head * width : (head + 1) * width]

    def final(self, run: Pass, x: Tensor, pos: int) -> Tensor:
        """The final norm of any residual at token `pos`, with that run's final bias: [..., d_model]."""
        unbiased = self.norm("ln_f", x, edit=run.scale_of(self.last, pos)) - self.weight("ln_f.bias")
        return unbiased + run["final_bias", 0][pos]

    def logits(self, run: Pass, pos: int) -> Tensor:
        """[vocab]"""
        return self.unembedding @ self.final(run, run.stream[-1][pos], pos)


def read_plain(directory: Path) -> PlainGPT2:
    """The reference of a checkpoint directory, nothing taken from a loaded model.  Raises CheckpointError."""
    settings = read_json(directory / "config.json")
    eps = float(settings.get("layer_norm_epsilon", 1e-5))
    return PlainGPT2(read_tensors(directory), int(settings["n_layer"]), int(settings["n_head"]), eps)


def at_least_float32(x: Tensor) -> Tensor:
    """What norms and softmax are computed in, as the pass that is checked says it does."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _inner(x: Tensor) -> Tensor:
    """What GPT-2's nonlinearity takes the tanh of."""
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def gelu(x: Tensor) -> Tensor:
    """x / 2 (1 + tanh u), as x sigmoid(2u)."""
    return x * torch.sigmoid(2 * _inner(x))


def gelu_slope(x: Tensor) -> Tensor:
    """d gelu / dx, by hand."""
    gate = torch.sigmoid(2 * _inner(x))
    return gate + x * gate * (1 - gate) * 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
