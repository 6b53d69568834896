"""Path patching: against the four passes in loops, both meanings in their limits, sweeps against single paths."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.components import Component, Kind
from model.edits.directions import Direction
from model.edits.edge_tables import all_readers
from model.edits.edges import Carried, EdgeChange
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Sources, Span, Steer
from model.edits.links import INPUTS, readers_of, reading_line
from model.edits.path_edits import Meaning, PathPatch, check_path
from model.gpt2 import GPT2
from model.lines import written_on
from model.measured.path_sweep import Sweep, estimated, measured, senders
from model.measured.scorers import metric_scorer, unchanged
from model.sites import Site
from model.trace import Trace, record
from tests.naive import Array, Naive
from tests.sampled import generate
from tests.tiny import (
    A1,
    BM1,
    EMBED,
    END,
    L0H1,
    L1H2,
    L2H0,
    LAST,
    LD,
    M0,
    M1,
    M2,
    MIDDLE,
    OTHER,
    TINY,
    TOKENS,
    random_model,
    sources_of,
)

U = Component(Kind.UNEMBED)
WHOLE = Span(0, END)
HEADS = [Component(Kind.HEAD, layer, head) for layer in range(3) for head in range(TINY.n_head)]
MLPS = [M0, M1, M2]
READERS = [head for line in range(1, 2 * TINY.n_layer + 2) for head in all_readers(line, TINY)]
L2H0Q, L2H0K, L2H3V, L1H2V = (
    Component(kind, layer, head)
    for kind, layer, head in zip((*INPUTS, Kind.V), (2, 2, 2, 1), (0, 0, 3, 2), strict=True)
)
DIRECT, THROUGH = Meaning.DIRECT, Meaning.MLPS


def logits(model: GPT2, trace: Trace) -> torch.Tensor:
    return model.unembed(trace[Site.LN_FINAL, 0])


def patched(model: GPT2, path: PathPatch, sources: Sources, *others: Change) -> torch.Tensor:
    return logits(model, record(model, TOKENS, [*others, path], sources))


def close(x: torch.Tensor, y: torch.Tensor) -> None:
    torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


# The naive side: the four passes of Wang et al., each a whole pass of the numpy model.


def four_passes(naive: Naive, path: PathPatch, before: Sequence[Ablate] = ()) -> Array:
    """Run A under `before`, which zeroes parts; senders from B or zeroed."""

    def zeroed(name: str, layer: int, value: Array) -> Array:
        value = value.copy()
        for change in before:
            part = change.component
            if (name, layer, part.kind) == ("z", part.layer, Kind.HEAD):
                value[part.index] = 0
            elif (name, layer, part.kind) == ("mlp_out", part.layer, Kind.MLP):
                value[:] = 0
        return value

    a, b = naive.run(TOKENS, zeroed).sites, naive.run(OTHER).sites

    def third(name: str, layer: int, value: Array) -> Array:
        value = zeroed(name, layer, value)
        if name == "z" or (name == "mlp_out" and path.meaning is DIRECT):
            value = a[name, layer].copy()
        for change in path.sends:
            part, rows = change.component, slice(None) if change.span is None else change.span.slice
            new = np.zeros_like(b["resid_pre", 0]) if isinstance(change, Ablate) else None
            if (name, layer, part.kind) == ("z", part.layer, Kind.HEAD):
                value[part.index, rows] = 0 if new is not None else b[name, layer][part.index, rows]
            at = {Kind.MLP: "mlp_out", Kind.EMBED: "resid_pre"}.get(part.kind)
            if (name, layer) == (at, part.layer):
                value[rows] = (b[name, layer] if new is None else new)[rows]
        return value

    c = naive.run(TOKENS, third).sites

    def fourth(name: str, layer: int, value: Array) -> Array:
        value = zeroed(name, layer, value)
        rows = slice(None) if path.tokens is None else path.tokens.slice
        for receiver in path.receivers:
            if receiver.kind in INPUTS and (name, layer) == (receiver.kind.letters, receiver.layer):
                value[receiver.index, rows] = c[name, layer][receiver.index, rows]
            if receiver.kind is Kind.MLP and (name, layer) == ("mlp_pre", receiver.layer):
                value[rows] = c[name, layer][rows]
            if receiver.kind is Kind.UNEMBED and (name, layer) == ("resid_post", TINY.n_layer - 1):
                value[rows] = c[name, layer][rows]
        return value

    return naive.run(TOKENS, fourth)["logits", 0]


@st.composite
def paths(draw: st.DrawFn) -> PathPatch:
    receivers = draw(st.lists(st.sampled_from(READERS[12:]), min_size=1, max_size=4, unique=True))
    end = min(reading_line(receiver, 3) for receiver in receivers)
    early = [part for part in (EMBED, *HEADS, *MLPS) if written_on(part) < end]
    span = draw(st.sampled_from((LAST, MIDDLE, WHOLE)))
    parts = draw(st.lists(st.sampled_from(early), min_size=1, max_size=4, unique=True))
    zero = draw(st.booleans())
    sends = tuple(Ablate(part, span) if zero else Patch(part, span, span) for part in parts)
    tokens = draw(st.sampled_from((None, LAST, Span(3, END))))
    return PathPatch(sends, tuple(receivers), draw(st.sampled_from(Meaning)), tokens)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths(), before=st.sampled_from(((), (Ablate(L0H1), Ablate(M1)))))
def test_a_path_is_what_the_four_passes_give(
    tiny: GPT2, naive: Naive, sources: Sources, path: PathPatch, before: tuple[Ablate, ...]
) -> None:
    ours = patched(tiny, path, sources, *before).numpy()
    np.testing.assert_allclose(ours, four_passes(naive, path, before), rtol=0, atol=1e-9)


def test_the_two_meanings_are_two(tiny: GPT2, sources: Sources) -> None:
    sends = (Patch(L0H1, WHOLE, WHOLE),)
    direct, through = (patched(tiny, PathPatch(sends, (L2H0Q,), each), sources) for each in Meaning)
    assert float((direct - through).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [(M1, L2H0Q), (L2H0, M2), (L1H2, M1), (M2, U), (EMBED, Component(Kind.K, 0, 1))],
    ids=str,
)
def test_P_with_no_mlp_in_between_the_meanings_are_one_and_an_edge(
    tiny: GPT2, sources: Sources, sender: Component, receiver: Component
) -> None:
    change = Patch(sender, WHOLE, WHOLE)
    edge = logits(tiny, record(tiny, TOKENS, [EdgeChange((Carried(change, receiver),))], sources))
    for meaning in Meaning:
        close(patched(tiny, PathPatch((change,), (receiver,), meaning), sources), edge)


def test_P_where_mlps_write_nothing_the_meanings_are_one() -> None:
    model = random_model()
    for block in model.blocks:
        block.mlp.c_proj.weight.zero_()
    sources = sources_of(model)
    for receivers in ((L2H0Q, L2H3V), (U,), (L1H2V, L2H0K)):
        sends = (Patch(L0H1, WHOLE, WHOLE),)
        direct, through = (patched(model, PathPatch(sends, receivers, each), sources) for each in Meaning)
        close(direct, through)


def test_P_direct_paths_into_one_line_are_edges(tiny: GPT2, sources: Sources) -> None:
    """Into several lines they are not: a path's receivers do not read what an earlier receiver then writes."""
    changes = (Patch(L0H1, WHOLE, WHOLE), Ablate(M0, MIDDLE), Patch(EMBED, LAST, LAST))
    for receivers, same in (((L2H0Q, L2H0K, L2H3V), True), ((L1H2V, L2H0K), False)):
        edges = EdgeChange(tuple(Carried(change, each) for change in changes for each in receivers))
        by_edges = logits(tiny, record(tiny, TOKENS, [edges], sources))
        sends = tuple(PathPatch((change,), receivers) for change in changes)
        by_path = logits(tiny, record(tiny, TOKENS, sends, sources))
        assert torch.allclose(by_path, by_edges, rtol=0, atol=1e-9) == same


