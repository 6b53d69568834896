"""Latents in the tree upstream: which rows a frame has, and what is worth what two steps up."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind, Node
from model.dictionaries import place_of
from model.edits.interventions import Ablate, Mode, Sources, Span
from model.effects import attribution
from model.effects.latents import dictionary_tables, in_use, replaced_rows, stands_for
from model.effects.writes import write_of
from model.frames import frame_target
from model.gpt2 import GPT2
from model.latents import matrix_out
from model.nodes import joined
from model.sites import Site
from model.targets import Target, Via, metric_target, trace_target
from model.trace import Trace, record
from model.upstream import rows
from model.upstream.branches import Branch
from model.upstream.tree import Pruning, tree
from tests.sae.test_splices import FEW, PLACES, loaded, strongest
from tests.tiny import EDITS, END, LD, TOKENS

FULL = Pruning(depth=1, top=100_000)
PAIR = Node(Component(Kind.HEAD, 2, 1), END, 3)


def direct_rows(
    model: GPT2, trace: Trace, target: Target, letters: Collection[str], sources: Sources
) -> dict[Node, float]:
    by = attribution.gradients(model, trace, target, sources)
    parts = (attribution.embed_table, attribution.pair_table, attribution.mlp_table)
    plain = joined([part(model, trace, by) for part in parts])
    used = in_use(trace, letters, target.line, target.latent)
    own = [dictionary_tables(model, trace, by, used)[group] for group in ("latent", "error")]
    table = joined([plain.take(~stands_for(plain, used)), replaced_rows(trace, by, used), *own])
    return {table.node(row): float(table.direct[row]) for row in np.flatnonzero(table.direct).tolist()}


@pytest.mark.parametrize("edit", ["none", "mlp patch", "many"])
@pytest.mark.parametrize("letters", ["ma", "pz", "rm", "mpazrio"])
def test_a_trees_first_branches_are_the_frames_direct_effects(
    tiny: GPT2, sources: Sources, letters: str, edit: str
) -> None:
    given = replace(sources, dictionaries=loaded("mpazrio"))
    trace = record(tiny, TOKENS, EDITS[edit], given)
    pruning = replace(FULL, latents=frozenset(letters))
    frames = [metric_target(tiny, trace, LD), trace_target(tiny, trace, PAIR, Via.QK)]
    frames += [frame_target(tiny, trace, Node(strongest(trace, PLACES[each]), END)) for each in FEW]
    for frame in frames:
        found = {branch.node: branch.effect for branch in tree(tiny, trace, frame, pruning).children}
        wanted = direct_rows(tiny, trace, frame, letters, given)
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, abs=1e-10)


def through(model: GPT2, trace: Trace, node: Node, child: Node) -> float:
    """The child's write . autograd's gradient of the final read, only by way of the latent, norms' scales held."""
    part, at = node.component, place_of(node.component)
    layer, block = part.layer, model.blocks[part.layer]
    direct = attribution.gradients(model, trace, metric_target(model, trace, LD)).direct[node.pos]
    norm, site, scale = (
        (block.ln_2, Site.RESID_MID, Site.LN2_SCALE)
        if part.site in "mp"
        else (block.ln_1, Site.RESID_PRE, Site.LN1_SCALE)
    )
    write = write_of(model, trace, child)
    with torch.enable_grad():
        amount = torch.zeros((), dtype=write.dtype, requires_grad=True)
        x = trace[at if part.site in "rio" else (site, layer)].clone()
        x[child.pos] = x[child.pos] + amount * write
        seen = x
        if part.site not in "rio":
            centred = x - x.mean(-1, keepdim=True)
            seen = centred / trace[scale, layer] * norm.weight + norm.bias
        pre = trace.dictionaries[at].pre_activations(inside(model, node, seen))[part.index or 0]
        (slope,) = torch.autograd.grad(pre, amount)
    row = trace.dictionaries[at].w_dec[part.index or 0]
    out = matrix_out(model, at)
    return float(slope) * float((row if out is None else row @ out) @ direct)


def inside(model: GPT2, node: Node, seen: Tensor) -> Tensor:
    """What the dictionary reads at the node's token when its sub-layer reads `seen`, [pos, d_model]."""
    (site, layer), found = place_of(node.component), dict[Site, Tensor]()

    def watch(here: Site, layer: int, x: Tensor) -> Tensor:
        found[here] = x
        return x

    if node.component.site in "rio":
        return seen[node.pos]
    block = model.blocks[layer]
    (block.mlp if node.component.site in "mp" else block.attn)(seen[None], layer, watch)
    x = found[site][0]
    return (x.transpose(0, 1).flatten(1) if site is Site.Z else x)[node.pos]


@pytest.mark.parametrize("letter", PLACES)
def test_effects_two_steps_up_are_autograds_gradient_through_the_latent(tiny: GPT2, letter: str) -> None:
    trace = record(tiny, TOKENS, (), Sources(dictionaries=loaded(letter)))
    pruning = Pruning(depth=2, top=16, latents=frozenset(letter))
    root = tree(tiny, trace, metric_target(tiny, trace, LD), pruning)
    opened = [branch for branch in root.children if kind_of(branch) is Kind.LATENT]
    assert len(opened) > 1
    for branch in opened[:4]:
        assert branch.node is not None and branch.children
        for child in branch.children[:8]:
            assert child.node is not None
            wanted = through(tiny, trace, branch.node, child.node)
            assert child.effect == pytest.approx(wanted, rel=1e-8, abs=1e-11)


def kind_of(branch: Branch) -> Kind | None:
    return None if branch.node is None else branch.node.component.kind


def test_errors_and_edited_latents_end_a_branch(tiny: GPT2) -> None:
    given = Sources(dictionaries=loaded("ma"))
    before = record(tiny, TOKENS, (), given)
    part = strongest(before, PLACES["m"])
    trace = record(tiny, TOKENS, (Ablate(part, Span(END, END), mode=Mode.SCALE, amount=0.5),), given)
    pruning = Pruning(depth=1, top=500, latents=frozenset("ma"))
    root = tree(tiny, trace, metric_target(tiny, trace, LD), pruning)
    ends = {branch.node.component for branch in root.children if branch.node and not branch.opens}
    assert part in ends
    kinds = {end.kind for end in ends} - {Kind.EMBED, Kind.HEAD, Kind.MLP}
    assert kinds == {Kind.LATENT, Kind.ERROR}


def test_what_a_dictionary_has_at_a_token_is_found_once(tiny: GPT2, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = record(tiny, TOKENS, (), Sources(dictionaries=loaded("mar")))
    asked: list[tuple[object, int]] = []
    whole = rows.active

    def counted(trace: Trace, at: tuple[Site, int], positions: list[int]) -> object:
        asked.extend((at, pos) for pos in positions)
        return whole(trace, at, positions)

    monkeypatch.setattr(rows, "active", counted)
    tree(tiny, trace, metric_target(tiny, trace, LD), Pruning(depth=2, top=12, latents=frozenset("ma")))
    assert len(asked) == len(set(asked)) >= 2
