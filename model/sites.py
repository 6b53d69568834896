"""The named places of the forward pass, and the one seam through which everything watches or edits it.

A hook is an argument of the run: `hook(site, layer, x) -> x`.  Recording returns what it was given, an
intervention returns something else, interrupting raises.  Nothing is registered on the model, so nothing
leaks from one run into the next.
"""

from collections.abc import Callable
from enum import Enum

from torch import Tensor


class Site(Enum):
    """A named place in the forward pass; `shape` says which axes its tensor has.

    Sites outside the layers (`embed`, `pos_embed`, `ln_final_*`, `logits`) are called with layer 0.
    """

    EMBED = "embed", "[batch, pos, d_model]"
    POS_EMBED = "pos_embed", "[batch, pos, d_model]"

    RESID_PRE = "resid_pre", "[batch, pos, d_model]"
    LN1_SCALE = "ln1_scale", "[batch, pos, 1]"
    LN1_NORMALIZED = "ln1_normalized", "[batch, pos, d_model]"
    Q = "q", "[batch, head, pos, d_head]"
    K = "k", "[batch, head, pos, d_head]"
    V = "v", "[batch, head, pos, d_head]"
    SCORES = "scores", "[batch, head, query, key]"
    PATTERN = "pattern", "[batch, head, query, key]"
    Z = "z", "[batch, head, pos, d_head]"
    ATTN_BIAS = "attn_bias", "[batch, pos, d_model]"
    ATTN_OUT = "attn_out", "[batch, pos, d_model]"

    RESID_MID = "resid_mid", "[batch, pos, d_model]"
    LN2_SCALE = "ln2_scale", "[batch, pos, 1]"
    LN2_NORMALIZED = "ln2_normalized", "[batch, pos, d_model]"
    MLP_PRE = "mlp_pre", "[batch, pos, d_mlp]"
    MLP_POST = "mlp_post", "[batch, pos, d_mlp]"
    MLP_BIAS = "mlp_bias", "[batch, pos, d_model]"
    MLP_OUT = "mlp_out", "[batch, pos, d_model]"
    RESID_POST = "resid_post", "[batch, pos, d_model]"

    LN_FINAL_SCALE = "ln_final_scale", "[batch, pos, 1]"
    LN_FINAL_NORMALIZED = "ln_final_normalized", "[batch, pos, d_model]"
    LN_FINAL_BIAS = "ln_final_bias", "[batch, pos, d_model]"
    LN_FINAL = "ln_final", "[batch, pos, d_model]"
    LOGITS = "logits", "[batch, pos, vocab]"

    def __init__(self, text: str, shape: str) -> None:
        self.text = text
        self.shape = shape

    def __str__(self) -> str:
        return self.text


Hook = Callable[[Site, int, Tensor], Tensor]
Where = tuple[Site, int]
"A site and its layer."


def no_hook(site: Site, layer: int, x: Tensor) -> Tensor:
    """Watch nothing, change nothing."""
    return x


def compose(*hooks: Hook) -> Hook:
    """One hook that hands each tensor to `hooks` in order, so a later one sees what an earlier one returned."""

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        for each in hooks:
            x = each(site, layer, x)
        return x

    return hook