def test_P_direct_paths_to_the_logits_are_direct_effects_with_the_final_norm_live(
    tiny: GPT2, sources: Sources
) -> None:
    assert sources.other is not None
    clean = record(tiny, TOKENS)
    w_o = tiny.blocks[1].attn.c_proj.weight[2 * 12 : 3 * 12]
    moved = (sources.other[Site.Z, 1][2] - clean[Site.Z, 1][2]) @ w_o
    expected = tiny.unembed(tiny.final_norm(clean[Site.RESID_POST, 2] + moved))
    close(patched(tiny, PathPatch((Patch(L1H2, WHOLE, WHOLE),), (U,)), sources), expected)


def test_P_all_senders_from_the_other_prompt_carry_all_of_it(tiny: GPT2, sources: Sources) -> None:
    """Directly everything that writes; through MLPs the embedding and the heads alone."""
    other = logits(tiny, record(tiny, OTHER))
    heads = tuple(Patch(part, WHOLE, WHOLE) for part in (EMBED, *HEADS))
    every = (*heads, *(Patch(part, WHOLE, WHOLE) for part in MLPS))
    close(patched(tiny, PathPatch(every, (U,), DIRECT), sources), other)
    close(patched(tiny, PathPatch(heads, (U,), THROUGH), sources), other)
    close(patched(tiny, PathPatch(every, (U,), THROUGH), sources), other)


