"""Edges and paths a second time: the independent pass adds each reader's stream up again, and must agree everywhere."""

from collections.abc import Mapping

import pytest
import torch

from model.components import Component, Kind
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Ablate, Change, Mode, Patch, Span
from model.edits.path_edits import Meaning, PathPatch
from model.gpt2 import GPT2
from model.reference.passes import Given
from model.reference.run import PlainGPT2
from model.sites import Site
from model.trace import RECORDED, record
from tests.model.test_cut_edges import EDITS as EDGES
from tests.model.test_reference import SITES, given, plain  # noqa: F401  # pyright: ignore[reportUnusedImport]
from tests.site_edits import SITE_EDITS, full_sources
from tests.tiny import BM1, EDITS, EMBED, END, L0H1, LAST, M0, M2, MIDDLE, N1, TINY, TOKENS

U, Q20, K23, V12 = (
    Component(Kind.UNEMBED),
    Component(Kind.Q, 2, 0),
    Component(Kind.K, 2, 3),
    Component(Kind.V, 1, 2),
)
WHOLE = Span(0, END)
THROUGH = Meaning.MLPS
FROM_B = Patch(L0H1, WHOLE, WHOLE)
PATHS: Mapping[str, tuple[Change, ...]] = {
    "one edge": (PathPatch((FROM_B,), (Q20, U)),),
    "through MLPs": (PathPatch((FROM_B,), (Q20, U, M2), THROUGH),),
    "to some tokens": (PathPatch((Ablate(L0H1),), (Q20, U, M2), THROUGH, MIDDLE),),
    "several": (
        PathPatch((Ablate(L0H1), Patch(M0, WHOLE, WHOLE)), (Q20, U, V12), THROUGH),
        PathPatch((Ablate(EMBED, LAST),), (Q20,), tokens=LAST),
    ),
    "a neuron": (PathPatch((Ablate(L0H1), Ablate(N1)), (Q20, U), THROUGH),),
    "a pair and a bias": (PathPatch((Ablate(L0H1, LAST, key=1), Ablate(BM1)), (K23, U), THROUGH),),
}
SCALED_QUERY = Ablate(Q20, mode=Mode.SCALE, amount=2.0)
TOGETHER: Mapping[str, tuple[Change, ...]] = {
    "a scaled query that a path moves at one token": (
        SCALED_QUERY,
        PathPatch((Ablate(L0H1, LAST),), (Q20, U)),
    ),
    "edges among other edits": (*EDITS["many"], EDGES["heads"], EDGES["a pair"]),
    "edges in an edited stream": (*SITE_EDITS["resid_mid patch"], EDGES["the embedding"], EDGES["heads"]),
    "edges under held scales": (*SITE_EDITS["frozen scales"], EDGES["patched"]),
    "a whole and then its part": (EDGES["whole attention"], EDGES["a pair"]),
    "a part and then its whole": (EDGES["a pair"], EDGES["heads"]),
    "a circuit and then an edge": (EDGES["all but a circuit"], EDGES["whole attention"]),
    "paths with edges": (EDGES["heads"], *PATHS["several"], EDGES["the embedding"]),
    "paths in a circuit": (EDGES["all but a circuit"], *PATHS["through MLPs"]),
    "paths among other edits": (*EDITS["many"], *PATHS["through MLPs"]),
}
CASES = {**{name: (edit,) for name, edit in EDGES.items()}, **PATHS, **TOGETHER}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_readers_meet_the_same_in_both_implementations(
    tiny: GPT2,
    plain: PlainGPT2,  # noqa: F811
    given: Given,  # noqa: F811
    changes: tuple[Change, ...],
) -> None:
    trace = record(tiny, TOKENS, changes, full_sources(tiny), sites=RECORDED | {Site.SCORES})
    run, alone = plain.run(TOKENS, changes, given), plain.run(TOKENS)
    for (name, layer), value in run.values.items():
        torch.testing.assert_close(value, trace[SITES[name], layer], rtol=1e-10, atol=1e-10)
    assert any(not torch.allclose(value, alone[place]) for place, value in run.values.items())


def test_all_edges_of_a_node_are_the_node(plain: PlainGPT2, given: Given) -> None:  # noqa: F811
    """Edges of a head to everything that reads after it, zeroed: the head zeroed."""
    inputs = (
        Component(kind, layer, head)
        for layer in (1, 2)
        for kind in (Kind.Q, Kind.K, Kind.V)
        for head in range(TINY.n_head)
    )
    heads = (*inputs, *(Component(Kind.MLP, layer) for layer in range(3)), U)
    edges = EdgeChange(tuple(Carried(Ablate(L0H1), head) for head in heads))
    by_edges, by_node = plain.run(TOKENS, [edges], given), plain.run(TOKENS, [Ablate(L0H1)], given)
    torch.testing.assert_close(
        plain.logits(by_edges, END), plain.logits(by_node, END), rtol=1e-12, atol=1e-12
    )


def test_a_sender_is_named_once_at_a_token() -> None:
    PathPatch((Ablate(L0H1, Span(2, 3)), Ablate(L0H1, Span(4, 4))), (U,))
    with pytest.raises(ValueError, match=r"^L0H1@3:4 is a sender twice: name each of its tokens once$"):
        PathPatch((Ablate(L0H1, Span(2, 3)), Ablate(L0H1, Span(3, 4))), (U,))
