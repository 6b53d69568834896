"""What a run of the reference keeps, where, and where its edits may take values from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Ablate, Change, Freeze, Patch, Steer
from model.reference.dictionaries import PlainDictionary
from model.reference.splices import Parts, Place

LATENTS = "latents"
"""The name that the latents of a dictionary have among places; no run keeps them there."""

NUMBERED = ("post", LATENTS)
"""Places whose last axis has parts."""

HEADS_FIRST = ("q", "k", "v", "scores", "pattern", "z")
"""Places whose positions come after heads."""

PLACES = {
    Kind.EMBED: "resid_pre",
    Kind.TOKEN_EMBED: "embed",
    Kind.POS_EMBED: "positions",
    Kind.ATTN: "attn_out",
    Kind.HEAD: "z",
    Kind.MLP: "mlp_out",
    Kind.NEURON: "post",
    Kind.ATTN_BIAS: "attn_bias",
    Kind.MLP_BIAS: "mlp_bias",
    Kind.FINAL_BIAS: "final_bias",
    Kind.RESID_PRE: "resid_pre",
    Kind.RESID_MID: "resid_mid",
    Kind.RESID_POST: "resid_post",
    Kind.Q: "q",
    Kind.K: "k",
    Kind.V: "v",
    Kind.PATTERN: "pattern",
    Kind.LN1_SCALE: "ln1_scale",
    Kind.LN2_SCALE: "ln2_scale",
    Kind.LN_FINAL_SCALE: "ln_final_scale",
}
"""Where an edit of a component is made; of a head's pair it is at its pattern, or at its score where it is cut."""

Known = Ablate | Patch | Freeze | Steer
"""Changes that are known here."""

Handed = tuple[frozenset[int], Tensor]
"""At which tokens a reader does not read the stream, and its input: [pos, width]."""

Edit = Callable[[str, int, Tensor], Tensor]
"""(place's name, layer, value) -> the value to go on with."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """What one run did."""

    tokens: tuple[int, ...]
    changes: tuple[Change, ...]
    stream: tuple[Tensor, ...]
    "The residual stream after each line (E, A0, M0, ...): [pos, d_model]."
    values: Mapping[Place, Tensor]
    """After any edit; heads first: q, k, v, z [head, pos, d_head], scores and pattern [head, query, key]; others
    [pos, ...]."""

    handed: Mapping[Component, Handed] = field(default_factory=lambda: MappingProxyType({}))
    "What paths have given their receivers to read."
    dictionaries: Mapping[Place, PlainDictionary] = field(default_factory=lambda: MappingProxyType({}))
    "Through which it can be read, by the place that each takes apart."
    parts: dict[Place, Parts] = field(default_factory=dict[Place, Parts])
    "What they make of it: edits of them made, and what has been looked at."
    made: Edit = lambda name, layer, x: x
    "The edits of places."
    met: Mapping[Component, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    "The streams of readers with edited edges: [pos, d_model]."

    def __getitem__(self, place: Place) -> Tensor:
        return self.values[place]

    def stream_of(self, line: int, reader: Component | None) -> Tensor:
        """What is read before a line, by a reader that may meet a stream of its own: [pos, d_model]."""
        shared = self.stream[line - 1]
        return shared if reader is None else self.met.get(reader, shared)

    def scale_of(self, line: int, pos: int) -> Callable[[Tensor], Tensor]:
        """What edits make of a scale of the norm before a line at a token: [1] -> [1]."""
        place = f"ln{1 if line % 2 else 2}_scale", (line - 1) // 2
        if line == len(self.stream):
            place = "ln_final_scale", 0
        return lambda scale: self.made(*place, scale.expand(len(self.tokens), 1))[pos]


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Where edits take values from."""

    other: Pass | None = None
    "Prompt B's run."
    base: Pass | None = None
    "The same prompt's without any edit."
    means: tuple[Pass, ...] = ()
    "Runs that means are taken over, and that resampling draws from."
    places: tuple[tuple[int, ...], ...] = ()
    "Of each of those runs: the counterpart of every token of the prompt, -1 where it has none."
    pooled: bool = False
    "Whether one mean over all of their tokens serves every token."
    skip: int = 0
    "Tokens at the front that no mean over tokens counts."
    examples: Mapping[int, Pass] = field(default_factory=lambda: MappingProxyType({}))
    "Runs of a prompt set's examples, by number."
    dictionaries: Mapping[Place, PlainDictionary] = field(default_factory=lambda: MappingProxyType({}))
    "Those that are loaded, by the place that each takes apart."


NOTHING = Given()
"""For edits that take no values from elsewhere."""