def test_P_from_the_same_prompt_nothing_changes_to_the_bit(tiny: GPT2, tiny32: GPT2) -> None:
    for model in (tiny, tiny32):
        clean = record(model, TOKENS)
        for meaning in Meaning:
            path = PathPatch((Patch(L0H1, WHOLE, WHOLE), Patch(M0, LAST, LAST)), (L2H0Q, M2, U), meaning)
            run = record(model, TOKENS, [path], Sources(other=clean))
            assert torch.equal(logits(model, run), logits(model, clean))


def test_paths_stack_with_other_changes_in_any_order(tiny: GPT2, sources: Sources) -> None:
    path = PathPatch((Patch(L0H1, WHOLE, WHOLE),), (L2H0Q, U), THROUGH)
    second = PathPatch((Patch(M0, WHOLE, WHOLE),), (L2H0Q,))
    others = [
        Ablate(L1H2, MIDDLE),
        Patch(M1, LAST, LAST),
        EdgeChange((Carried(Ablate(EMBED, LAST), L2H0Q), Carried(Ablate(L1H2), Component(Kind.MLP, 2)))),
        second,
    ]
    first = logits(tiny, record(tiny, TOKENS, [path, *others], sources))
    for at in range(1, len(others) + 1):
        again = logits(tiny, record(tiny, TOKENS, [*others[:at], path, *others[at:]], sources))
        close(again, first)
    assert not torch.allclose(first, logits(tiny, record(tiny, TOKENS, others, sources)))


def test_paths_into_one_receiver_add_up(tiny: GPT2, sources: Sources) -> None:
    sends = (Patch(L0H1, WHOLE, WHOLE), Patch(M0, MIDDLE, MIDDLE))
    apart = [PathPatch((each,), (L2H0Q, U)) for each in sends]
    close(
        logits(tiny, record(tiny, TOKENS, apart, sources)),
        patched(tiny, PathPatch(sends, (L2H0Q, U)), sources),
    )


def test_a_path_ends_where_the_stream_is_replaced(tiny: GPT2, sources: Sources) -> None:
    cut = Patch(Component(Kind.RESID_MID, 1), WHOLE, WHOLE)
    without = logits(tiny, record(tiny, TOKENS, [cut], sources))
    for meaning in Meaning:
        path = PathPatch((Ablate(L0H1), Ablate(EMBED)), (L2H0Q, U), meaning)
        assert torch.equal(patched(tiny, path, sources, cut), without)


def test_a_run_that_begins_later_is_the_same(tiny: GPT2, sources: Sources) -> None:
    base = record(tiny, TOKENS, [Ablate(M0)], sources)
    for meaning in Meaning:
        path = PathPatch((Patch(L0H1, WHOLE, WHOLE),), (L2H0Q,), meaning)
        whole, late = (record(tiny, TOKENS, [Ablate(M0), path], sources, base=each) for each in (None, base))
        assert torch.equal(logits(tiny, whole), logits(tiny, late))


def test_generated_tokens_follow_a_path_of_the_prompt(tiny: GPT2, sources: Sources) -> None:
    path = PathPatch((Patch(EMBED, WHOLE, WHOLE),), (U,))
    first = int(logits(tiny, record(tiny, TOKENS, [path], sources))[-1].argmax())
    assert next(generate(tiny, TOKENS, 3, [path], sources)) == first
    assert len(list(generate(tiny, TOKENS, 3, [path], sources))) == 3


STREAM: tuple[Change, ...] = (
    Ablate(Component(Kind.RESID_MID, 1), MIDDLE, mode=Mode.SCALE, amount=0.5),
    Ablate(Component(Kind.RESID_POST, 1), mode=Mode.SCALE, amount=-1.5),
    Ablate(Component(Kind.RESID_PRE, 2), LAST, mode=Mode.NOISE, amount=0.3),
    Steer(Component(Kind.RESID_POST, 0), amount=2.0, direction=Direction("any", (0.3, *(0.1,) * 47))),
    Patch(Component(Kind.RESID_PRE, 2), MIDDLE, MIDDLE),
    Patch(Component(Kind.RESID_POST, 2), MIDDLE, MIDDLE),
    Ablate(Component(Kind.RESID_PRE, 0), MIDDLE, mode=Mode.SCALE, amount=2.0),
    Ablate(A1, mode=Mode.SCALE, amount=0.5),
    Ablate(Component(Kind.ATTN, 0), MIDDLE, mode=Mode.NOISE, amount=0.3),
    Ablate(M0, MIDDLE, mode=Mode.SCALE, amount=0.5),
    Freeze(Component(Kind.LN1_SCALE, 2)),
    Freeze(Component(Kind.LN2_SCALE, 1), LAST),
)
"Edits on the way of a path."


