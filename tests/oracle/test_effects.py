"""Direct effects, attribution patching and its edges, against TransformerLens."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.effects import attribution
from model.effects.attribution import Treatment
from model.estimates.estimators import attribution_patching
from model.estimates.swap import Direction, Swap
from model.nodes import NodeTable
from model.trace import metric_value
from model.upstream.edges import Edges, edges_from
from model.upstream.inputs import input_gradients
from tests.oracle.bridge import END, FOLDED, LD, ODD, Both, close, ids, peer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]


def direct(table: NodeTable) -> dict[str, float]:
    """The direct effects of the nodes at the end, by address."""
    rows = [row for row in range(len(table)) if table.pos[row] == END]
    return {str(table.node(row)): float(table.direct[row]) for row in rows}


Where = tuple[str, int | None, int | None, int]


@pytest.fixture(scope="module")
def tables(both: Both) -> Mapping[str, dict[str, float]]:
    by = attribution.gradients(both.model, both.trace, LD)
    args = both.model, both.trace, by
    return {
        "embed": direct(attribution.embed_table(*args)),
        "head": direct(attribution.head_table(*args)),
        "pair": direct(attribution.pair_table(*args)),
        "attn": direct(attribution.attn_table(*args)),
        "mlp": direct(attribution.mlp_table(*args)),
        "neuron": direct(attribution.neuron_table(*args)),
        "bias": direct(attribution.bias_table(*args)),
    }


def test_components_are_those_of_direct_logit_attribution(
    both: Both, tables: Mapping[str, dict[str, float]]
) -> None:
    """Conventions: folded, the final scale held, centred; its attn_out and mlp_out hold their biases, b_U no row."""
    theirs = peer("tools.analysis").direct_logit_attribution(
        both.folded, ids(both.clean), answer_tokens=41, incorrect_tokens=98
    )
    found = dict(zip(theirs.labels, theirs.attribution.flatten().tolist(), strict=True))
    ours, biases = {"E": tables["embed"][f"E@{END}"]}, tables["bias"]
    for layer in range(ODD.n_layer):
        ours[f"{layer}_attn_out"] = tables["attn"][f"A{layer}@{END}"] + biases[f"BA{layer}@{END}"]
        ours[f"{layer}_mlp_out"] = tables["mlp"][f"M{layer}@{END}"] + biases[f"BM{layer}@{END}"]
    found["E"] = found.pop("embed") + found.pop("pos_embed")
    assert set(ours) == set(found)
    close(torch.tensor(list(ours.values())), torch.tensor([found[name] for name in ours]), FOLDED)
    left_out = float(both.folded.b_U[41] - both.folded.b_U[98])
    assert biases[f"BU@{END}"] == pytest.approx(left_out, rel=FOLDED)
    assert sum(found.values()) + left_out == pytest.approx(
        metric_value(both.model, both.trace, LD), rel=FOLDED
    )


def test_heads_are_those_of_direct_logit_attribution(
    both: Both, tables: Mapping[str, dict[str, float]]
) -> None:
    """Conventions: folded without `fold_value_biases`, which would take b_V W_O out of every head; last row the rest."""
    theirs = peer("tools.analysis").direct_logit_attribution(
        both.folded, ids(both.clean), answer_tokens=41, incorrect_tokens=98, unit="head"
    )
    labels = [label for label in theirs.labels if label != "remainder"]
    ours = torch.tensor([tables["head"][f"{label}@{END}"] for label in labels])
    close(ours, theirs.attribution[: len(labels), 0], FOLDED)
    assert len(labels) == ODD.n_layer * ODD.n_head


def test_heads_are_the_head_results_through_the_final_norm(
    both: Both, tables: Mapping[str, dict[str, float]]
) -> None:
    """Conventions: plain weights, so ln_f's weight goes with W_U; scale held and centring by `apply_ln_to_stack`."""
    stack, labels = both.cache.stack_head_results(pos_slice=-1, apply_ln=True, return_labels=True)
    ours = torch.tensor([tables["head"][f"{label}@{END}"] for label in labels])
    close(ours, stack[:, 0] @ direction(both))


def test_neurons_are_those_of_stack_neuron_results(
    both: Both, tables: Mapping[str, dict[str, float]]
) -> None:
    """Conventions: plain weights, projected before they are stacked; b_out belongs to no neuron."""
    theirs, labels = both.cache.stack_neuron_results(
        -1, pos_slice=-1, apply_ln=True, project_output_onto=direction(both), return_labels=True
    )
    names = [f"N{label[1:].replace('N', '.')}@{END}" for label in labels]  # L0N3 is our N0.3
    close(torch.tensor([tables["neuron"][name] for name in names]), theirs.flatten())


