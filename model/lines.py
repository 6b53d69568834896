"""What a line of the pass reads: lines are numbered `E` = 0, `A0` = 1, `M0` = 2, ..., `U`, as they are executed."""

from collections.abc import Callable

from torch import Tensor

from model.components import Component
from model.gpt2 import GPT2, LayerNorm, wide
from model.sites import Hook, Site


def last_line(n_layer: int) -> int:
    """The unembedding's line."""
    return 2 * n_layer + 1


def written_on(part: Component) -> int:
    """The line on which a component writes: embeddings 0, attention of layer l 1 + 2l, its MLP 2 + 2l.

    A place that is only read counts as the sub-layer that reads it, the stream before a layer as the line before.
    """
    return 2 + 2 * part.layer if part.line is None else part.line


def norm_before(model: GPT2, line: int) -> LayerNorm:
    """The layer norm through which a line reads the residual stream."""
    if line == last_line(model.config.n_layer):
        return model.ln_f
    block = model.blocks[(line - 1) // 2]
    return block.ln_1 if line % 2 else block.ln_2


def residual_site(line: int, n_layer: int) -> tuple[Site, int]:
    """Where the residual stream that a line reads is recorded."""
    if line == last_line(n_layer):
        return Site.RESID_POST, n_layer - 1
    return (Site.RESID_PRE if line % 2 else Site.RESID_MID), (line - 1) // 2


def handed_on(line: int, n_layer: int, resid: Tensor, hook: Hook) -> Tensor:
    """What becomes of a line's stream before the next line reads it: edits of `resid_mid`, or of `resid_pre` after.

    `resid_post` belongs to its line.
    """
    layer = (line - 1) // 2
    if line % 2:
        return hook(Site.RESID_MID, layer, resid)
    return hook(Site.RESID_PRE, layer + 1, resid) if layer + 1 < n_layer else resid


def scale_site(line: int, n_layer: int) -> tuple[Site, int]:
    """Where the scale of the layer norm before a line is recorded."""
    if line == last_line(n_layer):
        return Site.LN_FINAL_SCALE, 0
    return (Site.LN1_SCALE if line % 2 else Site.LN2_SCALE), (line - 1) // 2


def normed(
    norm: LayerNorm,
    resid: Tensor,
    bias: Tensor,
    *,
    live: bool = True,
    edited: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """A layer norm's output with a bias of its own or of a run: [..., read, d_model] -> the same.

    Its scale can be taken for a constant; `edited` is what edits make of scales, [..., read, 1].
    """
    x = wide(resid)
    scale = norm.scale(x) if live else norm.scale(x).detach()
    scale = scale if edited is None else edited(scale)
    return (x - x.mean(-1, keepdim=True)) / scale * wide(norm.weight) + wide(bias)