@pytest.mark.parametrize("meaning", Meaning)
@pytest.mark.parametrize("before", STREAM, ids=str)
def test_a_path_goes_through_edits_of_the_stream_as_four_whole_runs_do(
    tiny: GPT2, sources: Sources, before: Change, meaning: Meaning
) -> None:
    """Each pass a run of its own: heads, and MLPs where the path is direct, frozen in the third at run A's values."""
    sources = replace(sources, base=record(tiny, TOKENS))
    receivers = (L2H0Q, L2H0K, L2H3V)
    run_a = record(tiny, TOKENS, [before], sources)
    frozen = [Freeze(part) for part in (*HEADS, *(MLPS if meaning is DIRECT else ()))]
    for send in (
        Patch(L0H1, WHOLE, WHOLE),
        Patch(L1H2, LAST, LAST),
        Ablate(M0, MIDDLE),
        Patch(EMBED, LAST, LAST),
    ):
        third = record(tiny, TOKENS, [before, *frozen, send], replace(sources, base=run_a))
        given = [Patch(receiver, WHOLE, WHOLE, example=1) for receiver in receivers]
        fourth = record(tiny, TOKENS, [before, *given], replace(sources, examples={1: third}))
        close(patched(tiny, PathPatch((send,), receivers, meaning), sources, before), logits(tiny, fourth))


@pytest.mark.parametrize("meaning", Meaning)
@pytest.mark.parametrize("before", STREAM, ids=str)
def test_P_sweeps_and_their_estimates_go_through_edits_of_the_stream(
    tiny: GPT2, sources: Sources, before: Change, meaning: Meaning
) -> None:
    sources = replace(sources, base=record(tiny, TOKENS))
    step, receivers = 1e-5, (L2H0Q, L2H3V)
    trace, scorer = record(tiny, TOKENS, [before], sources), metric_scorer(tiny, LD)
    sends = [
        Ablate(part, mode=Mode.SCALE, amount=1 + step)
        for part in senders(receivers, TINY.n_layer, TINY.n_head)
    ]
    sweep = Sweep(tiny, trace, sends, receivers, meaning, sources)
    effects = (
        torch.tensor([new - unchanged(tiny, trace, scorer) for _, new in measured(sweep, scorer)]) / step
    )
    estimates = torch.tensor([slope for _, slope in estimated(sweep, LD)]) / step
    torch.testing.assert_close(effects, estimates, rtol=1e-3, atol=1e-5)


# Sweeps.


@pytest.mark.parametrize("meaning", Meaning)
@pytest.mark.parametrize(
    "receivers", [(L2H0Q,), (L2H0K, L2H3V), (U,), (M1, L2H0Q), (M2, U)], ids=lambda each: str(each[0])
)
@pytest.mark.parametrize("before", [(), (Ablate(L0H1, MIDDLE), Ablate(M1, LAST))], ids=["plain", "edited"])
def test_P_a_sweep_is_its_paths_one_by_one(
    tiny: GPT2,
    sources: Sources,
    meaning: Meaning,
    receivers: tuple[Component, ...],
    before: tuple[Ablate, ...],
) -> None:
    trace, scorer = record(tiny, TOKENS, before, sources), metric_scorer(tiny, LD)
    parts = list(senders(receivers, TINY.n_layer, TINY.n_head))
    sends = [Patch(part, WHOLE, WHOLE) for part in parts]
    found = dict(measured(Sweep(tiny, trace, sends, receivers, meaning, sources), scorer))
    assert list(found) == list(range(len(parts)))
    for number in (0, 1, 4, len(sends) - 1):
        run = record(tiny, TOKENS, [*before, PathPatch((sends[number],), receivers, meaning)], sources)
        assert found[number] == pytest.approx(unchanged(tiny, run, scorer), abs=1e-10)


