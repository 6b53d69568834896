"""Steering, freezing, noise and draws: what they leave as it is, and that they are the same each time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.directions import Direction, mean_difference, token_direction
from model.edits.interventions import (
    Ablate,
    AllBut,
    Change,
    ChangeError,
    Freeze,
    Mode,
    Patch,
    Reference,
    Sources,
    Span,
    Steer,
    Way,
    as_hook,
    drawn,
    text_of,
)
from model.edits.noise import gaussian
from model.gpt2 import GPT2
from model.sites import Site
from model.trace import Trace, metric_value, record
from tests.site_edits import (
    ALONG,
    EVERY_Q,
    K1,
    LN1,
    MID1,
    NARROW,
    PATTERN1,
    PRE1,
    Q1,
    SITE_EDITS,
    full_sources,
)
from tests.tiny import (
    A1,
    EMBED,
    END,
    L0H1,
    L1H2,
    LAST,
    LD,
    M0,
    M1,
    MIDDLE,
    N1,
    OTHER,
    REFERENCES,
    TINY,
    TOKEN_EMBED,
    TOKENS,
)

LAYERS, HEADS = range(TINY.n_layer), range(TINY.n_head)


@pytest.fixture(scope="module")
def sources(tiny: GPT2) -> Sources:
    return full_sources(tiny)


def equal(one: Trace, other: Trace) -> None:
    assert all(torch.equal(one[at], other[at]) for at in one.acts)


@pytest.mark.parametrize(
    "steer",
    [
        Steer(PRE1, LAST, amount=2.0, direction=ALONG),
        Steer(M1, amount=2.0, direction=ALONG),
        Steer(Q1, LAST, amount=2.0, direction=NARROW),
        Steer(N1, LAST, amount=2.0),
        Steer(L1H2, LAST, key=1, amount=0.2),
    ],
    ids=str,
)
def test_steering_by_nothing_is_the_clean_run(tiny: GPT2, steer: Steer) -> None:
    clean = record(tiny, TOKENS)
    equal(record(tiny, TOKENS, [steer.with_amount(0)]), clean)
    assert not torch.equal(record(tiny, TOKENS, [steer])[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0])


def test_coefficients_add_up_and_a_unit_vector_has_norm_one(tiny: GPT2) -> None:
    once = Steer(MID1, MIDDLE, amount=0.3, direction=ALONG)
    twice, double = (record(tiny, TOKENS, changes) for changes in ([once, once], [once.with_amount(0.6)]))
    assert (twice[Site.RESID_MID, 1] - double[Site.RESID_MID, 1]).abs().max() < 1e-12
    unit = ALONG.normed()
    assert unit.norm == pytest.approx(1) and str(unit) == "unit(a direction)"
    long = record(tiny, TOKENS, [Steer(MID1, MIDDLE, amount=ALONG.norm, direction=unit)])
    plain = record(tiny, TOKENS, [Steer(MID1, MIDDLE, amount=1.0, direction=ALONG)])
    assert (long[Site.RESID_MID, 1] - plain[Site.RESID_MID, 1]).abs().max() < 1e-12


def test_a_token_direction_raises_one_logit_over_the_other(tiny: GPT2) -> None:
    """Added where the unembedding reads, in proportion to the coefficient, by the final norm's Jacobian."""
    up, down = LD.targets, LD.distractors
    weight, rows = tiny.ln_f.weight, tiny.unembedding
    vector = token_direction(rows, up, down)
    wanted = rows[list(up)].mean(0) - rows[list(down)].mean(0)
    assert np.allclose(vector, wanted.numpy())
    read = Direction("read", tuple((torch.tensor(vector) / weight).tolist()))
    post = Component(Kind.RESID_POST, TINY.n_layer - 1)
    values = [
        metric_value(tiny, record(tiny, TOKENS, [Steer(post, LAST, amount=x, direction=read)]), LD)
        for x in (0, 0.5, 4)
    ]
    assert values == sorted(values) and values[0] != values[2]


def test_a_mean_difference_of_a_set_with_itself_has_no_direction() -> None:
    some = [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])]
    assert mean_difference(some, some[:1]) == (1.0, 1.5)
    with pytest.raises(ValueError, match="it has no direction"):
        Direction("diff(a, a)", mean_difference(some, some))
    with pytest.raises(ValueError, match="on both sides"):
        mean_difference(some, [])
    with pytest.raises(ValueError, match="not finite"):
        Direction("x", (1.0, float("nan")))