def test_pairs_are_pattern_times_value_through_the_final_norm(
    both: Both, tables: Mapping[str, dict[str, float]]
) -> None:
    """Conventions: plain weights; a pair writes pattern x v W_O, so that b_V is in it and b_O is not."""
    for layer in range(ODD.n_layer):
        pattern, v = (
            both.cache["pattern", layer][0, :, END],
            both.cache["v", layer][0],
        )  # [head, key], [key, head, ...]
        writes = torch.einsum("hk,khd,hdm->hkm", pattern, v, both.plain.W_O[layer])
        stack = writes.flatten(0, 1)[:, None]  # [pair, batch, d_model]
        read = both.cache.apply_ln_to_stack(stack, layer=-1, pos_slice=-1)[:, 0] @ direction(both)
        names = [f"L{layer}H{head}@{END}<{key}" for head in range(ODD.n_head) for key in range(END + 1)]
        close(torch.tensor([tables["pair"][name] for name in names]), read)


def direction(both: Both) -> Tensor:
    """What the metric reads off a centred and scaled residual on plain weights: [d_model]."""
    w_u = both.plain.W_U
    return (w_u[:, 41] - w_u[:, 98]) * both.plain.ln_final.weight


@pytest.fixture(scope="module")
def patched(both: Both) -> Mapping[Where, float]:
    """The peer's attribution patching of nodes: (kind, layer, head, position) -> score."""
    tools = peer("tools.analysis.attribution_patching")
    scores = tools.attribution_patch(
        both.plain, ids(both.clean), ids(both.corrupt), both.metric_of, tools.EdgeAttributionConfig("node")
    ).node_scores
    return {(node.kind, node.layer, node.head, node.position): score for node, score in scores.items()}


def test_attribution_patching_is_attribution_patch(both: Both, patched: Mapping[Where, float]) -> None:
    """Conventions: denoising, (clean - corrupt) . gradient on the corrupted run, every scale live; heads at z."""
    edited, other = Direction.DENOISING.pair(both.trace, both.other)
    ours = attribution_patching(Swap(both.model, edited, other, LD))
    for (kind, layer, head, pos), score in patched.items():
        column = {"embed": ours.embed, "attn_head_out": ours.heads, "mlp_out": ours.mlp}[kind]
        at = tuple(each for each in (layer, head, pos) if each is not None)
        assert float(column[at]) == pytest.approx(score, abs=1e-9)


@pytest.fixture(scope="module")
def edges(both: Both) -> Mapping[Node, Edges]:
    """Ours of every writer."""
    by = input_gradients(both.model, both.other, LD, treatment=Treatment.NONE)
    parts = [Component(Kind.EMBED), *(Component(Kind.MLP, layer) for layer in range(ODD.n_layer))]
    parts += [Component(Kind.HEAD, layer, head) for layer, head in np.ndindex(ODD.n_layer, ODD.n_head)]
    nodes = [Node(part, pos) for part in parts for pos in range(END + 1)]
    return {node: edges_from(both.model, both.other, by, node, both.trace) for node in nodes}


def test_edges_are_those_of_edge_attribution_patching(both: Both, edges: Mapping[Node, Edges]) -> None:
    """Conventions: as for nodes; per position; an MLP's bias cancels between the runs; the last reader is resid_post."""
    tools = peer("tools.analysis.attribution_patching")
    config = tools.EdgeAttributionConfig(granularity="edge")
    theirs = tools.attribution_patch(both.plain, ids(both.clean), ids(both.corrupt), both.metric_of, config)
    ours, scores = [], []
    for (writer, reader), score in theirs.edge_scores.items():
        found = edges[Node(component(writer), writer.position)]
        ours.append(into(found, reader))
        scores.append(score)
    close(torch.tensor(ours), torch.tensor(scores))
    assert len(scores) > 2000 and np.count_nonzero(scores) > 1000


def component(writer: object) -> Component:
    kind, layer, head = (getattr(writer, name) for name in ("kind", "layer", "head"))
    match kind:
        case "embed":
            return Component(Kind.EMBED)
        case "attn_head_out":
            return Component(Kind.HEAD, layer, head)
        case _:
            return Component(Kind.MLP, layer)


def into(found: Edges, reader: object) -> float:
    kind, layer, head = (getattr(reader, name) for name in ("kind", "layer", "head"))
    match kind:
        case "q_input" | "k_input" | "v_input":
            return float(getattr(found, kind[0])[layer, head])
        case "mlp_in":
            return float(found.mlp[layer])
        case _:
            return found.final
