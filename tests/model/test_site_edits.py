"""Edits of every place and mode keep the laws of runs: partial reruns, batches, balanced books, the lens."""

import pytest
import torch

from model.components import Component, Kind
from model.edits.interventions import (
    Ablate,
    AllBut,
    Change,
    Freeze,
    Mode,
    Patch,
    Sources,
    Span,
    Steer,
    as_hook,
)
from model.effects import attribution
from model.effects.attribution import gradients, head_table
from model.effects.backward import value_of
from model.gpt2 import GPT2
from model.lens import lens_values
from model.measured.replay import measure
from model.measured.scorers import metric_scorer, unchanged
from model.metrics import Metric, Quantity
from model.nodes import joined
from model.probes import Activation
from model.sets.tables import WHOLE as EVERY_WRITE
from model.sites import Site
from model.trace import Trace, metric_value, record
from tests.site_edits import ALONG, LN2, LN_FINAL, MID1, POST1, PRE2, SITE_EDITS, full_sources
from tests.tiny import (
    A1,
    EARLY,
    EDITS,
    END,
    L0H1,
    L1H2,
    LAST,
    LD,
    M0,
    M1,
    MIDDLE,
    N1,
    TINY,
    TOKENS,
    random_model,
    sources_of,
)

SINGLE = tuple(dict.fromkeys(change for changes in SITE_EDITS.values() for change in changes))
ON_TOP = ("resid_mid patch", "steered everywhere", "resid_post patch", "frozen scales", "key patch", "pair cut", "stream replaced and steered")  # fmt: skip


@pytest.fixture(scope="module")
def sources(tiny: GPT2) -> Sources:
    return full_sources(tiny)


def equal(one: Trace, other: Trace) -> None:
    assert one.acts.keys() == other.acts.keys()
    assert all(torch.equal(one[at], other[at]) for at in one.acts)


@pytest.mark.parametrize("name", SITE_EDITS)
def test_running_again_from_the_first_edited_layer_is_the_whole_run(
    tiny: GPT2, tiny32: GPT2, sources: Sources, name: str
) -> None:
    """To the bit, in both precisions; and taking the edits back is the clean run."""
    for model in (tiny, tiny32):
        given = sources if model is tiny else full_sources(tiny32)
        clean, edited = record(model, TOKENS), record(model, TOKENS, SITE_EDITS[name], given)
        equal(record(model, TOKENS, SITE_EDITS[name], given, base=clean), edited)
        equal(record(model, TOKENS, (), given, base=edited), clean)
        again = record(model, TOKENS, (*SITE_EDITS[name], Ablate(L1H2, LAST)), given, base=edited)
        equal(again, record(model, TOKENS, (*SITE_EDITS[name], Ablate(L1H2, LAST)), given))


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
def test_a_batch_of_edits_is_single_runs(tiny: GPT2, sources: Sources, metric: Metric) -> None:
    """n edits measured together = n runs, whatever the place and the mode."""
    trace = record(tiny, TOKENS)
    rest = AllBut(TINY.n_layer, TINY.n_head, len(TOKENS), kept=((L1H2, None), (M0, LAST)), mode=Mode.MEAN)
    jobs: list[Change | AllBut | tuple[Change, ...]] = [*SINGLE, *SITE_EDITS.values(), rest]
    found = dict(measure(tiny, trace, metric_scorer(tiny, metric), jobs, sources))
    assert sorted(found) == list(range(len(jobs)))
    for job, changes in enumerate(jobs):
        made = changes if isinstance(changes, tuple) else (changes,)
        expected = metric_value(tiny, record(tiny, TOKENS, made, sources), metric)
        assert found[job] == pytest.approx(expected, abs=1e-10), changes


@pytest.mark.parametrize("made", ON_TOP)
def test_a_batch_on_top_of_edits_keeps_them(tiny: GPT2, sources: Sources, made: str) -> None:
    trace = record(tiny, TOKENS, SITE_EDITS[made], sources)
    assert unchanged(tiny, trace, metric_scorer(tiny, LD)) == pytest.approx(
        metric_value(tiny, trace, LD), abs=1e-10
    )
    jobs = [*SINGLE[::3], *(change for changes in EDITS.values() for change in changes[:1])][::2]
    found = dict(measure(tiny, trace, metric_scorer(tiny, LD), jobs, sources))
    for job, change in enumerate(jobs):
        run = record(tiny, TOKENS, (*SITE_EDITS[made], change), sources)
        assert found[job] == pytest.approx(metric_value(tiny, run, LD), abs=1e-10), change


