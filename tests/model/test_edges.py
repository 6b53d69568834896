"""Edges: sums out of a node and into an input, against autograd, and the tree that follows them."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.edits.interventions import Ablate, Sources, Span
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.backward import Question, value_of
from model.effects.writes import effects_of, write_of
from model.estimates.estimators import attribution_patching
from model.estimates.swap import Swap
from model.gpt2 import GPT2
from model.metrics import Metric, Quantity
from model.nodes import joined
from model.sites import Site, compose
from model.targets import Target, Via, metric_target, trace_target
from model.trace import Trace, record
from model.upstream.branches import Branch, as_dict, as_dot, quoted
from model.upstream.edges import edges_from, edges_into
from model.upstream.inputs import Input, InputGradients, input_gradients
from model.upstream.tree import Pruning, tree
from tests.tiny import EARLY, EDITS, END, LD, OTHER, TINY, TOKENS

L0H1, L1H2, L2H0 = (Component(Kind.HEAD, layer, head) for layer, head in ((0, 1), (1, 2), (2, 0)))
M0, M1, M2 = (Component(Kind.MLP, layer) for layer in range(3))
NODES = (
    Node(Component(Kind.EMBED), 2), Node(Component(Kind.EMBED), END), Node(L0H1, 4), Node(L0H1, END, 2),
    Node(M0, 3), Node(Component(Kind.NEURON, 0, 11), END), Node(Component(Kind.ATTN, 1), 5), Node(L1H2, END),
    Node(M1, END), Node(Component(Kind.ATTN_BIAS, 1), 3), Node(Component(Kind.MLP_BIAS, 0), END),
    Node(L2H0, END, 1), Node(M2, END), Node(L2H0, 3), Node(Component(Kind.POS_EMBED), 1),
)  # fmt: skip
PAIR = Node(Component(Kind.HEAD, 2, 1), END, 3)


def questions(model: GPT2, trace: Trace) -> dict[str, Question]:
    metric = metric_target(model, trace, LD)
    return {
        "logit_diff": LD,
        "earlier": EARLY,
        "logprob": Metric(Quantity.LOGPROB, (41,), (), END),
        "a score": trace_target(model, trace, PAIR, Via.QK),
        "a value": trace_target(model, trace, PAIR, Via.V, metric),
        "an MLP": trace_target(model, trace, Node(M1, END), None, metric),
        "a neuron of the first layer": trace_target(model, trace, Node(Component(Kind.NEURON, 0, 7), 4)),
    }


ASKED = ("logit_diff", "earlier", "logprob", "a score", "a value", "an MLP", "a neuron of the first layer")


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("treatment", Treatment)
def test_edges_out_of_a_node_add_up_to_its_estimated_total_effect(
    tiny: GPT2, treatment: Treatment, asked: str
) -> None:
    trace = record(tiny, TOKENS)
    question = questions(tiny, trace)[asked]
    by = input_gradients(tiny, trace, question, treatment=treatment)
    total = attribution.gradients(tiny, trace, question, treatment=treatment)
    seen = 0.0
    for node in NODES:
        expected = effects_of(tiny, trace, total, node).total
        assert edges_from(tiny, trace, by, node).total == pytest.approx(expected, abs=1e-9), node
        seen = max(seen, abs(expected))
    assert seen > 1e-5


@pytest.mark.parametrize("edit", ["head mean", "attn zero", "mlp patch", "neuron zero", "pair value", "many"])
def test_edges_out_add_up_to_the_total_effect_of_edited_runs(tiny: GPT2, sources: Sources, edit: str) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    by = input_gradients(tiny, trace, LD, sources)
    total = attribution.gradients(tiny, trace, LD, sources)
    for node in NODES:
        expected = effects_of(tiny, trace, total, node).total
        assert edges_from(tiny, trace, by, node).total == pytest.approx(expected, abs=1e-9), node


def test_the_edge_into_what_the_target_reads_is_the_direct_effect(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    for question in questions(tiny, trace).values():
        by = input_gradients(tiny, trace, question)
        direct = attribution.gradients(tiny, trace, question)
        for node in NODES:
            expected = effects_of(tiny, trace, direct, node).direct
            assert edges_from(tiny, trace, by, node).final == pytest.approx(expected, abs=1e-12), node


@pytest.mark.parametrize(
    "to", [Input(L1H2, 4, Via.Q), Input(L1H2, 4, Via.K), Input(L1H2, 4, Via.V), Input(M1, 4)], ids=str
)
def test_EAP_an_edge_is_the_write_times_autograds_gradient_through_that_input_alone(
    tiny: GPT2, to: Input
) -> None:
    """The residual stream before the input's layer norm is split: one copy for the input, detached for all else."""
    trace = record(tiny, TOKENS)
    writer = Node(M0, 4)
    write = write_of(tiny, trace, writer)
    part = to.component
    leaf = torch.zeros_like(write).requires_grad_()

    def inject(site: Site, layer: int, x: Tensor) -> Tensor:
        """The input recomputed from the stream plus the leaf, in place of itself."""
        wanted = {None: Site.MLP_PRE, Via.Q: Site.Q, Via.K: Site.K, Via.V: Site.V}[to.via]
        if site is not wanted or layer != part.layer:
            return x
        block = tiny.blocks[layer]
        resid = trace[Site.RESID_PRE if to.via else Site.RESID_MID, layer][to.pos] + leaf
        norm = block.ln_1 if to.via else block.ln_2
        seen = (resid - resid.mean()) / norm.scale(resid) * norm.weight + norm.bias
        x = x.clone()
        if to.via is None:
            x[0, to.pos] = block.mlp.c_fc(seen[None])[0]
            return x
        which = (Via.Q, Via.K, Via.V).index(to.via)
        whole = block.attn.c_attn(seen[None])[0].view(3, TINY.n_head, TINY.d_head)
        x[0, part.index, to.pos] = whole[which, part.index or 0]
        return x

    with torch.enable_grad():
        logits = tiny(torch.tensor([TOKENS]), inject)
        (grad,) = torch.autograd.grad(LD.of(logits[0, END]), leaf)
    by = input_gradients(tiny, trace, LD, treatment=Treatment.NONE)
    assert edges_from(tiny, trace, by, writer).into(to) == pytest.approx(float(grad @ write), abs=1e-10)
    assert abs(float(grad @ write)) > 1e-4


