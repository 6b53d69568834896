"""GPT-2 small's released weights: what TransformerLens' demos have published of its IOI circuit.

`slow` ones sweep the whole model over eight prompts: `pytest -m "slow and weights"`.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Patch, Sources, Span
from model.effects.attribution import gradients, head_matrices, head_table
from model.effects.backward import value_of
from model.estimates.disagreement import Reason, disagreement
from model.estimates.estimators import attribution_patching
from model.estimates.remainders import Step, slopes
from model.estimates.swap import Direction, Swap
from model.gpt2 import GPT2
from model.measured.scorers import metric_scorer
from model.measured.sweeps import BY_HEAD, BY_LAYER, Axis, Grid, Spot, Spots, by_head, by_token, measure_grid
from model.metrics import Metric, Quantity
from model.targets import value_matrix
from model.tokenizer import Tokenizer, load_tokenizer
from model.trace import Trace, record
from model.weights import load_model

SHARED = Path(os.environ.get("TDB_SHARED", Path(__file__).parents[2] / "shared"))
PUBLISHED = SHARED / "reference" / "anchors" / "tl_ioi_gpt2small.json"
HUB = Path(
    os.environ.get("HF_HUB_CACHE")
    or Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
)
RELEASED = [
    config.parent
    for name in ("openai-community--gpt2", "gpt2")
    for config in HUB.glob(f"models--{name}/snapshots/*/config.json")
]
"Of GPT-2 small, as the cache of whoever runs the tests has it: looked up before tests get a home of their own."

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not RELEASED, reason="needs GPT-2 small in the Hugging Face cache"),
    pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the published arrays (TDB_SHARED)"),
]

S2 = 10
"The second subject's token, in all of these prompts."
CLOSE = 2e-3
"Of the way from the corrupted prompt's logit difference to the clean one's; published in float32, as rounded."


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, and the corrupted one that the demos patch it into: the next, with the names exchanged."""

    clean: Trace
    corrupted: Trace
    asked: Metric


@cache
def published() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


@cache
def released() -> tuple[GPT2, Tokenizer]:
    return load_model(RELEASED[0], torch.float32, torch.device("cpu")), load_tokenizer(RELEASED[0])


@cache
def pairs() -> tuple[Pair, ...]:
    runs = [record(released()[0], encoded(text)) for text in published()["prompts"]]
    asked = [logit_diff(*words) for words in published()["answers"]]
    return tuple(Pair(run, runs[at ^ 1], asked[at]) for at, run in enumerate(runs))


def encoded(text: str) -> tuple[int, ...]:
    tokenizer = released()[1]
    assert tokenizer.eos is not None
    return (tokenizer.eos, *tokenizer.encode(text))


def logit_diff(right: str, wrong: str) -> Metric:
    encode = released()[1].encode
    return Metric(Quantity.LOGIT_DIFF, tuple(encode(right)), tuple(encode(wrong)), 14)


def part_of_the_way(values: Iterable[Any]) -> NDArray[np.float64]:
    """Mean over the prompts of what patches leave, 0 for what the corrupted ones do and 1 for the clean ones."""
    ends = [
        [value_of(released()[0], run, pair.asked) for run in (pair.corrupted, pair.clean)] for pair in pairs()
    ]
    corrupted, clean = np.mean(ends, axis=0)
    return (np.mean([np.asarray(value) for value in values], axis=0) - corrupted) / (clean - corrupted)


def swept(grid: Grid) -> NDArray[np.float64]:
    """A grid of patches from the clean prompt into the corrupted one: [row, column]."""
    model, found = released()[0], list[Tensor]()
    for pair in pairs():
        values = torch.zeros(len(grid.rows), len(grid.columns), dtype=torch.float64)
        scorer = metric_scorer(model, pair.asked)
        for row, column, value in measure_grid(
            model, pair.corrupted, scorer, grid, Sources(other=pair.clean)
        ):
            values[row, column] = value
        found.append(values)
    return part_of_the_way(found)


