"""Dictionaries in a run: what they take apart adds up, edits of their parts do what they say, frames have their books.

The letters are those of the identities in the README's list of laws: F, G, H.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.components import Component, Kind, Node
from model.dictionaries import LETTER_OF, Dictionaries, recorded_at
from model.edits.directions import Direction
from model.edits.interventions import Ablate, Change, Freeze, Mode, Patch, Sources, Span, Steer, Way
from model.effects import attribution
from model.effects.attribution import Gradients
from model.effects.latents import (
    dictionary_tables,
    in_use,
    replaced_rows,
    stands_for,
)
from model.effects.writes import effects_of, write_of
from model.frames import frame_target
from model.gpt2 import GPT2
from model.latent_frames import positions_read, pre_activation, stream_at
from model.latents import active, beside, error, latent_value, matrix_out, token_attribution
from model.measured.replay import measure
from model.measured.scorers import metric_scorer, target_scorer, unchanged
from model.nodes import NodeTable, joined
from model.sites import Site, Where
from model.trace import Trace, metric_value, record
from sae.autoencoder import Autoencoder
from sae.normalization import Normalization
from tests.dictionaries import NONLINEARITIES, random_dictionary
from tests.tiny import EDITS, END, LAST, LD, MIDDLE, TINY, TOKENS

PLACES: dict[str, Where] = {
    "m": (Site.MLP_OUT, 1),
    "p": (Site.MLP_POST, 1),
    "a": (Site.ATTN_OUT, 1),
    "z": (Site.Z, 1),
    "r": (Site.RESID_PRE, 1),
    "i": (Site.RESID_MID, 1),
    "o": (Site.RESID_POST, 1),
}
TRANSCODER = random_dictionary((Site.LN2_NORMALIZED, 1), writes=(Site.MLP_OUT, 1), skip=True)


def loaded(letters: Collection[str], **how: object) -> Dictionaries:
    return {PLACES[letter]: random_dictionary(PLACES[letter], **how) for letter in letters}  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def given(tiny: GPT2, sources: Sources) -> Sources:
    """Every source that edits can draw on, without dictionaries."""
    return replace(sources, base=record(tiny, TOKENS))


FEW = "mzr"
"The output of a sub-layer, what is inside of one, and the stream."


def strongest(trace: Trace, at: Where, pos: int = END) -> Component:
    """The latent of a dictionary that is most active at a token."""
    found = active(trace, at, [pos])
    return Component(Kind.LATENT, at[1], int(found.index[found.value.argmax()]), LETTER_OF[at[0]])


def books(model: GPT2, trace: Trace, by: Gradients, letters: Collection[str]) -> NodeTable:
    """A partition of the model in which dictionaries stand for what they take apart."""
    plain = joined(
        [
            table(model, trace, by)
            for table in (
                attribution.embed_table,
                attribution.head_table,
                attribution.mlp_table,
                attribution.bias_table,
            )
        ]
    )
    used = in_use(trace, letters, by.target.line)
    tables = dictionary_tables(model, trace, by, used).values()
    return joined([plain.take(~stands_for(plain, used)), replaced_rows(trace, by, used), *tables])


SETS = ["m", "p", "a", "z", "r", "i", "o", "pz", "mpaz", "rm", "mpazrio"]


@pytest.mark.parametrize("letters", ["mpazrio"])
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_H_loading_changes_neither_the_run_nor_any_row_of_other_parts(
    tiny: GPT2, given: Sources, letters: str, name: str
) -> None:
    found = loaded(letters, nonlinearity=NONLINEARITIES[name])
    plain, through = record(tiny, TOKENS), record(tiny, TOKENS, (), replace(given, dictionaries=found))
    assert all(torch.equal(plain[at], through[at]) for at in plain.acts)
    for table in (attribution.neuron_table, attribution.pair_table, attribution.bias_table):
        one, other = (
            table(tiny, trace, attribution.gradients(tiny, trace, LD)) for trace in (plain, through)
        )
        assert np.array_equal(one.direct, other.direct) and np.array_equal(one.total, other.total)


@pytest.mark.parametrize("letter", PLACES)
@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_H_latents_beside_and_error_add_up_to_what_is_taken_apart(
    tiny: GPT2, letter: str, name: str, normalization: Normalization
) -> None:
    at = PLACES[letter]
    found = loaded(letter, nonlinearity=NONLINEARITIES[name], normalization=normalization)
    trace = record(tiny, TOKENS, (), Sources(dictionaries=found))
    everything = list(range(len(TOKENS)))
    latents, dictionary = active(trace, at, everything), found[at]
    assert 0 < len(latents.pos) < 0.6 * len(TOKENS) * dictionary.n_latent
    whole = recorded_at(trace, at)
    assert isinstance(dictionary, Autoencoder)
    torch.testing.assert_close(error(trace, at, everything), whole - dictionary.forward(whole)[0])
    total = beside(trace, at) + error(trace, at, everything)
    for pos, index, value, scale in zip(
        latents.pos, latents.index, latents.value, latents.scale, strict=True
    ):
        total[pos] += value * scale * dictionary.w_dec[index]
    torch.testing.assert_close(total, whole, rtol=1e-10, atol=1e-10)


LATENT_EDITS: dict[str, tuple[Change, ...]] = {
    "zero": (Ablate(Component(Kind.LATENT, 1, 7)),),
    "value": (Ablate(Component(Kind.LATENT, 1, 7), LAST, mode=Mode.VALUE, amount=3.0),),
    "scale": (Ablate(Component(Kind.LATENT, 1, 7), MIDDLE, mode=Mode.SCALE, amount=-2.0),),
    "noise": (Ablate(Component(Kind.LATENT, 1, 7), mode=Mode.NOISE, amount=0.5, seed=3),),
    "mean": (Ablate(Component(Kind.LATENT, 1, 7), mode=Mode.VALUE, amount=0.2),),
    "set": (Steer(Component(Kind.LATENT, 1, 3), LAST, way=Way.SET, amount=2.0),),
    "add": (Steer(Component(Kind.LATENT, 1, 3), way=Way.ADD, amount=-1.0),),
    "clamp": (Steer(Component(Kind.LATENT, 1, 3), way=Way.CLAMP, amount=0.1, high=0.4),),
    "patch": (Patch(Component(Kind.LATENT, 1, 9), Span(4, 6), Span(1, 3)),),
    "freeze": (Freeze(Component(Kind.LATENT, 1, 9)),),
    "error": (Ablate(Component(Kind.ERROR, 1)),),
    "error patch": (Patch(Component(Kind.ERROR, 1), LAST, LAST),),
    "error frozen": (Freeze(Component(Kind.ERROR, 1), MIDDLE),),
    "bias": (Ablate(Component(Kind.SAE_BIAS, 1), MIDDLE, mode=Mode.SCALE, amount=0.5),),
    "several": (
        Ablate(Component(Kind.LATENT, 1, 7)),
        Ablate(Component(Kind.LATENT, 1, 3), LAST, mode=Mode.VALUE, amount=1.0),
        Ablate(Component(Kind.ERROR, 1), MIDDLE),
    ),
    "after other edits": (*EDITS["many"], Ablate(Component(Kind.LATENT, 1, 7))),
    "before other edits": (
        Ablate(Component(Kind.LATENT, 1, 7)),
        Ablate(Component(Kind.MLP, 1), LAST, mode=Mode.SCALE, amount=0.5),
        Ablate(Component(Kind.ATTN, 1), MIDDLE, mode=Mode.SCALE, amount=0.5),
    ),
}
"Edits of every kind of a dictionary's part, its letter to be filled in."


def of(letter: str, changes: Sequence[Change]) -> tuple[Change, ...]:
    return tuple(
        replace(change, component=replace(change.component, site=letter))  # pyright: ignore[reportArgumentType]
        if change.component.kind in (Kind.LATENT, Kind.ERROR, Kind.SAE_BIAS)
        else change
        for change in changes
    )


@pytest.mark.parametrize("letter", FEW)
@pytest.mark.parametrize("edit", LATENT_EDITS)
def test_A_the_books_balance_whatever_was_edited(tiny: GPT2, given: Sources, edit: str, letter: str) -> None:
    found = loaded("mpazrio", normalization=Normalization.LAYER_NORM)
    given = replace(given, dictionaries=found)
    trace = record(tiny, TOKENS, of(letter, LATENT_EDITS[edit]), given)
    by = attribution.gradients(tiny, trace, LD, given)
    target = metric_value(tiny, trace, LD)
    for letters in ("", *SETS):
        assert float(books(tiny, trace, by, letters).direct.sum()) == pytest.approx(target, abs=1e-9), letters
    for attention in (attribution.head_table, attribution.pair_table):
        parts = (attribution.embed_table, attention, attribution.neuron_table, attribution.bias_table)
        whole = joined([table(tiny, trace, by) for table in parts])
        assert float(whole.direct.sum()) == pytest.approx(target, abs=1e-9)


@pytest.mark.parametrize("letter", PLACES)
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_G_ablating_a_latent_subtracts_exactly_its_write(tiny: GPT2, letter: str, name: str) -> None:
    at = PLACES[letter]
    given = Sources(dictionaries=loaded(letter, nonlinearity=NONLINEARITIES[name]))
    before = record(tiny, TOKENS, (), given)
    part = strongest(before, at)
    after = record(tiny, TOKENS, (Ablate(part, LAST),), given)
    lost, out = recorded_at(before, at) - recorded_at(after, at), matrix_out(tiny, at)
    written = lost if out is None else lost @ out
    assert torch.equal(lost[:END], torch.zeros_like(lost[:END]))
    torch.testing.assert_close(written[END], write_of(tiny, before, Node(part, END)), rtol=1e-9, atol=1e-10)
    assert latent_value(after, part, END) == 0 < latent_value(before, part, END)


def test_G_an_inactive_latent_can_be_ablated_for_nothing_and_woken(tiny: GPT2) -> None:
    at = PLACES["m"]
    given = Sources(dictionaries=loaded("m"))
    before = record(tiny, TOKENS, (), given)
    there = set(active(before, at, [END]).index.tolist())
    asleep = Component(Kind.LATENT, 1, next(i for i in range(64) if i not in there), "m")
    after = record(tiny, TOKENS, (Ablate(asleep, LAST),), given)
    assert torch.equal(before[at], after[at])
    woken = record(tiny, TOKENS, (Ablate(asleep, LAST, mode=Mode.VALUE, amount=2.0),), given)
    torch.testing.assert_close(
        woken[at][END] - before[at][END], 2 * given.dictionaries[at].w_dec[asleep.index]
    )
    assert asleep.index in active(woken, at, [END]).index.tolist()


@pytest.mark.parametrize("letter", PLACES)
def test_G_ablating_everything_of_a_dictionary_removes_what_it_takes_apart(tiny: GPT2, letter: str) -> None:
    at = PLACES[letter]
    given = Sources(dictionaries=loaded(letter))
    every = [Component(Kind.LATENT, 1, index, letter) for index in range(64)]
    every += [Component(Kind.ERROR, 1, None, letter), Component(Kind.SAE_BIAS, 1, None, letter)]
    trace = record(tiny, TOKENS, [Ablate(part) for part in every], given)
    torch.testing.assert_close(trace[at], torch.zeros_like(trace[at]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("letter", FEW)
@pytest.mark.parametrize("mode", [Mode.ZERO, Mode.SCALE])
def test_ablating_every_latent_but_some_is_ablating_the_others_one_by_one(
    tiny: GPT2, letter: str, mode: Mode
) -> None:
    given = Sources(dictionaries=loaded(letter))
    at, every = PLACES[letter], Component(Kind.LATENT, 1, None, letter)
    kept = tuple(active(record(tiny, TOKENS, (), given), at, [END]).index.tolist()[:3])
    together = Ablate(every, Span(4, END), mode=mode, amount=0.5, but=kept)
    others = [replace(every, index=index) for index in range(64) if index not in kept]
    one_by_one = [Ablate(part, Span(4, END), mode=mode, amount=0.5) for part in others]
    whole, parts = (record(tiny, TOKENS, changes, given) for changes in ([together], one_by_one))
    torch.testing.assert_close(whole[at], parts[at], rtol=1e-10, atol=1e-12)
    for index in range(64):
        part = replace(every, index=index)
        assert latent_value(whole, part, END) == pytest.approx(latent_value(parts, part, END), abs=1e-12)


@pytest.mark.parametrize("letter", PLACES)
def test_ablating_the_error_puts_the_reconstruction_in_the_place(tiny: GPT2, letter: str) -> None:
    at = PLACES[letter]
    found = loaded(letter, normalization=Normalization.LAYER_NORM)
    given, dictionary = Sources(dictionaries=found), found[at]
    assert isinstance(dictionary, Autoencoder)
    before = record(tiny, TOKENS, (), given)
    after = record(tiny, TOKENS, (Ablate(Component(Kind.ERROR, 1, None, letter)),), given)
    torch.testing.assert_close(recorded_at(after, at), dictionary.forward(recorded_at(before, at))[0])
    assert abs(metric_value(tiny, after, LD) - metric_value(tiny, before, LD)) > 1e-3


def test_the_mean_of_a_latent_is_over_its_activations_and_not_of_the_mean_input(tiny: GPT2) -> None:
    from model.edits.means import Matched, MeanActs
    from tests.tiny import REFERENCES

    at, part = PLACES["m"], Component(Kind.LATENT, 1, 7, "m")
    found = loaded("m")
    runs = [record(tiny, tokens) for tokens in REFERENCES]
    matched = [Matched(tuple(range(7)), lambda run=run: run, None) for run in runs]
    given = Sources(means=MeanActs(matched, False, 0, ""), dictionaries=found)
    trace = record(tiny, TOKENS, (Ablate(part, mode=Mode.MEAN),), given)
    wanted = torch.stack([found[at].encode(run[at])[:, 7] for run in runs]).mean(0)
    for pos in range(7):
        assert latent_value(trace, part, pos) == pytest.approx(float(wanted[pos]), abs=1e-12)


def test_a_patched_latent_has_its_value_in_the_other_run(tiny: GPT2, given: Sources) -> None:
    at = PLACES["a"]
    given = replace(given, dictionaries=loaded("a"))
    assert given.other is not None
    other = given.dictionaries[at].encode(recorded_at(given.other, at))
    part = Component(Kind.LATENT, 1, int(other[2].argmax()), "a")
    trace = record(tiny, TOKENS, (Patch(part, Span(4, 4), Span(2, 2)),), given)
    assert latent_value(trace, part, 4) == pytest.approx(float(other[2].max()))


@pytest.mark.parametrize("letter", FEW)
@pytest.mark.parametrize("edit", LATENT_EDITS)
def test_measured_effects_agree_with_running_again(
    tiny: GPT2, given: Sources, letter: str, edit: str
) -> None:
    given = replace(given, dictionaries=loaded("mpazrio"))
    for own in ((), (Ablate(Component(Kind.LATENT, 1, 5, letter)),), EDITS["many"]):
        trace = record(tiny, TOKENS, own, given)
        change = of(letter, LATENT_EDITS[edit])
        whole = metric_value(tiny, record(tiny, TOKENS, (*own, *change), given), LD)
        ((_, found),) = measure(tiny, trace, metric_scorer(tiny, LD), [change], given)
        assert found == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("letter", PLACES)
@pytest.mark.parametrize("normalization", [Normalization.NONE, Normalization.LAYER_NORM])
def test_C_total_effects_are_the_slopes_of_finite_differences(
    tiny: GPT2, letter: str, normalization: Normalization
) -> None:
    """Of a latent, with the final scale held as the estimate holds it."""
    at = PLACES[letter]
    given = Sources(dictionaries=loaded(letter, normalization=normalization))
    trace = record(tiny, TOKENS, (), given)
    by = attribution.gradients(tiny, trace, LD, given)
    table = dictionary_tables(tiny, trace, by, [at])["latent"]
    held = Freeze(Component(Kind.LN_FINAL_SCALE))
    given = replace(given, base=trace)
    for row in [int(each) for each in np.argsort(-np.abs(table.total))[:3]]:
        node, step = table.node(row), 1e-6
        moved = [
            metric_value(
                tiny,
                record(
                    tiny,
                    TOKENS,
                    (held, Ablate(node.component, Span(node.pos, node.pos), mode=Mode.SCALE, amount=amount)),
                    given,
                ),
                LD,
            )
            for amount in (1 + step, 1 - step)
        ]
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(table.total[row], rel=1e-5, abs=1e-8)
        one = effects_of(tiny, trace, by, node)
        assert (one.act, one.direct, one.total) == pytest.approx(
            (table.act[row], table.direct[row], table.total[row])
        )
        assert one.write_norm == pytest.approx(table.write_norm[row])


@pytest.mark.parametrize("letter", PLACES)
@pytest.mark.parametrize("normalization", Normalization)
@pytest.mark.parametrize("edit", ["none", "many"])
def test_A_rows_and_biases_add_up_to_a_latents_pre_activation(
    tiny: GPT2, given: Sources, letter: str, normalization: Normalization, edit: str
) -> None:
    given = replace(given, dictionaries=loaded(letter, normalization=normalization))
    trace = record(tiny, TOKENS, EDITS[edit], given)
    part, at = strongest(trace, PLACES[letter], 4), PLACES[letter]
    target = frame_target(tiny, trace, Node(part, 4))
    by = attribution.gradients(tiny, trace, target, given)
    pre = given.dictionaries[at].pre_activations(recorded_at(trace, at)[4])[part.index]
    assert target.value == pytest.approx(float(pre), abs=1e-10)
    assert float(books(tiny, trace, by, "").direct.sum()) == pytest.approx(target.value, abs=1e-9)


@pytest.mark.parametrize("letter", PLACES)
def test_a_latents_frame_has_the_gradients_of_finite_differences(tiny: GPT2, letter: str) -> None:
    """By the embedding, every layer norm's scale live but the one before the latent's sub-layer."""
    given = Sources(dictionaries=loaded(letter))
    trace = record(tiny, TOKENS, (), given)
    part = strongest(trace, PLACES[letter], 4)
    node = Node(part, 4)
    target = frame_target(tiny, trace, node)
    by = attribution.gradients(tiny, trace, target, given, attribution.Treatment.NONE)
    positions = positions_read(node)
    resid = stream_at(tiny, trace, part, positions)
    step = 1e-6 * torch.randn(resid.shape, generator=torch.Generator().manual_seed(0), dtype=resid.dtype)
    ends = [pre_activation(tiny, trace, node, (resid + sign * step)[None]).item() for sign in (1, -1)]
    scorer = target_scorer(tiny, target)
    assert unchanged(tiny, trace, scorer) == pytest.approx(target.value, abs=1e-10)
    leaf = resid.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pre_activation(tiny, trace, node, leaf[None])[0], leaf)
    assert ends[0] - ends[1] == pytest.approx(2 * float((gradient * step).sum()), rel=1e-6)
    assert by.embed.abs().sum() > 0


INSIDE = {
    "neuron": Ablate(Component(Kind.NEURON, 1, 5)),
    "neuron scaled": Ablate(Component(Kind.NEURON, 1, 5), MIDDLE, mode=Mode.SCALE, amount=0.5),
    "mlp scaled": Ablate(Component(Kind.MLP, 1), Span(4, 4), mode=Mode.SCALE, amount=-0.5),
    "mlp": Ablate(Component(Kind.MLP, 1), mode=Mode.VALUE, amount=0.3),
    "mlp added to": Steer(Component(Kind.NEURON, 1, 7), way=Way.ADD, amount=1.0),
    "head": Ablate(Component(Kind.HEAD, 1, 1)),
    "pair": Ablate(Component(Kind.HEAD, 1, 0), Span(4, 4), 2, Mode.VALUE, 0.4),
    "cut": Ablate(Component(Kind.HEAD, 1, 0), Span(4, 4), 2, Mode.CUT),
    "query": Ablate(Component(Kind.Q, 1, 1), Span(4, 4), mode=Mode.VALUE, amount=0.2),
    "attention scaled": Ablate(Component(Kind.ATTN, 1), mode=Mode.SCALE, amount=0.5),
}


@pytest.mark.parametrize("letter", "mpaz")
@pytest.mark.parametrize("edit", INSIDE)
def test_a_frame_moves_with_nothing_that_edits_inside_of_the_sub_layer_have_replaced(
    tiny: GPT2, given: Sources, letter: str, edit: str
) -> None:
    """Against finite differences of whole runs, the norm's scale before the sub-layer frozen."""
    given = replace(given, dictionaries=loaded(letter))
    trace = record(tiny, TOKENS, (INSIDE[edit],), given)
    node, at = Node(strongest(trace, PLACES[letter], 4), 4), PLACES[letter]
    by = attribution.gradients(tiny, trace, frame_target(tiny, trace, node), given)
    place = Component(Kind.RESID_MID if letter in "mp" else Kind.RESID_PRE, 1)
    scale = Component(Kind.LN2_SCALE if letter in "mp" else Kind.LN1_SCALE, 1)
    vector = torch.randn(TINY.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = replace(given, base=trace)
    ends = []
    for amount in (1e-6, -1e-6):
        added = Steer(
            place, Span(4, 4), way=Way.ADD, amount=amount, direction=Direction("it", tuple(vector.tolist()))
        )
        run = record(tiny, TOKENS, (Freeze(scale), added, INSIDE[edit]), given)
        pre = given.dictionaries[at].pre_activations(recorded_at(run, at)[4])
        ends.append(float(pre[node.component.index]))
    wanted = (ends[0] - ends[1]) / 2e-6
    assert float(by.direct[4] @ vector) == pytest.approx(wanted, rel=1e-6, abs=1e-8)


def test_parts_that_are_not_loaded_are_named(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS, (), Sources(dictionaries=loaded("m")))
    for part, complaint in (
        (Component(Kind.LATENT, 2, 7, "m"), "no SAE loaded for mlp_out.2: Fm2.7 isn't part of this run"),
        (Component(Kind.LATENT, 1, 64, "m"), "Fm1.64 is out of range: its SAE has latents 0–63"),
    ):
        for ask in (
            lambda part=part: write_of(tiny, trace, Node(part, END)),
            lambda part=part: frame_target(tiny, trace, Node(part, END)),
            lambda part=part: record(tiny, TOKENS, (Ablate(part),), Sources(dictionaries=loaded("m"))),
        ):
            with pytest.raises(ValueError, match=complaint.replace(".", r"\.")):
                ask()


@pytest.mark.parametrize("letter", ["a", "z"])
@pytest.mark.parametrize("normalization", [Normalization.NONE, Normalization.LAYER_NORM])
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_F_what_came_from_each_token_and_the_constants_are_the_pre_activation(
    tiny: GPT2, letter: str, name: str, normalization: Normalization
) -> None:
    at = PLACES[letter]
    found = loaded(letter, nonlinearity=NONLINEARITIES[name], normalization=normalization)
    trace = record(tiny, TOKENS, (), Sources(dictionaries=found))
    node, dictionary = Node(strongest(trace, at), END), found[at]
    assert isinstance(dictionary, Autoencoder)
    index, x = node.component.index or 0, recorded_at(trace, at)[END]
    direction = dictionary.direction(x, index)
    # what is there without any token: the output's bias through the direction, and the encoder's own constants
    constants = dictionary.b_enc[index] - dictionary.b_dec @ dictionary.w_enc[:, index]
    if letter == "a":
        constants = constants + trace[Site.ATTN_BIAS, 1][END] @ direction
    total = token_attribution(tiny, trace, node).sum() + constants
    torch.testing.assert_close(total, dictionary.pre_activations(x)[index], rtol=1e-9, atol=1e-9)


def test_F_an_inactive_latent_came_from_nowhere(tiny: GPT2) -> None:
    at = PLACES["a"]
    trace = record(tiny, TOKENS, (), Sources(dictionaries=loaded("a")))
    there = set(active(trace, at, [END]).index.tolist())
    asleep = Component(Kind.LATENT, 1, next(i for i in range(64) if i not in there), "a")
    assert not token_attribution(tiny, trace, Node(asleep, END)).any()
    with pytest.raises(ValueError, match="reads no attention"):
        token_attribution(tiny, trace, Node(replace(asleep, site="m"), END))