@pytest.mark.parametrize("metric", [LD, EARLY], ids=["last", "earlier"])
@pytest.mark.parametrize("name", SITE_EDITS)
def test_direct_effects_and_what_edits_add_sum_to_the_metric(
    tiny: GPT2, sources: Sources, name: str, metric: Metric
) -> None:
    trace = record(tiny, TOKENS, SITE_EDITS[name], sources)
    by = gradients(tiny, trace, metric, sources)
    table = joined([part(tiny, trace, by) for part in EVERY_WRITE])
    assert table.direct.sum() == pytest.approx(metric_value(tiny, trace, metric), abs=1e-9)
    assert lens_values(tiny, trace, metric, metric.pos)[-1] == pytest.approx(
        metric_value(tiny, trace, metric), abs=1e-9
    )


def total_of(model: GPT2, trace: Trace, sources: Sources, part: Component, pos: int) -> float:
    by = gradients(model, trace, LD, sources)
    tables = [
        head_table(model, trace, by),
        attribution.mlp_table(model, trace, by),
        attribution.bias_table(model, trace, by),
    ]
    table = joined(tables)
    return sum(
        float(table.total[row])
        for row in range(len(table))
        if table.component(row) == part and table.pos[row] == pos
    )


def test_what_a_patch_of_the_stream_covers_has_no_total_effect_before_it(
    tiny: GPT2, sources: Sources
) -> None:
    """Nothing of what M1 writes at the last token is left there; the patch itself has what is read."""
    for part in (POST1, PRE2):
        trace = record(tiny, TOKENS, [Patch(part, LAST, LAST)], sources)
        assert total_of(tiny, trace, sources, M1, END) == pytest.approx(0, abs=1e-12)
        assert total_of(tiny, trace, sources, M1, END - 1) != 0
        assert abs(total_of(tiny, trace, sources, part, END)) > 1e-3
    trace = record(tiny, TOKENS, [Patch(MID1, LAST, LAST)], sources)
    assert total_of(tiny, trace, sources, L1H2, END) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("part", [MID1, POST1, PRE2], ids=str)
def test_a_steered_streams_total_effect_is_the_slope_of_its_coefficient(
    tiny: GPT2, sources: Sources, part: Component
) -> None:
    """The final scale held: what the edit adds times the gradient after it = d metric / d amount x amount."""
    steer = Steer(part, LAST, amount=0.7, direction=ALONG)
    trace = record(tiny, TOKENS, [steer], sources)
    scale = trace[Site.LN_FINAL_SCALE, 0]

    def at(amount: float) -> float:
        hook = as_hook([steer.with_amount(amount)])
        logits = tiny(
            torch.tensor([TOKENS]),
            lambda s, n, x: scale.expand_as(x) if s is Site.LN_FINAL_SCALE else hook(s, n, x),
        )
        return float(LD.of(logits[0, LD.pos]))

    h = 1e-3
    slope = (8 * (at(0.7 + h) - at(0.7 - h)) - (at(0.7 + 2 * h) - at(0.7 - 2 * h))) / (12 * h)
    assert total_of(tiny, trace, sources, part, END) == pytest.approx(0.7 * slope, abs=1e-8)


@pytest.mark.parametrize(
    "node", [(L0H1, 4), (L0H1, END), (M0, END), (M1, 3), (M1, END), (L1H2, END)], ids=str
)
@pytest.mark.parametrize(
    "made",
    ["resid_mid patch", "steered everywhere", "resid_post scale", "stream replaced and steered", "key patch"],
)
def test_scaling_a_node_before_an_edited_stream_moves_the_metric_by_its_total_effect(
    tiny: GPT2, sources: Sources, made: str, node: tuple[Component, int]
) -> None:
    """The final scale held: a four-point difference of real edits, those of the stream made after it."""
    part, pos = node
    trace = record(tiny, TOKENS, SITE_EDITS[made], sources)
    scale, bias = trace[Site.LN_FINAL_SCALE, 0], trace[Site.MLP_BIAS, part.layer][pos]

    def at(factor: float) -> float:
        """An MLP's write is without its bias."""
        hook = as_hook(SITE_EDITS[made], sources)

        def scaled(site: Site, layer: int, x: torch.Tensor) -> torch.Tensor:
            x = scale.expand_as(x) if site is Site.LN_FINAL_SCALE else x
            mine = (site, layer) == (Site.MLP_OUT if part in (M0, M1) else Site.Z, part.layer)
            if not mine:
                return hook(site, layer, x)
            x = hook(site, layer, x).clone()
            if site is Site.Z:
                x[:, part.index, pos] *= factor
            else:
                x[:, pos] = bias + factor * (x[:, pos] - bias)
            return x

        return float(LD.of(tiny(torch.tensor([TOKENS]), scaled)[0, LD.pos]))

    h = 2e-3
    slope = (8 * (at(1 + h) - at(1 - h)) - (at(1 + 2 * h) - at(1 - 2 * h))) / (12 * h)
    assert total_of(tiny, trace, sources, part, pos) == pytest.approx(slope, abs=1e-8)


