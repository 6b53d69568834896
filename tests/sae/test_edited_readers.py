"""Latents as frames where edges into their sub-layer are edited, or paths give it what it reads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from model.components import Component, Kind, Node
from model.dictionaries import place_of
from model.edits.edges import Carried, EdgeChange, EdgeKeep
from model.edits.interventions import Ablate, Change, Mode, Patch, Sources, Span
from model.edits.links import Link
from model.edits.path_edits import Meaning, PathPatch
from model.effects import attribution
from model.effects.attribution import Treatment
from model.effects.backward import value_of
from model.effects.writes import effects_of
from model.frames import frame_target
from model.gpt2 import GPT2
from model.latents import encoded
from model.nodes import joined
from model.trace import Trace, record
from tests.sae.test_splices import PLACES, loaded, strongest
from tests.tiny import A0, EMBED, END, L0H1, M0, TOKENS

WHOLE, STEP = Span(0, END), 1e-5
TABLES = (attribution.embed_table, attribution.head_table, attribution.mlp_table, attribution.bias_table)


def into(layer: int, *changes: Ablate | Patch) -> EdgeChange:
    readers = [Component(kind, layer, head) for kind, head in ((Kind.Q, 0), (Kind.K, 2), (Kind.V, 1))]
    return EdgeChange(
        tuple(Carried(each, to) for to in (*readers, Component(Kind.MLP, layer)) for each in changes)
    )


def edits(layer: int) -> Mapping[str, tuple[Change, ...]]:
    query, mlp = Component(Kind.Q, layer, 0), Component(Kind.MLP, layer)
    return {
        "cut": (into(layer, Ablate(M0), Ablate(L0H1)),),
        "from B": (into(layer, Patch(A0, WHOLE, WHOLE)),),
        "kept": (EdgeKeep((Link(M0, query), Link(L0H1, mlp)), Patch(EMBED, WHOLE, WHOLE)),),
        "within": (Ablate(query, mode=Mode.SCALE, amount=0.5), into(layer, Ablate(M0))),
        "a path": (PathPatch((Patch(L0H1, WHOLE, WHOLE),), (query, mlp), Meaning.DIRECT),),
    }


def latent_of(trace: Trace, letter: str) -> Node:
    return Node(strongest(trace, PLACES[letter]), END)


def pre_of(trace: Trace, node: Node) -> float:
    at = place_of(node.component)
    x = encoded(trace, at)[node.pos]
    return float(trace.dictionaries[at].pre_activations(x, torch.tensor([node.component.index]))[0])


@pytest.mark.parametrize("letter", ["m", "p", "a", "z"])
@pytest.mark.parametrize("name", edits(1))
def test_rows_add_up_to_a_latent_and_are_slopes_of_the_run(
    tiny: GPT2, sources: Sources, letter: str, name: str
) -> None:
    given = replace(sources, dictionaries=loaded("mpazrio"))
    changes: Sequence[Change] = edits(PLACES[letter][1])[name]
    trace = record(tiny, TOKENS, changes, given)
    node = latent_of(trace, letter)
    target = frame_target(tiny, trace, node)
    assert target.value == pytest.approx(pre_of(trace, node), abs=1e-10)
    assert value_of(tiny, trace, target) == pytest.approx(target.value, abs=1e-10)
    by = attribution.gradients(tiny, trace, target, given, Treatment.NONE)
    table = joined([each(tiny, trace, by) for each in TABLES])
    assert table.direct.sum() == pytest.approx(target.value, abs=1e-9)
    for part, pos in ((L0H1, END), (EMBED, END), (Component(Kind.ATTN_BIAS, 0), END), (L0H1, 3), (EMBED, 2)):
        more = Ablate(part, Span(pos, pos), mode=Mode.SCALE, amount=1 + STEP)
        run = record(tiny, TOKENS, (*changes, more), given)
        slope = (pre_of(run, node) - target.value) / STEP
        if name == "a path" and letter in "mp":
            slope = 0.0  # what a path gives is held
        elif name == "a path":
            continue
        found = effects_of(tiny, trace, by, Node(part, pos)).total
        assert found == pytest.approx(slope, rel=2e-3, abs=2e-5), (part, pos)


@pytest.mark.parametrize("letter", ["a", "z"])
def test_heads_one_by_one_are_all_of_them_together(tiny: GPT2, sources: Sources, letter: str) -> None:
    """An edge that carries all of what it carried changes nothing."""
    given = replace(sources, dictionaries=loaded("mpazrio"))
    still = into(PLACES[letter][1], Ablate(M0, mode=Mode.SCALE, amount=1.0))
    plain, apart = (record(tiny, TOKENS, changes, given) for changes in ((), (still,)))
    node = latent_of(plain, letter)
    one, other = (
        attribution.head_table(
            tiny, trace, attribution.gradients(tiny, trace, frame_target(tiny, trace, node), given)
        )
        for trace in (plain, apart)
    )
    assert one.direct == pytest.approx(other.direct, abs=1e-10)
    assert one.total == pytest.approx(other.total, abs=1e-10)