def test_a_sweep_of_edges_in_force_keeps_them(tiny: GPT2, sources: Sources) -> None:
    edges = EdgeChange((Carried(Ablate(M0), L2H0Q), Carried(Ablate(L2H0), U)))
    trace, scorer = record(tiny, TOKENS, [edges], sources), metric_scorer(tiny, LD)
    send = Patch(L0H1, WHOLE, WHOLE)
    found = dict(measured(Sweep(tiny, trace, [send], (L2H0Q,), THROUGH, sources), scorer))
    run = record(tiny, TOKENS, [edges, PathPatch((send,), (L2H0Q,), THROUGH)], sources)
    assert found[0] == pytest.approx(unchanged(tiny, run, scorer), abs=1e-10)


@pytest.mark.parametrize("meaning", Meaning)
@pytest.mark.parametrize(
    "receivers", [(L2H0Q, L2H0K), (U,), (M1, L2H3V), (L1H2V, M2, U)], ids=lambda each: str(each[0])
)
@pytest.mark.parametrize("before", [(), (Ablate(L0H1, MIDDLE), Ablate(M1, LAST))], ids=["plain", "edited"])
def test_P_the_estimate_is_the_first_order_of_the_measurement(
    tiny: GPT2,
    sources: Sources,
    meaning: Meaning,
    receivers: tuple[Component, ...],
    before: tuple[Ablate, ...],
) -> None:
    """As a sender's change goes to nothing, measured effect / estimate goes to 1."""
    trace, scorer = record(tiny, TOKENS, before, sources), metric_scorer(tiny, LD)
    parts = list(senders(receivers, TINY.n_layer, TINY.n_head))
    step = 1e-5
    sends = [Ablate(part, mode=Mode.SCALE, amount=1 + step) for part in parts]
    sweep = Sweep(tiny, trace, sends, receivers, meaning, sources)
    value = unchanged(tiny, trace, scorer)
    effects = torch.tensor([new - value for _, new in measured(sweep, scorer)]) / step
    estimates = torch.tensor([value for _, value in estimated(sweep, LD)]) / step
    assert float(estimates.abs().max()) > 1e-3
    torch.testing.assert_close(effects, estimates, rtol=1e-3, atol=1e-5)


def test_a_sweep_refuses_a_run_of_paths(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS, [PathPatch((Ablate(L0H1),), (U,))], sources)
    with pytest.raises(ValueError, match="a sweep of paths is of a run without paths"):
        Sweep(tiny, trace, [Ablate(L0H1)], (U,))


def test_what_is_no_path_gets_one_sentence() -> None:
    with pytest.raises(ValueError) as error:
        check_path(PathPatch((Ablate(L2H0),), (L2H0Q,)), TINY.n_layer)
    assert str(error.value) == "L2H0 does not come before L2H0.q: an edge goes down the pass"
    with pytest.raises(ValueError) as error:
        PathPatch((Ablate(A1), Ablate(L1H2)), (U,))
    assert str(error.value) == "L1H2 and A1 write the same: name one of them as the sender"
    with pytest.raises(ValueError):
        PathPatch((Ablate(BM1), Ablate(M1)), (U,))


def test_the_text_is_the_command() -> None:
    path = PathPatch((Patch(L0H1, LAST, LAST), Patch(M0, LAST, LAST)), (L2H0Q, L2H0K), THROUGH)
    assert str(path) == "path L0H1,M0@6 -> L2H0.q,L2H0.k from B mlps"
    assert str(PathPatch((Ablate(M0),), (U,), tokens=LAST)) == "path M0@* -> U@6 zero direct"
    assert readers_of(L2H0, 4)[:2] == path.receivers


@pytest.mark.cuda
def test_on_a_gpu_paths_and_edges_are_the_same(tiny: GPT2, sources: Sources) -> None:
    there = random_model().to("cuda")
    from_b = Sources(other=record(there, OTHER))
    changes = [
        Ablate(L0H1),
        EdgeChange((Carried(Patch(M0, WHOLE, WHOLE), L2H0Q), Carried(Ablate(L1H2, MIDDLE), U))),
        PathPatch((Patch(L0H1, WHOLE, WHOLE), Ablate(M0)), (L2H3V, M2, U), THROUGH, LAST),
    ]
    run = record(there, TOKENS, changes, from_b)
    close(logits(there, run).cpu(), logits(tiny, record(tiny, TOKENS, changes, sources)))
    trace = record(there, TOKENS, changes[:2], from_b)
    sweep = Sweep(there, trace, [Ablate(EMBED), Ablate(M0)], (L2H0Q, U), THROUGH, from_b, LAST)
    assert len(dict(measured(sweep, metric_scorer(there, LD)))) == len(list(estimated(sweep, LD)))
