"""What nodes write into the residual stream, by numpy loops, and hooks that add it or hold all else."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.components import Kind, Node
from model.edits.interventions import Change
from model.effects import attribution
from model.effects.attribution import Gradients
from model.gpt2 import GPT2
from model.metrics import Metric
from model.nodes import NodeTable, joined
from model.sites import Hook, Site
from model.trace import Trace, record
from tests.naive import Naive, Run
from tests.tiny import TINY, TOKENS

FINAL_SCALE = ((Site.LN_FINAL_SCALE, 0),)
WRITES = (*FINAL_SCALE, *((site, n) for n in range(TINY.n_layer) for site in (Site.ATTN_OUT, Site.MLP_OUT)))


def gradients_of(model: GPT2, metric: Metric, changes: tuple[Change, ...] = ()) -> tuple[Trace, Gradients]:
    trace = record(model, TOKENS, changes)
    return trace, attribution.gradients(model, trace, metric)


def every_row(model: GPT2, trace: Trace, by: Gradients) -> NodeTable:
    """All kinds, heads and their pairs and the sub-layers that they are part of alike."""
    tables = (
        attribution.embed_table, attribution.head_table, attribution.pair_table, attribution.attn_table,
        attribution.mlp_table, attribution.neuron_table, attribution.bias_table,
    )  # fmt: skip
    return joined([table(model, trace, by) for table in tables])


def some_rows(table: NodeTable, neurons: int = 250) -> NodeTable:
    """All of a table but neurons, and a few hundred of those."""
    neuron = np.flatnonzero(table.kind == list(Kind).index(Kind.NEURON))
    rest = np.setdiff1d(np.arange(len(table)), neuron)
    return table.take(np.concatenate([rest, neuron[:: max(1, len(neuron) // neurons)]]))


@dataclass(frozen=True, slots=True)
class Write:
    """A vector added to the residual stream at the end of a sub-layer."""

    site: Site
    layer: int
    pos: int
    vector: Tensor


def naive_write(run: Run, node: Node) -> Write | None:
    """What a node adds to the residual stream in an unedited run; None for the final bias, which comes after."""
    part, pos = node.component, node.pos
    layer, index = part.layer, part.index
    match part.kind:
        case Kind.EMBED:
            site, vector = Site.RESID_PRE, run["resid_pre", 0][pos]
        case Kind.HEAD if node.key is None:
            site, vector = Site.ATTN_OUT, run.pairs[layer][index, pos].sum(0)
        case Kind.HEAD:
            site, vector = Site.ATTN_OUT, run.pairs[layer][index, pos, node.key]
        case Kind.ATTN:
            site, vector = Site.ATTN_OUT, run.pairs[layer][:, pos].sum((0, 1))
        case Kind.ATTN_BIAS:
            site, vector = Site.ATTN_OUT, run["attn_bias", layer][pos]
        case Kind.NEURON:
            site, vector = Site.MLP_OUT, run.neurons[layer][index, pos]
        case Kind.MLP:
            site, vector = Site.MLP_OUT, run.neurons[layer][:, pos].sum(0)
        case Kind.MLP_BIAS:
            site, vector = Site.MLP_OUT, run["mlp_bias", layer][pos]
        case _:
            return None
    return Write(site, layer, pos, torch.from_numpy(np.asarray(vector)))


def writes_of(naive: Naive, table: NodeTable) -> list[Write]:
    run = naive.run(TOKENS)
    found = [naive_write(run, table.node(row)) for row in range(len(table))]
    assert None not in found
    return [write for write in found if write]


def without_final_bias(table: NodeTable) -> NodeTable:
    return table.take(table.kind != list(Kind).index(Kind.FINAL_BIAS))


def adding(writes: list[Write], amount: float) -> Hook:
    """Row i of the batch gets `amount` times write i added, right after its own sub-layer."""

    def hook(site: Site, layer: int, x: Tensor) -> Tensor:
        here = [(n, w) for n, w in enumerate(writes) if w.site is site and w.layer == layer]
        if here:
            x = x.clone()
            for n, write in here:
                x[n, write.pos] += amount * write.vector
        return x

    return hook


def holding(trace: Trace, sites: Iterable[tuple[Site, int]]) -> Hook:
    """These sites keep the values that they have in `trace`."""
    held = set(sites)
    return lambda site, layer, x: trace[site, layer].expand_as(x) if (site, layer) in held else x
