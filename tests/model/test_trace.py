"""A recorded run, and running again from the first layer that differs."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from model.edits.interventions import Ablate, Change, Mode, Sources
from model.gpt2 import GPT2
from model.sites import Site, no_hook
from model.trace import RECORDED, Trace, logits_at, metric_value, record, shared_layers
from tests.edits import CHANGES
from tests.tiny import EARLY, EDITS, END, L0H1, L1H2, LAST, LD, M1, OTHER, TINY, TOKENS, sources_of


def equal(one: Trace, other: Trace) -> None:
    """The same tokens, changes and tensors, to the bit."""
    assert (one.tokens, one.changes) == (other.tokens, other.changes)
    assert one.acts.keys() == other.acts.keys()
    for at in one.acts:
        assert torch.equal(one[at], other[at]), at


@pytest.mark.parametrize("name", EDITS)
def test_running_again_from_the_first_edited_layer_is_the_whole_run(
    tiny: GPT2, sources: Sources, name: str
) -> None:
    """Making a change, removing it, and making another on top of it."""
    clean, edited = record(tiny, TOKENS), record(tiny, TOKENS, EDITS[name], sources)
    equal(record(tiny, TOKENS, EDITS[name], sources, base=clean), edited)
    equal(record(tiny, TOKENS, (), sources, base=edited), clean)
    more = (*EDITS[name], Ablate(L1H2, LAST, mode=Mode.SCALE, amount=2.0))
    equal(record(tiny, TOKENS, more, sources, base=edited), record(tiny, TOKENS, more, sources))


@pytest.mark.parametrize("name", EDITS)
def test_running_again_is_the_whole_run_in_float32(tiny32: GPT2, name: str) -> None:
    sources = sources_of(tiny32)
    clean, edited = record(tiny32, TOKENS), record(tiny32, TOKENS, EDITS[name], sources)
    equal(record(tiny32, TOKENS, EDITS[name], sources, base=clean), edited)


@settings(max_examples=40, deadline=None)
@given(before=CHANGES, after=CHANGES)
def test_running_again_is_the_whole_run_for_any_two_lists_of_edits(
    tiny: GPT2, sources: Sources, before: tuple[Change, ...], after: tuple[Change, ...]
) -> None:
    base = record(tiny, TOKENS, before, sources)
    equal(record(tiny, TOKENS, after, sources, base=base), record(tiny, TOKENS, after, sources))
    both = before + after
    equal(record(tiny, TOKENS, both, sources, base=base), record(tiny, TOKENS, both, sources))


@pytest.mark.parametrize("name", EDITS)
def test_only_layers_from_the_first_edited_one_are_computed(tiny: GPT2, sources: Sources, name: str) -> None:
    if name in ("none", "many"):
        return
    computed: Counter[int] = Counter()

    def count(site: Site, layer: int, x: Tensor) -> Tensor:
        computed[layer] += site is Site.RESID_PRE
        return x

    record(tiny, TOKENS, EDITS[name], sources, base=record(tiny, TOKENS), also=count)
    kind = EDITS[name][0].component.kind
    first = min(change.component.layer if kind.has_layer else 0 for change in EDITS[name])
    first = TINY.n_layer if name == "final bias" else first
    assert sorted(+computed) == list(range(first, TINY.n_layer))


def test_the_order_of_edits_in_one_layer_matters_and_elsewhere_not(tiny: GPT2) -> None:
    put, scale = Ablate(M1, mode=Mode.VALUE, amount=1), Ablate(M1, mode=Mode.SCALE, amount=2)
    early = Ablate(L0H1)
    base = record(tiny, TOKENS, (early, put, scale))
    assert shared_layers(base, TOKENS, (early, scale, put), 3) == 1
    assert shared_layers(base, TOKENS, (put, scale, early), 3) == 3
    assert shared_layers(base, TOKENS, (put, scale), 3) == 0
    assert shared_layers(base, OTHER, (early, put, scale), 3) == -1


def test_another_prompt_takes_nothing_from_the_base(tiny: GPT2) -> None:
    equal(record(tiny, OTHER, base=record(tiny, TOKENS)), record(tiny, OTHER))
    longer = (*TOKENS, 3)
    equal(record(tiny, longer, base=record(tiny, TOKENS)), record(tiny, longer))


def test_a_trace_holds_every_recorded_site_of_every_layer(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    once = {Site.EMBED, Site.POS_EMBED, Site.LN_FINAL_SCALE, Site.LN_FINAL_BIAS, Site.LN_FINAL}
    layered = {(site, layer) for site in RECORDED - once for layer in range(TINY.n_layer)}
    assert set(trace.acts) == layered | {(site, 0) for site in once}
    for (site, _), x in trace.acts.items():
        assert x.ndim == site.shape.count(",")  # the batch axis is gone


def test_a_trace_holds_what_the_pass_saw(tiny: GPT2) -> None:
    """The same tensors as a hook of one's own is given, and the metric as the logits have it."""
    seen: dict[tuple[Site, int], Tensor] = {}

    def keep(site: Site, layer: int, x: Tensor) -> Tensor:
        seen[site, layer] = x[0]
        return x

    logits = tiny(torch.tensor([TOKENS]), keep)[0]
    trace = record(tiny, TOKENS)
    assert all(torch.equal(x, seen[at]) for at, x in trace.acts.items())
    for metric in (LD, EARLY):
        assert metric_value(tiny, trace, metric) == pytest.approx(
            float(metric.of(logits[metric.pos])), abs=1e-11
        )
    assert (logits_at(tiny, trace, END) - logits[END]).abs().max() <= 1e-11


