"""Edges and paths against TransformerLens: its direct path patching, and four passes made with its own hooks.

The corrupted run is the one that is edited, and values come from the clean run.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Patch, Sources, Span
from model.edits.links import INPUTS
from model.edits.path_edits import Meaning, PathPatch
from model.measured.path_sweep import Sweep, measured
from model.measured.scorers import metric_scorer
from model.sites import Site
from model.trace import Trace, record
from tests.oracle.bridge import END, LD, ODD, Both, close, ids, peer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore"),  # the peer's own, and those of what it imports
]

WHOLE = Span(0, END)
SOURCES = [Component(Kind.HEAD, 0, 3), Component(Kind.HEAD, 1, 1)]


def into(kind: Kind, layer: int, head: int) -> Component:
    return Component(kind, layer, head)


def from_clean(source: Component) -> Patch:
    return Patch(source, WHOLE, WHOLE)


def value(both: Both, run: Trace) -> float:
    return float(LD.of(both.model.unembed(run[Site.LN_FINAL, 0][END])))


@pytest.mark.parametrize("kind", INPUTS, ids=lambda kind: kind.letters)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_edges_and_direct_paths_are_get_act_patch_direct_path(
    both: Both, source: Component, kind: Kind
) -> None:
    """Convention: rows of layers that the source does not come before are 0, not measured."""
    sweep = peer("patching").get_act_patch_direct_path
    theirs = sweep(
        both.plain, ids(both.corrupt), both.cache, both.other_cache, both.metric_of, source.layer, source.index,
        component=kind.letters, verbose=False,
    )  # fmt: skip
    ours = torch.zeros(3, ODD.n_layer, ODD.n_head)
    sources, scorer = Sources(other=both.trace), metric_scorer(both.model, LD)
    for layer in range(source.layer + 1, ODD.n_layer):
        for head in range(ODD.n_head):
            to, send = into(kind, layer, head), from_clean(source)
            edge = EdgeChange((Carried(send, to),))
            ours[0, layer, head] = value(both, record(both.model, both.corrupt, [edge], sources))
            path = PathPatch((send,), (to,))
            ours[1, layer, head] = value(both, record(both.model, both.corrupt, [path], sources))
            swept = measured(Sweep(both.model, both.other, [send], (to,), sources=sources), scorer)
            ours[2, layer, head] = dict(swept)[0]
    for each in ours:
        close(each, theirs)


Edit = Callable[[Tensor], Tensor]


def hooked(both: Both, edits: Sequence[tuple[str, Edit]]) -> float:
    """The peer's metric of the corrupted prompt with some of its hooked tensors edited."""

    def made(edit: Edit) -> Callable[..., Tensor]:
        return lambda x, hook: edit(x.clone())

    with torch.no_grad():
        hooks = [(name, made(edit)) for name, edit in edits]
        return float(both.metric_of(both.plain.run_with_hooks(ids(both.corrupt), fwd_hooks=hooks)))


@pytest.mark.parametrize("meaning", Meaning, ids=lambda meaning: meaning.value)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_paths_are_the_four_passes_of_the_ioi_paper(both: Both, source: Component, meaning: Meaning) -> None:
    """Its hooks hold every head's z (and each MLP's output) in the third pass, and set queries, keys, values last."""
    receivers = (into(Kind.Q, 2, 0), into(Kind.K, 2, 0), into(Kind.V, 2, 4))
    seen: dict[str, Tensor] = {}

    def kept(name: str) -> Edit:
        def keep(x: Tensor) -> Tensor:
            seen[name] = x
            return x

        return keep

    def held(name: str) -> Edit:
        return lambda x: both.other_cache[name].clone()

    def with_source(name: str) -> Edit:
        def edit(x: Tensor) -> Tensor:
            x = both.other_cache[name].clone()
            x[:, :, source.index] = both.cache[name][:, :, source.index]
            return x

        return edit

    third: list[tuple[str, Edit]] = []
    for layer in range(ODD.n_layer):
        z = f"blocks.{layer}.attn.hook_z"
        third.append((z, with_source(z) if layer == source.layer else held(z)))
        if meaning is Meaning.DIRECT:
            third.append((f"blocks.{layer}.hook_mlp_out", held(f"blocks.{layer}.hook_mlp_out")))
    names = {receiver: f"blocks.2.attn.hook_{receiver.kind.letters}" for receiver in receivers}
    hooked(both, [*third, *((name, kept(name)) for name in names.values())])

    def given(receiver: Component) -> Edit:
        def edit(x: Tensor) -> Tensor:
            x[:, :, receiver.index] = seen[names[receiver]][:, :, receiver.index]
            return x

        return edit

    theirs = hooked(both, [(names[receiver], given(receiver)) for receiver in receivers])
    path = PathPatch((from_clean(source),), receivers, meaning)
    ours = value(both, record(both.model, both.corrupt, [path], Sources(other=both.trace)))
    close(torch.tensor([ours]), torch.tensor([theirs]))
    assert abs(ours - value(both, both.other)) > 1e-6
