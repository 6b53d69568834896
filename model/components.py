"""Parts of the model and their addresses: `L9H9`, `A9`, `M9`, `N10.1307`, `Fm8.2231`, `E`, `U`, `BA9`, `BM9`, `BU`.

Places between the parts have addresses too: the residual stream (`resid_pre.9`), what a head computes before its
output (`L9H9.q`, `.k`, `.v`, `.pattern`; `L9.pattern` is that of every head), layer norms' scales (`ln1_scale.9`).

An address holds no data.  A `Component` is the same in every run; a `Node` is a component at one token of
one run, and a head's node may name the token that it reads.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a component is; `group` is the word that tables and JSON use for it."""

    EMBED = "E", "embed"
    TOKEN_EMBED = "WTE", "embed"
    POS_EMBED = "WPE", "embed"
    ATTN = "A", "attn"
    HEAD = "H", "head"
    MLP = "M", "mlp"
    NEURON = "N", "neuron"
    LATENT = "F", "latent"
    ERROR = "X", "error"
    "What a dictionary's latents and its bias leave of what it encodes."
    ATTN_BIAS = "BA", "bias"
    MLP_BIAS = "BM", "bias"
    FINAL_BIAS = "BU", "bias"
    SAE_BIAS = "BF", "bias"
    "What a dictionary puts out beside its latents."
    TARGET_BIAS = "BT", "bias"
    "What a traced scalar adds of its own: its layer norm's bias, its constant.  Only a row, never an address."
    UNEMBED = "U", "unembed"
    RESID_PRE = "resid_pre", "resid"
    "The residual stream that enters a layer; `resid_mid` leaves its attention, `resid_post` its MLP."
    RESID_MID = "resid_mid", "resid"
    RESID_POST = "resid_post", "resid"
    Q = "q", "q"
    K = "k", "k"
    V = "v", "v"
    PATTERN = "pattern", "pattern"
    "Attention weights, after the softmax."
    LN1_SCALE = "ln1_scale", "ln"
    "What a layer norm divides by: before attention, before the MLP, before the unembedding."
    LN2_SCALE = "ln2_scale", "ln"
    LN_FINAL_SCALE = "ln_final_scale", "ln"

    def __init__(self, letters: str, group: str) -> None:
        self.letters = letters
        self.group = group

    @property
    def has_layer(self) -> bool:
        return self not in WHOLE_MODEL

    @property
    def has_heads(self) -> bool:
        """Whether each head has its own."""
        return self is Kind.HEAD or self in INSIDE_HEADS

    @property
    def writes(self) -> bool:
        """Whether it adds a vector to the residual stream, or to the final norm's output; other places are read."""
        return self.group not in ("resid", "q", "k", "v", "pattern", "ln", "unembed")


WHOLE_MODEL = (
    Kind.EMBED,
    Kind.TOKEN_EMBED,
    Kind.POS_EMBED,
    Kind.FINAL_BIAS,
    Kind.TARGET_BIAS,
    Kind.UNEMBED,
    Kind.LN_FINAL_SCALE,
)
INSIDE_HEADS = (Kind.Q, Kind.K, Kind.V, Kind.PATTERN)
"What a head computes on the way to its output; of a whole layer where there is no index."
RESIDUAL = (Kind.RESID_PRE, Kind.RESID_MID, Kind.RESID_POST)
DICTIONARY = (Kind.LATENT, Kind.ERROR, Kind.SAE_BIAS)
"Parts of a dictionary; each belongs to one, and says so by its site."
DICTIONARY_SITES = {
    "m": "mlp_out",
    "p": "mlp_post",
    "a": "attn_out",
    "z": "z",
    "r": "resid_pre",
    "i": "resid_mid",
    "o": "resid_post",
}
"The letter of a dictionary, and the site that it takes apart."
SCALES = (Kind.LN1_SCALE, Kind.LN2_SCALE, Kind.LN_FINAL_SCALE)


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the model; `str` gives its one canonical spelling.

    L9H9        N10.1307         Fm8.2231          BA9          E            resid_pre.9    L9H9.q
    | |         |  |             ||| |             | |          |            |         |
    | index     |  index         ||| index         | layer      no layer,    |         layer
    layer       layer            ||layer           bias         no index     residual stream before the layer
                                 |which dictionary
                                 latent
    """

    kind: Kind
    layer: int = 0
    index: int | None = None
    site: str = ""
    "Which dictionary of the layer a latent, an error term or a dictionary's bias belongs to: see DICTIONARY_SITES."

    def __str__(self) -> str:
        match self.kind:
            case Kind.HEAD:
                return f"L{self.layer}H{self.index}"
            case Kind.NEURON | Kind.LATENT:
                number = "" if self.index is None else f".{self.index}"  # none: every latent of a dictionary
                return f"{self.kind.letters}{self.site}{self.layer}{number}"
            case kind if kind in INSIDE_HEADS:
                head = "" if self.index is None else f"H{self.index}"
                return f"L{self.layer}{head}.{kind.letters}"
            case kind if kind.has_layer and (kind in RESIDUAL or kind in SCALES):
                return f"{kind.letters}.{self.layer}"
            case _ if self.kind.has_layer:
                return f"{self.kind.letters}{self.site}{self.layer}"
            case _:
                return self.kind.letters

    @property
    def line(self) -> int | None:
        """After which line an edit of it is first in the residual stream (E 0, A0 1, M0 2, ...); None where never.

        What is only read counts as the sub-layer that reads it.
        """
        match self.kind:
            case Kind.EMBED | Kind.TOKEN_EMBED | Kind.POS_EMBED:
                return 0
            case Kind.RESID_PRE:
                return 2 * self.layer
            case Kind.HEAD | Kind.ATTN | Kind.ATTN_BIAS | Kind.RESID_MID | Kind.LN1_SCALE:
                return 1 + 2 * self.layer
            case kind if kind in DICTIONARY:
                return 2 * self.layer + {"r": 0, "a": 1, "z": 1, "i": 1}.get(self.site, 2)
            case kind if kind in INSIDE_HEADS:
                return 1 + 2 * self.layer
            case kind if kind.has_layer:
                return 2 + 2 * self.layer
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Node:
    """A component at token `pos`; for a head, `key` is the token it reads from (`L9H9@14<2`), None the whole row."""

    component: Component
    pos: int
    key: int | None = None

    def __str__(self) -> str:
        return f"{self.component}@{self.pos}" + ("" if self.key is None else f"<{self.key}")