def test_recording_wants_no_gradients_and_registers_nothing(tiny: GPT2) -> None:
    with torch.enable_grad():
        trace = record(tiny, TOKENS)
    assert not any(x.requires_grad for x in trace.acts.values())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in tiny.modules())


def test_a_trace_cannot_be_written_to(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    with pytest.raises(TypeError):
        trace.acts[Site.EMBED, 0] = torch.zeros(1)  # pyright: ignore[reportIndexIssue]
    with pytest.raises(AttributeError):
        trace.tokens = ()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_hook_that_raises_stops_the_pass(tiny: GPT2) -> None:
    class Stop(Exception):
        pass

    layers: list[int] = []

    def stop(site: Site, layer: int, x: Tensor) -> Tensor:
        layers.append(layer)
        if layer == 1:
            raise Stop
        return x

    with pytest.raises(Stop):
        record(tiny, TOKENS, also=stop)
    assert max(layers) == 1


def test_bytes_count_shared_tensors_once(tiny: GPT2) -> None:
    trace = record(tiny, TOKENS)
    t, c = len(TOKENS), TINY
    per_layer = t * (3 * c.d_model) + 4 * t * c.d_model + t * c.d_mlp  # nothing for what is made again
    assert (
        8 * 3 * per_layer
        <= trace.nbytes
        <= sum(x.nbytes for x in trace.acts.values()) + 8 * c.n_ctx * c.d_model
    )
    assert trace.nbytes < 8 * 3 * (per_layer + c.n_head * t * t + t * c.d_mlp)
    assert record(tiny, TOKENS, also=no_hook).nbytes == trace.nbytes


@pytest.mark.cuda
def test_a_gpu_records_the_same(tiny: GPT2) -> None:
    copy = GPT2(TINY).double().requires_grad_(False)
    copy.load_state_dict(tiny.state_dict())
    there, here = (
        record(copy.to("cuda"), TOKENS, EDITS["head scale"]),
        record(tiny, TOKENS, EDITS["head scale"]),
    )
    for at in here.acts:
        assert (there[at].cpu() - here[at]).abs().max() <= 1e-10