def test_setting_and_clamping_a_neuron_hold_it_where_they_say(tiny: GPT2) -> None:
    clean = record(tiny, TOKENS)[Site.MLP_POST, 1][:, 11]
    post = record(tiny, TOKENS, [Steer(N1, MIDDLE, way=Way.SET, amount=12.0)])[Site.MLP_POST, 1][:, 11]
    assert (post[2:5] == 12).all() and torch.equal(post[:2], clean[:2])
    clamp = Steer(N1, way=Way.CLAMP, amount=-0.02, high=0.05)
    held = record(tiny, TOKENS, [clamp])[Site.MLP_POST, 1][:, 11]
    assert torch.equal(held, clean.clamp(-0.02, 0.05)) and not torch.equal(held, clean)
    wide = Steer(N1, way=Way.CLAMP, amount=-100.0, high=100.0)
    equal(record(tiny, TOKENS, [wide]), record(tiny, TOKENS))


def test_freezing_everything_is_the_clean_run_whatever_was_edited(tiny: GPT2, tiny32: GPT2) -> None:
    """F: all sub-layers frozen, or the stream after the edit, or everything that the last line reads."""
    edits: list[Change] = [Ablate(TOKEN_EMBED, MIDDLE), Ablate(L0H1), Steer(N1, LAST, amount=5.0)]
    outputs = [Freeze(Component(kind, layer)) for layer in LAYERS for kind in (Kind.ATTN, Kind.MLP)]
    for model in (tiny, tiny32):
        given = full_sources(model)
        clean = record(model, TOKENS)
        frozen = record(model, TOKENS, [*edits, Freeze(EMBED), *outputs], given)
        assert torch.equal(frozen[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0])
        last = Freeze(Component(Kind.RESID_POST, TINY.n_layer - 1))
        assert torch.equal(
            record(model, TOKENS, [*edits, last], given)[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0]
        )
        unfrozen = record(model, TOKENS, edits, given)
        assert not torch.equal(unfrozen[Site.LN_FINAL, 0], clean[Site.LN_FINAL, 0])


def test_freezing_alone_changes_nothing(tiny: GPT2, sources: Sources) -> None:
    clean = record(tiny, TOKENS)
    parts = [
        A1,
        M0,
        N1,
        L1H2,
        Q1,
        K1,
        EVERY_Q,
        PATTERN1,
        LN1,
        MID1,
        PRE1,
        EMBED,
        Component(Kind.LN_FINAL_SCALE),
    ]
    equal(record(tiny, TOKENS, [Freeze(part) for part in parts], sources), clean)
    equal(record(tiny, TOKENS, [Freeze(L1H2, LAST, key=key) for key in range(END + 1)], sources), clean)


def test_with_every_scale_frozen_the_stream_is_read_linearly(tiny: GPT2, sources: Sources) -> None:
    """The metric moves in proportion to a vector added after the last line."""
    post = Component(Kind.RESID_POST, TINY.n_layer - 1)
    final = Freeze(Component(Kind.LN_FINAL_SCALE))
    values = [
        metric_value(
            tiny, record(tiny, TOKENS, [final, Steer(post, LAST, amount=x, direction=ALONG)], sources), LD
        )
        for x in (0.0, 1.0, 2.0, 10.0)
    ]
    assert values[2] - values[0] == pytest.approx(2 * (values[1] - values[0]), abs=1e-9)
    assert values[3] - values[0] == pytest.approx(10 * (values[1] - values[0]), abs=1e-9)


def test_noise_is_the_same_for_its_seed_in_any_batch_span_and_length() -> None:
    def added(change: Ablate, batch: int = 1, length: int = 7) -> Tensor:
        """To an MLP output of zeros: [batch, pos, d_model]."""
        return as_hook([change])(Site.MLP_OUT, 0, torch.zeros(batch, length, TINY.d_model))

    noisy = Ablate(M0, Span(1, 5), mode=Mode.NOISE, amount=0.5, seed=4)
    alone, together = added(noisy), added(noisy, batch=3)
    assert all(torch.equal(row, alone[0]) for row in together)
    assert (alone[0, [0, 6]] == 0).all() and (alone[0, 1:6] != 0).all()
    assert torch.equal(added(replace(noisy, span=Span(3, 3)))[0, 3], alone[0, 3])
    everywhere = replace(noisy, span=None)
    assert torch.equal(added(everywhere, length=12)[0, :7], added(everywhere)[0])
    assert not torch.equal(added(replace(noisy, seed=5)), alone)
    assert torch.equal(added(replace(noisy, amount=1.0)), 2 * alone)