def every_input(pos: int) -> Iterator[Input]:
    for layer in range(TINY.n_layer):
        yield Input(Component(Kind.MLP, layer), pos)
        yield Input(Component(Kind.NEURON, layer, 11), pos)
        for head, via in product(range(TINY.n_head), (Via.Q, Via.K, Via.V)):
            yield Input(Component(Kind.HEAD, layer, head), pos, via)
    yield Input(Component(Kind.UNEMBED), pos)


@pytest.mark.parametrize("asked", ["logit_diff", "a score", "an MLP"])
@pytest.mark.parametrize("treatment", Treatment)
def test_an_edge_is_the_same_from_either_end(tiny: GPT2, treatment: Treatment, asked: str) -> None:
    trace = record(tiny, TOKENS)
    by = input_gradients(tiny, trace, questions(tiny, trace)[asked], treatment=treatment)
    out = {node: edges_from(tiny, trace, by, node) for node in NODES}
    for to in (*every_input(END), *every_input(3)):
        into = edges_into(tiny, trace, by, to)
        for node, edges in out.items():
            if node.pos == to.pos:
                found = effects_of(tiny, trace, into, node)
                assert found.direct == pytest.approx(edges.into(to), abs=1e-12), (node, to)
                assert found.total == pytest.approx(edges.into(to), abs=1e-12), (node, to)


def rows_of(model: GPT2, trace: Trace, by: attribution.Gradients, attention: str, mlp: str) -> float:
    tables = [attribution.embed_table, attribution.bias_table]
    tables += [{"head": attribution.head_table, "pair": attribution.pair_table}[attention]]
    tables += [{"mlp": attribution.mlp_table, "neuron": attribution.neuron_table}[mlp]]
    return float(joined([table(model, trace, by) for table in tables]).direct.sum())


@pytest.mark.parametrize("edit", ["none", "head mean", "attn zero", "mlp patch", "many"])
def test_edges_into_an_input_and_biases_add_up_to_its_value_times_its_gradient(
    tiny: GPT2, sources: Sources, edit: str
) -> None:
    """Scales held; the value of a query is the query, of an MLP its pre-activations."""
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    by = input_gradients(tiny, trace, LD, sources, Treatment.ALL)
    for to in every_input(4):
        into = edges_into(tiny, trace, by, to)
        if to.component.kind is Kind.UNEMBED:
            continue
        for attention, mlp in (("head", "mlp"), ("pair", "neuron")):
            found = rows_of(tiny, trace, into, attention, mlp)
            assert found == pytest.approx(into.target.value, abs=1e-9), to
    to = Input(L1H2, 4, Via.Q)
    value = trace[Site.Q, 1][2, 4] @ by.q[1, 2, 4]
    assert edges_into(tiny, trace, by, to).target.value == pytest.approx(float(value), abs=1e-12)


