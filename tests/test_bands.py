"""Patching the residual stream from a prompt with the other subject: where the answer is, layer by layer."""

from pathlib import Path

import pytest

from tests.sessions import begin, do, load

A = "When Mary and John went to the store, John gave a drink to"
B = "When Mary and John went to the store, Mary gave a drink to"


def test_the_sweep_finds_the_band_of_the_second_subject_and_then_that_of_the_end() -> None:
    """Wang et al. 2022: what decides is at S2 up to the middle layers, and at END from there on, nowhere else."""
    session = begin(load(Path(__file__).parents[1] / "model" / "demo" / "gpt2-demo"), A, B)
    result = do(session, "sweep patch resid_pre").result
    n_layer = len(result["values"])
    assert result["baseline"] == pytest.approx(session.snapshot.now.value, abs=1e-4)
    flipped = {
        (layer, pos)
        for layer, row in enumerate(result["values"])
        for pos, value in enumerate(row)
        if value < 0
    }
    s2, end = 10, session.state.end
    assert session.snapshot.tokenizer.text(session.state.inputs.prompt.tokens[s2]) == " John"
    handed = min(layer for layer, pos in flipped if pos == end)
    assert flipped == {(layer, s2) for layer in range(handed)} | {
        (layer, end) for layer in range(handed, n_layer)
    }
    assert 0 < handed < n_layer