def test_noise_is_standard_normal_and_every_token_and_part_has_its_own() -> None:
    drawn_ = gaussian(0, "M0", 0, 200, 100)
    assert abs(float(drawn_.mean())) < 0.02 and float(drawn_.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(gaussian(0, "M0", 5, 2, 30), drawn_[5:7, :30])
    assert not torch.equal(gaussian(0, "M1", 0, 1, 100), drawn_[:1])
    assert not torch.equal(drawn_[0], drawn_[1])
    with pytest.raises(ValueError, match="seed -1 is too small"):
        gaussian(-1, "M0", 0, 1, 1)


def test_noise_of_a_layers_queries_is_that_of_each_head(tiny: GPT2) -> None:
    whole = [Ablate(EVERY_Q, LAST, mode=Mode.NOISE, amount=1.0, seed=2)]
    each = [Ablate(Component(Kind.Q, 2, head), LAST, mode=Mode.NOISE, amount=1.0, seed=2) for head in HEADS]
    equal(record(tiny, TOKENS, whole), record(tiny, TOKENS, each))


def one_reference(model: GPT2) -> Sources:
    """Means over one prompt, draws from one prompt, and that prompt as B."""
    run = record(model, REFERENCES[0])
    return Sources(means=run, other=run, references=(Reference(tuple(range(END + 1)), lambda: run),))


@pytest.mark.parametrize(
    "part", [EMBED, PRE1, MID1, Q1, K1, EVERY_Q, PATTERN1, L1H2, A1, M1, N1, LN1], ids=str
)
def test_a_mean_over_one_prompt_and_a_draw_from_one_are_patches_from_it(tiny: GPT2, part: Component) -> None:
    given = one_reference(tiny)
    patched = record(tiny, TOKENS, [Patch(part, MIDDLE, MIDDLE)], given)
    for mode in (Mode.MEAN, Mode.RESAMPLE):
        equal(record(tiny, TOKENS, [Ablate(part, MIDDLE, mode=mode, seed=9)], given), patched)


def test_draws_are_spread_over_the_prompts_that_have_the_tokens(tiny: GPT2) -> None:
    whole, half = tuple(range(END + 1)), (0, 1, 2, *[-1] * (END - 2))
    run = record(tiny, TOKENS)
    some = [Reference(places, lambda: run) for places in (whole, half, whole, half)]
    late = {drawn(Ablate(M0, LAST, mode=Mode.RESAMPLE, seed=seed), some) for seed in range(40)}
    early = {drawn(Ablate(M0, Span(0, 2), mode=Mode.RESAMPLE, seed=seed), some) for seed in range(40)}
    assert (late, early) == ({0, 2}, {0, 1, 2, 3})
    with pytest.raises(ChangeError, match="none of the 2 reference prompts has counterparts of M0@6"):
        drawn(Ablate(M0, LAST, mode=Mode.RESAMPLE), [some[1], some[3]])


def test_a_draw_takes_the_counterparts_values(tiny: GPT2) -> None:
    """Tokens that stand elsewhere in the other prompt, as a role does."""
    run = record(tiny, OTHER)
    crossed = Sources(references=(Reference((0, 2, 1, 3, 4, 5, 6), lambda: run),))
    edited = record(tiny, TOKENS, [Ablate(M0, Span(1, 2), mode=Mode.RESAMPLE)], crossed)
    assert torch.equal(edited[Site.MLP_OUT, 0][1:3], run[Site.MLP_OUT, 0][[2, 1]])
    with pytest.raises(ChangeError, match="attention rows are resampled from prompts of the same length"):
        record(tiny, TOKENS, [Ablate(PATTERN1, Span(1, 2), mode=Mode.RESAMPLE)], crossed)


def test_a_cut_key_has_no_weight_and_the_others_keep_their_shares(tiny: GPT2) -> None:
    clean = record(tiny, TOKENS)[Site.PATTERN, 1][2, END]
    cut = record(tiny, TOKENS, [Ablate(L1H2, LAST, key=3, mode=Mode.CUT)])[Site.PATTERN, 1][2, END]
    assert cut[3] == 0 and float(cut.sum()) == pytest.approx(1)
    rest = [key for key in range(END + 1) if key != 3]
    assert (cut[rest] - clean[rest] / (1 - clean[3])).abs().max() < 1e-12
    zeroed = record(tiny, TOKENS, [Ablate(L1H2, LAST, key=3)])[Site.PATTERN, 1][2, END]
    assert zeroed[3] == 0 and torch.equal(zeroed[rest], clean[rest])


def all_but(*kept: tuple[Component, Span | None], span: Span | None = None, mode: Mode = Mode.ZERO) -> AllBut:
    return AllBut(TINY.n_layer, TINY.n_head, len(TOKENS), span, kept, mode)


EVERYTHING = tuple((Component(kind, layer), None) for layer in LAYERS for kind in (Kind.ATTN, Kind.MLP))


def test_ablating_all_but_everything_is_the_clean_run(tiny: GPT2, sources: Sources) -> None:
    assert all_but(*EVERYTHING).parts == ()
    equal(record(tiny, TOKENS, [all_but(*EVERYTHING, mode=Mode.MEAN)], sources), record(tiny, TOKENS))


def test_ablating_all_but_something_is_ablating_every_other_part(tiny: GPT2, sources: Sources) -> None:
    kept = ((L1H2, None), (M1, LAST))
    parts = [
        Component(Kind.HEAD, layer, head) for layer in LAYERS for head in HEADS if (layer, head) != (1, 2)
    ]
    parts += [Component(Kind.MLP, layer) for layer in LAYERS if layer != 1]
    each = [*(Ablate(part, mode=Mode.MEAN) for part in parts), Ablate(M1, Span(0, END - 1), mode=Mode.MEAN)]
    change = all_but(*kept, mode=Mode.MEAN)
    equal(record(tiny, TOKENS, [change], sources), record(tiny, TOKENS, each, sources))
    assert str(change) == "ablate all@* but L1H2@*,M1@6 mean"
    assert {part.span for part in all_but((M1, MIDDLE), span=Span(1, 5)).parts if part.component == M1} == {
        Span(1, 1), Span(5, 5),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([Ablate(L1H2, LAST, key=2, mode=Mode.CUT)], "ablate L1H2@6<2 cut"),
        ([Ablate(M1, mode=Mode.NOISE, amount=0.5, seed=3)], "ablate M1@* noise 0.5 seed 3"),
        ([Ablate(Q1, LAST, mode=Mode.RESAMPLE)], "ablate L1H2.q@6 resample seed 0"),
        ([Ablate(PATTERN1), Ablate(EVERY_Q)], "ablate L1H2.pattern,L2.q@* zero"),
        ([Ablate(M0, LAST), Ablate(M1, MIDDLE), Ablate(N1, MIDDLE)], "ablate M0@6,M1,N1.11@2:4 zero"),
        ([Patch(PRE1, LAST, LAST, example=17)], "patch resid_pre.1@6 from 17@6"),
        ([Patch(M0, LAST, LAST), Patch(M1, MIDDLE, MIDDLE)], "patch M0@6,M1@2:4 from B"),
        ([Freeze(L1H2, LAST, 2)], "freeze L1H2@6<2"),
        ([Freeze(LN1), Freeze(M0)], "freeze ln1_scale.1,M0@*"),
        ([Steer(PRE1, LAST, amount=-4.0, direction=ALONG)], "steer resid_pre.1@6 += -4 * a direction"),
        ([Steer(N1, way=Way.SET, amount=12.5)], "steer N1.11@* = 12.5"),
        ([Steer(N1, LAST, way=Way.CLAMP, amount=0.0, high=3.0)], "steer N1.11@6 clamp 0 3"),
        ([all_but()], "ablate all@* zero"),
    ],
)
def test_a_changes_text_is_the_command_that_makes_it(changes: list[Change], text: str) -> None:
    assert text_of(changes) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ablate(L1H2, LAST, mode=Mode.CUT), "cut is of a head's pair"),
        (lambda: Ablate(LN1), "ln1_scale.1 is what a layer norm divides by"),
        (lambda: Patch(PATTERN1, LAST, MIDDLE), "1 positions cannot take 3"),
        (
            lambda: Patch(PATTERN1, LAST, Span(2, 2)),
            "an attention row is patched from that of the same query",
        ),
        (lambda: Steer(M0, amount=2.0), "M0@\\* is a vector: add a direction to it"),
        (lambda: Steer(N1, direction=ALONG), "N1.11@\\* is one number"),
        (lambda: Steer(M0, way=Way.SET, direction=ALONG), "M0@\\* is a vector"),
        (lambda: Steer(N1, way=Way.CLAMP, amount=1.0), "a clamp has two bounds"),
        (lambda: Steer(N1, way=Way.CLAMP, amount=1.0, high=0.0), "the wrong way round"),
        (lambda: as_hook([Freeze(M0)]), "freeze needs the run without changes"),
        (lambda: as_hook([Ablate(M0, mode=Mode.RESAMPLE)]), "resample needs reference prompts"),
        (lambda: as_hook([Patch(M0, LAST, LAST, example=3)]), "patch needs example 3 of a prompt set"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ChangeError, match=message):
        make()


def test_a_vector_of_another_length_is_refused(tiny: GPT2) -> None:
    with pytest.raises(ChangeError, match=r"a narrow one has 12 numbers: resid_pre\.1 has 48"):
        record(tiny, TOKENS, [Steer(PRE1, LAST, amount=1.0, direction=NARROW)])


@pytest.mark.parametrize("name", SITE_EDITS)
def test_edits_hold_for_the_prompt_while_it_grows(tiny: GPT2, sources: Sources, name: str) -> None:
    """As in generation: what is said of the prompt's tokens is as before, and more of them can follow."""
    hook = as_hook(SITE_EDITS[name], sources)
    short, long = (tiny(torch.tensor([tokens]), hook)[0] for tokens in (TOKENS, (*TOKENS, 3, 90)))
    assert (long[: END + 1] - short).abs().max() < 1e-9 and bool(torch.isfinite(long).all())