def test_edges_into_what_the_metric_reads_add_up_to_the_metric(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    by = input_gradients(tiny, trace, LD)
    into = edges_into(tiny, trace, by, Input(Component(Kind.UNEMBED), END))
    assert rows_of(tiny, trace, into, "head", "mlp") == pytest.approx(value_of(tiny, trace, LD), abs=1e-10)


@pytest.mark.parametrize("treatment", [Treatment.ALL, Treatment.NONE])
def test_EAP_edges_of_the_difference_of_two_runs_add_up_to_AtP_of_the_node(
    tiny: GPT2, treatment: Treatment
) -> None:
    """EAP-IG's library: gradient on the clean run, (corrupted - clean) . gradient."""
    clean, corrupted = record(tiny, TOKENS), record(tiny, OTHER)
    by = input_gradients(tiny, clean, LD, treatment=treatment)
    nodes = attribution_patching(Swap(tiny, clean, corrupted, LD, treatment=treatment))
    for node, expected in (
        (Node(L0H1, 4), nodes.heads[0, 1, 4]), (Node(M1, 5), nodes.mlp[1, 5]),
        (Node(Component(Kind.EMBED), 2), nodes.embed[2]), (Node(Component(Kind.NEURON, 0, 11), 2), nodes.neurons[0, 2, 11]),
    ):  # fmt: skip
        edges = edges_from(tiny, clean, by, node, corrupted)
        assert edges.total == pytest.approx(float(expected), abs=1e-10)
        assert edges.gross >= abs(edges.total)


def test_EAP_edges_into_an_input_are_the_other_runs_rows_minus_this_ones(tiny: GPT2) -> None:
    clean, corrupted = record(tiny, TOKENS), record(tiny, OTHER)
    by = input_gradients(tiny, clean, LD)
    to = Input(L2H0, 4, Via.K)
    into = edges_into(tiny, clean, by, to)
    there, here = (attribution.head_table(tiny, run, into) for run in (corrupted, clean))
    for row in range(len(here)):
        node = here.node(row)
        if node.pos == to.pos:
            expected = edges_from(tiny, clean, by, node, corrupted).into(to)
            assert there.direct[row] - here.direct[row] == pytest.approx(expected, abs=1e-12)


def test_inputs_before_a_write_or_after_what_reads_have_no_edge(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    edges = edges_from(tiny, trace, input_gradients(tiny, trace, LD), Node(L1H2, 4))
    for through in (edges.q, edges.k, edges.v):
        assert not through[:2].any()
        assert through[2].any() or through is edges.q  # the last layer's query at 4 leads nowhere
    assert not edges.neurons[0].any() and edges.neurons[1].any()
    frame = trace_target(tiny, trace, Node(Component(Kind.NEURON, 1, 7), 5))
    edges = edges_from(tiny, trace, input_gradients(tiny, trace, frame), Node(L0H1, 5))
    assert not edges.q[2:].any() and not edges.neurons[1:].any() and edges.q[1].any()
    late = edges_from(tiny, trace, input_gradients(tiny, trace, frame), Node(M2, 5))
    assert late.total == late.gross == 0


@pytest.mark.parametrize(
    ("to", "word"),
    [
        (Input(L1H2, 3), "through q, k or v"),
        (Input(L1H2, 3, Via.QK), "through q, k or v"),
        (Input(Component(Kind.EMBED), 3), "reads nothing"),
    ],
)
def test_what_reads_nothing_is_refused_in_one_sentence(tiny: GPT2, to: Input, word: str) -> None:
    trace = record(tiny, TOKENS)
    with pytest.raises(ValueError, match=word):
        edges_into(tiny, trace, input_gradients(tiny, trace, LD), to)
    with pytest.raises(ValueError, match="no edges"):
        edges_from(tiny, trace, input_gradients(tiny, trace, LD), Node(Component(Kind.FINAL_BIAS), END))


def test_inputs_are_spelled_as_nodes_with_the_way_in() -> None:
    assert [str(to) for to in (Input(L1H2, 4, Via.Q), Input(M1, 3), Input(Component(Kind.UNEMBED), END))] == [
        "L1H2.q@4", "M1@3", f"U@{END}",
    ]  # fmt: skip


FULL = Pruning(depth=1, top=10_000)


def direct_rows(
    model: GPT2, trace: Trace, target: Target, neurons: bool, sources: Sources
) -> dict[Node, float]:
    by = attribution.gradients(model, trace, target, sources)
    mlp = attribution.neuron_table if neurons else attribution.mlp_table
    table = joined(
        [part(model, trace, by) for part in (attribution.embed_table, attribution.pair_table, mlp)]
    )
    return {table.node(row): float(table.direct[row]) for row in np.flatnonzero(table.direct).tolist()}


@pytest.mark.parametrize("neurons", [False, True])
@pytest.mark.parametrize("edit", ["none", "head mean", "attn zero", "mlp patch", "pair value", "many"])
def test_a_trees_first_branches_are_the_frames_direct_effects_largest_first(
    tiny: GPT2, sources: Sources, edit: str, neurons: bool
) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    for target in (metric_target(tiny, trace, LD), trace_target(tiny, trace, PAIR, Via.QK)):
        root = tree(tiny, trace, target, replace(FULL, neurons=neurons))
        assert (root.node, root.effect) == (None, target.value)
        expected = direct_rows(tiny, trace, target, neurons, sources)
        found = {branch.node: branch.effect for branch in root.children}
        assert found.keys() == expected.keys()
        for node, effect in expected.items():
            assert found[node] == pytest.approx(effect, abs=1e-12)
        sizes = [abs(branch.effect) for branch in root.children]
        assert sizes == sorted(sizes, reverse=True)


def through(model: GPT2, trace: Trace, branch: Branch, child: Branch) -> float:
    """Child's write . autograd's gradient of the final read, only by way of `branch`'s input and its own pair or MLP."""
    node, leaf = branch.node, write_of(model, trace, child.node or PAIR).clone()
    assert node is not None and child.node is not None
    layer, pos, block = node.component.layer, node.pos, model.blocks[node.component.layer]
    direct = attribution.gradients(model, trace, metric_target(model, trace, LD)).direct[pos]
    with torch.enable_grad():
        amount = torch.zeros((), dtype=leaf.dtype, requires_grad=True)
        at = child.node.pos
        norm = block.ln_2 if node.component.kind is not Kind.HEAD else block.ln_1
        site, scale = (
            (Site.RESID_MID, Site.LN2_SCALE) if norm is block.ln_2 else (Site.RESID_PRE, Site.LN1_SCALE)
        )
        x = trace[site, layer].clone()
        x[at] = x[at] + amount * leaf
        seen = (x - x.mean(-1, keepdim=True)) / trace[scale, layer] * norm.weight + norm.bias
        if node.component.kind is not Kind.HEAD:
            out = model.blocks[layer].mlp(seen[None], layer, lambda s, n, y: y)[0, pos]
        else:
            out = head_out(model, trace, branch, seen)
        (slope,) = torch.autograd.grad(out @ direct, amount)
    return float(slope)


def head_out(model: GPT2, trace: Trace, branch: Branch, seen: Tensor) -> Tensor:
    """What a head writes at the branch's query when only the branch's own input follows `seen`: [d_model]."""
    assert branch.node is not None and branch.node.key is not None and branch.via is not None
    part, query, key = branch.node.component, branch.node.pos, branch.node.key
    layer, head = part.layer, part.index or 0
    block = model.blocks[layer].attn
    whole = block.c_attn(seen[None])[0].view(len(seen), 3, TINY.n_head, TINY.d_head)
    q, k, v = (trace[site, layer][head].clone() for site in (Site.Q, Site.K, Site.V))
    pattern = trace[Site.PATTERN, layer][head, query].clone()
    rows = slice(head * TINY.d_head, (head + 1) * TINY.d_head)
    w_o = block.c_proj.weight[rows]
    if branch.via is Via.V:
        return pattern[key] * whole[key, 2, head] @ w_o
    scores = (k[: query + 1] @ q[query] / TINY.d_head**0.5).clone()
    side = whole[query, 0, head] @ k[key] if branch.via is Via.Q else whole[key, 1, head] @ q[query]
    scores[key] = side / TINY.d_head**0.5
    return scores.softmax(-1) @ v[: query + 1] @ w_o


def test_effects_two_steps_up_are_autograds_gradient_along_the_two_branches(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    root = tree(tiny, trace, metric_target(tiny, trace, LD), Pruning(depth=2, top=60))
    vias: set[Via | None] = set()
    for branch in root.children:
        for child in branch.children[:6]:
            assert child.effect == pytest.approx(through(tiny, trace, branch, child), rel=1e-8, abs=1e-11)
            vias.add(branch.via)
    assert vias >= {None, Via.V} and vias & {Via.Q, Via.K}


def test_a_neurons_branch_is_weighed_by_its_slope(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    target = metric_target(tiny, trace, LD)
    root = tree(tiny, trace, target, Pruning(depth=2, top=60, neurons=True))
    by = input_gradients(tiny, trace, LD, treatment=Treatment.ALL)
    opened = [
        b
        for b in root.children
        if b.node and b.node.component.kind is Kind.NEURON and b.node.component.layer == 2
    ]
    assert opened
    for branch in opened:
        assert branch.node is not None
        frame = trace_target(tiny, trace, branch.node)
        slope = float(by.pre[2, END, branch.node.component.index or 0])  # the last MLP's only path is direct
        first = branch.children[0]
        assert first.node is not None
        within = attribution.gradients(tiny, trace, frame)
        assert first.effect == pytest.approx(
            slope * effects_of(tiny, trace, within, first.node).direct, abs=1e-11
        )


def test_a_head_opens_through_the_input_that_upstream_nodes_move_most(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    metric = metric_target(tiny, trace, LD)
    root = tree(tiny, trace, metric, Pruning(depth=2, top=40))
    heads = [b for b in root.children if b.via is not None]
    assert {b.via for b in heads} >= {Via.V}
    for branch in heads:
        assert branch.node is not None
        sums = {}
        for via in (Via.Q, Via.K, Via.V):
            frame = trace_target(tiny, trace, branch.node, via, metric)
            inner = Branch(branch.node, via, 0.0, tree(tiny, trace, frame, FULL).children)
            # weighed by autograd: one child through the branch gives what a unit of the frame is worth
            worth = through(tiny, trace, inner, inner.children[0]) / inner.children[0].effect
            sums[via] = abs(worth) * sum(abs(child.effect) for child in inner.children)
        assert branch.via is max(sums, key=lambda via: sums[via])


def test_trees_keep_depth_top_and_threshold_and_end_at_embeddings_and_edits(
    tiny: GPT2, sources: Sources
) -> None:
    trace = record(tiny, TOKENS, EDITS["attn zero at the end"], sources)
    root = tree(tiny, trace, metric_target(tiny, trace, LD), Pruning(depth=3, top=4, threshold=0.01))

    def check(branch: Branch, depth: int) -> int:
        assert len(branch.children) <= 4
        assert all(abs(child.effect) >= 0.01 for child in branch.children)
        if branch.node and branch.node.component.kind in (Kind.EMBED, Kind.ATTN):
            assert branch.children == () and branch.via is None
        return max([depth, *(check(child, depth + 1) for child in branch.children)])

    assert check(root, 0) == 3
    ablated = record(tiny, TOKENS, (Ablate(Component(Kind.HEAD, 2, 1), Span(END, END)),))
    for branch in tree(tiny, ablated, metric_target(tiny, ablated, LD), Pruning(depth=2, top=1000)).children:
        assert branch.node is not None
        if branch.node.component == Component(Kind.HEAD, 2, 1):
            assert branch.node.key is None and branch.children == ()


def test_branches_are_opened_and_closed_one_by_one(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    target = metric_target(tiny, trace, LD)
    whole, short = (tree(tiny, trace, target, Pruning(depth=depth, top=3)) for depth in (2, 1))
    first = whole.children[0]
    assert first.node is not None and first.children
    opened = tree(tiny, trace, target, Pruning(depth=1, top=3, turned=frozenset({(first.node,)})))
    assert opened.children == (first, *short.children[1:]), (
        "opened, a branch is what the deeper tree has there"
    )
    closed = tree(tiny, trace, target, Pruning(depth=2, top=3, turned=frozenset({(first.node,)})))
    assert closed.children == (short.children[0], *whole.children[1:])
    assert closed.children[0].opens
    assert tree(tiny, trace, target, Pruning(depth=2, top=3, turned=frozenset({()}))).children == ()


def test_a_tree_is_the_same_twice_as_text_and_as_json(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    target = metric_target(tiny, trace, LD)
    once, again = (tree(tiny, trace, target, Pruning(depth=3, top=3)) for _ in range(2))
    assert once == again and as_dot(once) == as_dot(again)
    plain = as_dict(once)
    assert json.loads(json.dumps(plain)) == plain
    first = once.children[0]
    assert as_dict(first)["node"] == str(first.node)


def test_dot_has_a_node_once_and_sums_what_comes_by_the_same_edge() -> None:
    leaf = Branch(Node(Component(Kind.EMBED), 1), None, 0.25)
    head = Node(Component(Kind.HEAD, 0, 1), 3, 1)
    twice = Branch(head, Via.V, 0.5, (leaf,))
    root = Branch(None, None, 1.0, (twice, Branch(Node(M1, 3), None, -0.125, (twice,))))
    assert as_dot(root) == (
        "digraph upstream {\n"
        "  rankdir=BT;\n"
        '  "target";\n'
        '  "L0H1@3<1";\n'
        '  "E@1";\n'
        '  "M1@3";\n'
        '  "L0H1@3<1" -> "target" [label="+0.5"];\n'
        '  "E@1" -> "L0H1@3<1" [label="v +0.5"];\n'
        '  "M1@3" -> "target" [label="-0.125"];\n'
        '  "L0H1@3<1" -> "M1@3" [label="+0.5"];\n'
        "}\n"
    )


@pytest.mark.parametrize("name", ["' \"' - ' John' @END", "a\\", '\\"', "plain"])
def test_a_drawing_keeps_whatever_a_token_is_called(name: str) -> None:
    dot = as_dot(Branch(None, None, 1.0, (Branch(Node(M1, 3), None, 0.5),)), name)
    assert dot.splitlines()[2] == f"  {quoted(name)};"
    inner = quoted(name)[1:-1]
    assert re.fullmatch(r'(?:[^"\\]|\\.)*', inner)  # no quote ends it early
    assert re.sub(r"\\(.)", r"\1", inner) == name


@pytest.mark.parametrize("edit", ["none", "attn zero at the end", "many"])
def test_a_closed_branch_says_whether_it_could_be_opened(tiny: GPT2, sources: Sources, edit: str) -> None:
    trace = record(tiny, TOKENS, EDITS[edit], sources)
    target = metric_target(tiny, trace, LD)
    closed, opened = (tree(tiny, trace, target, Pruning(depth=depth, top=60)) for depth in (1, 2))
    kinds = set()
    for branch, deeper in zip(closed.children, opened.children, strict=True):
        assert branch.node == deeper.node and branch.children == ()
        assert branch.opens == deeper.opens == bool(deeper.children)
        kinds.add(branch.opens)
    assert kinds == {True, False}


def test_hooks_stop_trees_and_edges(tiny: GPT2) -> None:
    trace, seen = record(tiny, TOKENS), 0

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        nonlocal seen
        seen += 1
        if seen > 2:
            raise InterruptedError
        return x

    with pytest.raises(InterruptedError):
        tree(tiny, trace, metric_target(tiny, trace, LD), also=stop)
    with pytest.raises(InterruptedError):
        input_gradients(tiny, trace, LD, also=stop)


def test_gradients_at_inputs_are_autograds(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    kept: dict[Site, Tensor] = {}

    def keep(site: Site, layer: int, x: Tensor) -> Tensor:
        if site in (Site.Q, Site.K, Site.V, Site.MLP_PRE) and layer == 1:
            kept[site] = x.requires_grad_() if x.is_leaf else x
        return x

    with torch.enable_grad():
        logits = tiny(torch.tensor([TOKENS]), compose(keep))
        expected = torch.autograd.grad(
            LD.of(logits[0, END]), [kept[s] for s in (Site.Q, Site.K, Site.V, Site.MLP_PRE)]
        )
    by: InputGradients = input_gradients(tiny, trace, LD, treatment=Treatment.NONE)
    for ours, theirs in zip((by.q, by.k, by.v, by.pre), expected, strict=True):
        torch.testing.assert_close(ours[1], theirs[0], rtol=0, atol=1e-12)