def test_a_set_final_scale_is_the_one_that_the_lens_reads_with(tiny: GPT2, sources: Sources) -> None:
    trace = record(tiny, TOKENS, [Ablate(LN_FINAL, LAST, mode=Mode.VALUE, amount=2.0)], sources)
    clean = record(tiny, TOKENS)
    assert lens_values(tiny, trace, LD, END)[-1] == pytest.approx(metric_value(tiny, trace, LD), abs=1e-10)
    assert (lens_values(tiny, trace, EARLY, 4) == lens_values(tiny, clean, EARLY, 4)).all()


def test_scaling_by_one_and_patching_the_own_run_change_nothing(tiny: GPT2, sources: Sources) -> None:
    clean, own = record(tiny, TOKENS), Sources(other=record(tiny, TOKENS))
    for changes in SITE_EDITS.values():
        part, span = changes[0].component, changes[0].span or Span(0, END)
        if part.kind.group != "ln":
            once = Ablate(part, span, changes[0].key, Mode.SCALE, 1.0)
            equal(record(tiny, TOKENS, [once]), clean)
            quiet = Ablate(part, span, changes[0].key, Mode.NOISE, 0.0)
            equal(record(tiny, TOKENS, [quiet]), clean)
        equal(record(tiny, TOKENS, [Patch(part, span, span, changes[0].key, changes[0].key)], own), clean)


@pytest.mark.parametrize("layer", range(TINY.n_layer))
@pytest.mark.parametrize("kind", ["resid_pre", "resid_mid", "resid_post"])
def test_patching_the_whole_stream_anywhere_is_the_other_prompt(
    tiny: GPT2, tiny32: GPT2, kind: str, layer: int
) -> None:
    part = Component(Kind[kind.upper()], layer)
    for model in (tiny, tiny32):
        given = sources_of(model)
        patched = record(model, TOKENS, [Patch(part, Span(0, END), Span(0, END))], given)
        assert given.other is not None
        assert torch.equal(patched[Site.LN_FINAL, 0], given.other[Site.LN_FINAL, 0])


def test_order_does_not_matter_between_places_that_do_not_share_one(tiny: GPT2, sources: Sources) -> None:
    changes = [Ablate(M0, MIDDLE), Patch(MID1, LAST, LAST), Steer(N1, LAST, amount=2.0), Ablate(A1, MIDDLE)]
    forwards, backwards = (record(tiny, TOKENS, each, sources) for each in (changes, changes[::-1]))
    equal(forwards, backwards)


@pytest.mark.cuda
def test_every_edit_is_the_same_on_a_gpu(tiny: GPT2, sources: Sources) -> None:
    there = random_model().to("cuda")
    given, tokens = full_sources(there), torch.tensor([TOKENS])
    for name, changes in SITE_EDITS.items():
        logits = there(tokens.to("cuda"), as_hook(changes, given)).cpu()
        assert (logits - tiny(tokens, as_hook(changes, sources))).abs().max() < 1e-9, name


@pytest.mark.parametrize("probe", [Activation(Component(Kind.NEURON, 1, 11)), Activation(L1H2, 3)], ids=str)
def test_an_activation_is_read_through_a_norm_whose_scale_is_set(
    tiny: GPT2, sources: Sources, probe: Activation
) -> None:
    """The neuron, or the attention, that the run has."""
    metric = Metric(Quantity.ACTIVATION, (41,), (), END, probe)
    trace = record(tiny, TOKENS, (*SITE_EDITS["frozen scales"], Freeze(LN2)), sources)
    part = probe.component
    own = (
        trace[Site.MLP_POST, 1][END, 11] if probe.key is None else trace[Site.PATTERN, 1][part.index, END, 3]
    )
    assert metric_value(tiny, trace, metric) == pytest.approx(float(own), abs=1e-10)
    assert unchanged(tiny, trace, metric_scorer(tiny, metric)) == pytest.approx(float(own), abs=1e-10)
    assert value_of(tiny, trace, metric) == pytest.approx(float(own), abs=1e-10)
    assert lens_values(tiny, trace, metric, END)[-1] == pytest.approx(float(own), abs=1e-10)