TOKENS = tuple(range(15))
EACH = Spots(tuple(map(str, TOKENS)), tuple(Spot(str(pos), (pos,), (pos,)) for pos in TOKENS))
EVERY = Spot("", TOKENS, TOKENS, whole=True)
PATCH = Patch(Component(Kind.HEAD, 0, 0), Span(0, 0), Span(0, 0))
LAYERS = range(12)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "site"), tuple(enumerate(("resid_pre", "attn_out", "mlp_out"))))
def test_layers_at_tokens_do_what_is_published(at: int, site: str) -> None:
    parts = [Component(BY_LAYER[site], layer) for layer in LAYERS]
    expected = published()["act_patch_block_every__resid_pre_attn_out_mlp_out"][0]["z"][at]
    grid = by_token(Axis("layer", tuple(map(str, LAYERS))), parts, EACH, PATCH)
    np.testing.assert_allclose(swept(grid), expected, rtol=0, atol=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "site"), tuple(enumerate(("heads", "q", "k", "v", "pattern"))))
def test_heads_do_what_is_published(at: int, site: str) -> None:
    parts = [[Component(BY_HEAD[site], layer, head) for head in range(12)] for layer in LAYERS]
    expected = published()["act_patch_head_all_pos_every__out_q_k_v_pattern"][0]["z"][at]
    np.testing.assert_allclose(swept(by_head(parts, (), EVERY, PATCH)), expected, rtol=0, atol=CLOSE)


def test_heads_write_what_is_published_to_the_logits() -> None:
    """Convention: what a head writes whatever it reads, `(b_V + b_ln W_V) W_O`, is not among its published effect."""
    model, demo = released()[0], published()["DLA_demo"]
    trace = record(model, encoded(demo["prompt"]))
    by = gradients(model, trace, logit_diff(demo["target"], demo["distractor"]))
    table, end = head_table(model, trace, by), len(trace.tokens) - 1
    ours = {}
    for row in np.flatnonzero(table.pos == end):
        part = table.node(int(row)).component
        assert part.index is not None
        block = model.blocks[part.layer]
        value, bias = value_matrix(model, part)
        always = (block.ln_1.bias @ value + bias) @ head_matrices(model)[part.layer][part.index]
        ours[str(part)] = float(table.direct[row]) - float(always.double() @ by.direct[end].double())
    best = sorted(ours, key=lambda name: -abs(ours[name]))[: len(demo["top8"])]
    assert best == [name for name, _ in demo["top8"]]
    for name, effect in demo["top8"]:
        assert ours[name] == pytest.approx(effect, abs=1e-3)


def test_the_first_MLP_at_the_second_subject_is_underestimated_as_published_and_the_reason_is_told() -> None:
    model, estimates, patches = released()[0], list[Tensor](), list[float]()
    reasons: list[Reason] = []
    for pair in pairs():
        base = value_of(model, pair.corrupted, pair.asked)
        runs = Direction.DENOISING.pair(pair.clean, pair.corrupted)
        swap = Swap(model, *runs, pair.asked, Sources(other=pair.clean))
        change = Patch(Component(Kind.MLP, 0), Span(S2, S2), Span(S2, S2))
        patched = record(model, pair.corrupted.tokens, (change,), swap.sources, base=pair.corrupted)
        estimates.append(attribution_patching(swap).mlp.double())
        patches.append(value_of(model, patched, pair.asked))
        said = disagreement(slopes(swap), patched, float(estimates[-1][0, S2]), patches[-1] - base, base)
        assert said is not None and abs(said.evidence.shares[Step.HELD]) < 1e-2
        reasons.append(said.reason)
    bases = [value_of(model, pair.corrupted, pair.asked) for pair in pairs()]
    estimated = part_of_the_way(base + each for base, each in zip(bases, estimates, strict=True))
    np.testing.assert_allclose(
        estimated, published()["attr_patch_block_every"][0]["z"][2], rtol=0, atol=CLOSE
    )
    measured = float(part_of_the_way(patches))
    blocks = published()["act_patch_block_every__resid_pre_attn_out_mlp_out"][0]["z"]
    assert measured == pytest.approx(blocks[2][0][S2], abs=CLOSE) and measured > 10 * estimated[0, S2]
    # it writes at a token that nothing reads directly: there is no direct effect to be repaired
    assert not set(reasons) & {Reason.HELD, Reason.SELF_REPAIR}
