"""What a run leaves out is, bit for bit, what it would have kept."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from model.acts import MADE, Acts
from model.edits.interventions import Change, Where, as_hook
from model.gpt2 import GPT2
from model.sites import Site, compose
from model.trace import RECORDED, Trace, bytes_of, record, recorder
from tests.tiny import EDITS, TINY, TOKENS, random_model, sources_of

Runs = tuple[Trace, dict[Where, Tensor]]


def both(model: GPT2, changes: Sequence[Change]) -> Runs:
    """A run as it is recorded, and everything that happened in it."""
    sources = sources_of(model)
    seen: dict[Where, Tensor] = {}
    model(torch.tensor([TOKENS]), compose(as_hook(changes, sources), recorder(seen, RECORDED)))
    return record(model, TOKENS, changes, sources), seen


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_made_again_is_what_happened(edit: str, dtype: torch.dtype) -> None:
    trace, seen = both(random_model(dtype=dtype), EDITS[edit])
    assert set(trace.acts) == set(seen) and len(trace.acts) == len(seen)
    assert all(torch.equal(trace[at], seen[at]) for at in seen)


def test_patterns_and_activations_are_left_out_unless_they_were_edited() -> None:
    model = random_model()
    for edit, at in (("pair value", (Site.PATTERN, 1)), ("neuron value", (Site.MLP_POST, 1))):
        trace, _ = both(model, EDITS[edit])
        assert isinstance(trace.acts, Acts)
        kept = {where for where in trace.acts.kept if where[0] in MADE}
        assert kept == {at}
        assert trace.acts.again == {(site, layer) for site in MADE for layer in range(TINY.n_layer)} - {at}


def test_runs_that_share_layers_hold_these_once() -> None:
    model = random_model()
    one = record(model, TOKENS)
    late = record(model, TOKENS, EDITS["last layer's head"], base=one)
    assert one.nbytes < bytes_of([one, late]) < one.nbytes + late.nbytes
    assert bytes_of([one, one]) == one.nbytes
