"""One run whose nodes take other values, one at a time: what every estimator of such edits starts from.

Nodes are edited where `Ablate` and `Patch` edit them: heads at `z`, attention and MLP at their output with its
bias, neurons after the nonlinearity, the embedding at `resid_pre` of layer 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from model.components import Kind
from model.edits.interventions import Sources
from model.effects.attribution import Treatment
from model.effects.backward import Question, Rerun, rerun
from model.gpt2 import GPT2, wide
from model.nodes import KINDS, NONE, Floats, NodeTable
from model.sites import Hook, Site, no_hook
from model.trace import Trace

NODE_SITES = (Site.Z, Site.ATTN_OUT, Site.MLP_OUT, Site.MLP_POST)
"Where nodes are edited, the embedding apart."


class Direction(Enum):
    """Which of two runs is edited, and with whose values."""

    NOISING = "noising"
    "Prompt A's run takes B's values: gradient on A."
    DENOISING = "denoising"
    "Prompt B's run takes A's values: gradient on B."

    def pair(self, a: Trace, b: Trace) -> tuple[Trace, Trace]:
        """(the run that is edited, the run that values come from)."""
        return (a, b) if self is Direction.NOISING else (b, a)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """The run that is edited, where its nodes' other values come from, and what is asked of it.

    `Direction.pair` orders two prompts' runs.  Raises ValueError where the runs have different lengths.
    """

    model: GPT2
    edited: Trace
    other: Trace | None
    "None is zero."
    asked: Question
    sources: Sources = Sources()
    "Of the edits that the run has already."
    treatment: Treatment = Treatment.NONE
    "Which scales gradients hold; NONE, the default, is the exact first order of a measurement."
    also: Hook = no_hook
    "May raise to stop."

    def __post_init__(self) -> None:
        if self.other is not None and len(self.other.tokens) != len(self.edited.tokens):
            raise ValueError(
                f"one prompt has {len(self.edited.tokens)} tokens and the other {len(self.other.tokens)}: "
                "their activations can be exchanged token by token only where the lengths are equal"
            )

    def rerun(self) -> Rerun:
        """The edited run, ready to be differentiated."""
        return rerun(self.model, self.edited, self.asked, self.sources, self.treatment, also=self.also)

    def own(self, site: Site, layer: int) -> Tensor:
        return wide(self.edited[site, layer])

    def new(self, site: Site, layer: int) -> Tensor:
        """The values that are put in."""
        return (
            torch.zeros_like(self.own(site, layer)) if self.other is None else wide(self.other[site, layer])
        )

    def difference(self, site: Site, layer: int) -> Tensor:
        return self.new(site, layer) - self.own(site, layer)

    def part_way(self, site: Site, layer: int, fraction: float) -> Tensor:
        """`fraction` of the way from the own values to the new ones, in the run's precision."""
        between = torch.lerp(self.own(site, layer), self.new(site, layer), fraction)
        return between.to(self.edited[site, layer].dtype)

    def products(self, layer: int, by: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
        """(new - own) . gradient, summed over what a node's activation has as an axis of its own."""
        found: dict[Site, Tensor] = {}
        for site, gradient in by.items():
            product = self.difference(site, layer) * gradient
            found[site] = product if site is Site.MLP_POST else product.sum(-1)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """The estimated change of a target, in its unit, if one node alone took its other value."""

    embed: Tensor
    "[pos]"
    heads: Tensor
    "Query rows: [layer, head, pos]."
    attn: Tensor
    "[layer, pos]"
    mlp: Tensor
    "[layer, pos]"
    neurons: Tensor
    "[layer, pos, d_mlp]"

    def column(self, table: NodeTable) -> Floats:
        """One number a row of a node table; NaN for pairs and biases, which have no estimate here."""
        layer, index, pos = table.layer, table.index, table.pos
        found = np.full(len(table), np.nan)
        for kind, values, axes in (
            (Kind.EMBED, self.embed, (pos,)),
            (Kind.HEAD, self.heads, (layer, index, pos)),
            (Kind.ATTN, self.attn, (layer, pos)),
            (Kind.MLP, self.mlp, (layer, pos)),
            (Kind.NEURON, self.neurons, (layer, pos, index)),
        ):
            rows = (table.kind == KINDS.index(kind)) & (table.key == NONE)
            found[rows] = values.double().cpu().numpy()[tuple(axis[rows] for axis in axes)]
        return found

    def add(self, products: Mapping[Site, Tensor], layer: int, factor: float = 1.0) -> None:
        """Adds a line's products where they belong, in place."""
        for site, product in products.items():
            match site:
                case Site.RESID_PRE:
                    self.embed.add_(product, alpha=factor)
                case Site.Z:
                    self.heads[layer].add_(product, alpha=factor)
                case Site.ATTN_OUT:
                    self.attn[layer].add_(product, alpha=factor)
                case Site.MLP_OUT:
                    self.mlp[layer].add_(product, alpha=factor)
                case _:
                    self.neurons[layer].add_(product, alpha=factor)


def nothing(swap: Swap) -> Estimates:
    """Zeros, to add to."""
    config, length = swap.model.config, len(swap.edited.tokens)
    like = swap.own(Site.RESID_PRE, 0)
    return Estimates(
        embed=like.new_zeros(length),
        heads=like.new_zeros(config.n_layer, config.n_head, length),
        attn=like.new_zeros(config.n_layer, length),
        mlp=like.new_zeros(config.n_layer, length),
        neurons=like.new_zeros(config.n_layer, length, config.d_mlp),
    )
