"""Estimates beside measurements: the same numbers by other commands, limits that are known, marks where they are due."""

import json
import os
from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.components import Component, Kind
from model.edits.interventions import Patch, Sources, Span
from model.effects.backward import value_of
from model.estimates.disagreement import Reason, disagreement
from model.estimates.estimators import attribution_patching
from model.estimates.remainders import Step, slopes
from model.estimates.swap import Direction, Swap
from model.metrics import Metric, Quantity
from model.sites import Site
from model.tokenizer import load_tokenizer
from model.trace import record
from model.weights import load_model
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.tables.estimates import MARK
from tdb_tui.tables.ranked_rows import LEGEND
from tests.sessions import PROMPT, begin, do, fail, load, said, write_model

ROWS = 4


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), dtype="float64")


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def rows_of(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, line).result["rows"]


def apart(session: Session, row: Mapping[str, float], estimate: str, measured: str) -> bool:
    """Of different signs or three times apart, by 5 % of what is asked about."""
    small, large = sorted((row[estimate], row[measured]), key=abs)
    least = max(0.02, 0.05 * abs(session.snapshot.asked.value))
    return abs(large - small) > least and small / large < 1 / 3


@pytest.mark.parametrize("kinds", ["heads", "mlps", "neurons @END", "pairs @END", "parts"])
def test_rows_are_the_rankings_and_measured_ones_what_single_edits_do(session: Session, kinds: str) -> None:
    ranked = rows_of(session, f"rank {kinds} by total -n {ROWS}")
    found = rows_of(session, f"estimates {kinds} by total -n {ROWS} --steps 1")
    assert [row["node"] for row in found] == [row["node"] for row in ranked]
    assert [row["total"] for row in found] == [row["total"] for row in ranked]
    for row in found:
        edit = do(session, f"ablate {row['node']}").result
        assert row["measured"] == pytest.approx(-edit["delta"], abs=1e-9)
        do(session, "undo")
        if row["patched"] is None:
            assert row["kind"] == "bias"
            continue
        place = row["node"].partition("@")[2]
        edit = do(session, f"patch {row['node']} from B@{place}").result
        assert row["patched"] == pytest.approx(-edit["delta"], abs=1e-9)
        do(session, "undo")


@pytest.mark.parametrize("source", ["zero", "B"])
@pytest.mark.parametrize("made", ["w", "ablate L1H1", "trace N3.5@END"], ids=["alone", "edited", "frame"])
def test_integrated_gradients_go_to_what_is_measured(session: Session, source: str, made: str) -> None:
    """A midpoint sum's error falls to a quarter with twice the steps; an embedding's zero is where a norm breaks."""
    do(session, made)
    coarse, fine = (
        rows_of(session, f"estimates heads by total -n {ROWS} --steps {steps} --from {source}")
        for steps in (8, 16)
    )
    column = "measured" if source == "zero" else "patched"
    for few, many in zip(coarse, fine, strict=True):
        assert abs(many["ig"] - many[column]) <= 0.3 * abs(few["ig"] - few[column]) + 1e-9
    assert any(abs(row[column]) > 1e-3 for row in fine)


def test_a_prompt_b_that_is_the_prompt_changes_nothing(session: Session) -> None:
    do(session, f'prompt B "{PROMPT}"')
    for row in rows_of(session, f"estimates -n {ROWS} --steps 2 --from B"):
        values = [
            row[name] for name in ("atp", "patched", "ig", "drop", "q", "k", "v") if row[name] is not None
        ]
        assert values == pytest.approx([0.0] * len(values), abs=1e-12)
        assert row["reason_b"] is None


def test_patching_estimates_are_attribution_patchings_with_live_norms(session: Session) -> None:
    snapshot = session.snapshot
    assert snapshot.other is not None
    swap = Swap(snapshot.now.model, snapshot.now.trace, snapshot.other.trace, snapshot.now.metric)
    expected = attribution_patching(swap)
    for row in rows_of(session, f"estimates heads by total -n {ROWS} --steps 1"):
        head, _, pos = row["node"].removeprefix("L").replace("H", "@").rpartition("@")
        layer, index = map(int, head.split("@"))
        assert row["atp"] == pytest.approx(-float(expected.heads[layer, index, int(pos)]), abs=1e-12)


def test_the_heads_inputs_are_estimated_and_other_rows_have_none(session: Session) -> None:
    found = rows_of(session, "estimates all by total -n 15 --steps 1")
    for row in found:
        assert (row["q"] is None) == (row["kind"] != "head")
    heads = [row for row in found if row["kind"] == "head"]
    assert any(not isclose(row["q"], row["q_linear"], rel_tol=0.05) for row in heads)


@pytest.mark.parametrize(
    "made", ["w", "ablate M1@END", "set metric logprob", "set ln none", "trace N2.7@END"]
)
def test_rows_are_marked_and_given_a_reason_where_they_are_apart_and_nowhere_else(
    session: Session, made: str
) -> None:
    do(session, made)
    reply = do(session, "estimates by total -n 6 --steps 1")
    seen = {True: 0, False: 0}
    for row, line in zip(reply.result["rows"], reply.lines[1:], strict=False):
        expected = apart(session, row, "total", "measured")
        assert (row["reason"] is not None) == expected == (row["evidence"] is not None)
        assert (row["reason_b"] is not None) == apart(session, row, "atp", "patched")
        assert (f"  {MARK}  " in line) == (expected or row["reason_b"] is not None)
        seen[expected] += 1
        for evidence, estimate, measured in (
            (row["evidence"], "total", "measured"),
            (row["evidence_b"], "atp", "patched"),
        ):
            if evidence is not None:
                assert (evidence["estimate"], evidence["measured"]) == (-row[estimate], -row[measured])
                assert sum(evidence["shares"].values()) == pytest.approx(evidence["gap"], abs=1e-9)
        if row["evidence_b"] is not None:  # it is the first order, every norm live
            assert row["evidence_b"]["shares"][Step.HELD.value] == pytest.approx(0, abs=1e-8)
    assert seen[True]


def test_a_ranking_marks_the_rows_that_are_measured_to_be_otherwise(engine: Engine) -> None:
    engine.forget()
    session = begin(engine)
    do(session, "set measure off")
    reply = do(session, "rank heads -n 5")
    assert {row["disagrees"] for row in reply.result["rows"]} == {None} and LEGEND not in reply.lines
    do(session, "set measure auto")
    reply = do(session, "rank heads -n 25")
    titles, *lines = reply.lines[: reply.lines.index(LEGEND)]
    assert titles.split()[:5] == ["#", "node", "total", "direct", "measured"]
    for row, line in zip(reply.result["rows"], lines, strict=True):
        assert row["disagrees"] == apart(session, row, "total", "measured") == (MARK in line.split())
    assert len({row["disagrees"] for row in reply.result["rows"]}) == 2


def test_without_a_prompt_b_as_long_its_columns_are_left_out_with_a_note(engine: Engine) -> None:
    session = begin(engine, prompt_b=None)
    reply = do(session, "estimates -n 2 --steps 1")
    assert reply.warnings == ("no prompt B: atp and patched are left out",)
    assert "atp" not in reply.lines[0] and {row["patched"] for row in reply.result["rows"]} == {None}
    error = fail(session, "estimates --from B").error
    assert error is not None and error.message.startswith("no prompt B: ")
    reply = do(session, "prompt B Mary went", "estimates -n 2 --steps 1")
    assert reply.warnings == ("prompt B has 3 tokens and the prompt 14: atp and patched are left out",)


def test_steps_rule_and_source_are_printed(session: Session) -> None:
    assert "ig 3 steps, midpoint rule, from B; drop, q, k from B" in said(
        do(session, "estimates -n 1 --steps 3 --from B")
    )
    assert "ig 16 steps, midpoint rule, from zero" in said(do(session, "estimates -n 1"))


def test_estimates_decide_nothing_and_without_measuring_say_so(session: Session) -> None:
    before, known = session.state, rows_of(session, "rank -n 3")
    do(session, "estimates heads by direct @END -n 2 --steps 1")
    assert session.state.rank == before.rank and session.engine.progress == "" and known
    do(session, "set measure off", "ablate L0H0")
    for row in rows_of(session, "estimates -n 3 --steps 1"):
        assert row["measured"] is row["patched"] is row["reason"] is None and row["ig"] is not None


def test_ordering_by_measurement_measures_every_row_first(session: Session) -> None:
    found = rows_of(session, "estimates mlps by measured -n 3 --steps 1")
    every = rows_of(session, "rank mlps by measured -n 0")
    assert [row["node"] for row in found] == [row["node"] for row in every[:3]]


@pytest.mark.parametrize("after", [0, 100, 500, 1000])
def test_an_interrupt_ends_it_at_any_stage(
    session: Session, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stop_here, sites = session.engine, session.engine.stop_here, [0, 10**9]

    def counting(site: Site, layer: int, x: Tensor) -> Tensor:
        sites[0] += 1
        if sites[0] > sites[1]:
            engine.interrupt.set()
        return stop_here(site, layer, x)

    monkeypatch.setattr(engine, "stop_here", counting)
    engine.forget()
    do(session, "run")
    before, sites[1] = session.snapshot, sites[0] + after
    done = execute(session, "estimates heads -n 30")[0]
    sites[1] = 10**9
    assert done.interrupted and engine.progress == "" and session.snapshot is before
    assert do(session, "estimates heads -n 2 --steps 1").result["rows"]


SHARED = Path(os.environ.get("TDB_SHARED", Path(__file__).parents[2] / "shared"))
ANCHORS = SHARED / "reference" / "anchors" / "tl_ioi_gpt2small.json"
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


@pytest.mark.weights
@pytest.mark.skipif(not RELEASED, reason="needs GPT-2 small in the Hugging Face cache")
@pytest.mark.skipif(not ANCHORS.exists(), reason="needs the published arrays (TDB_SHARED)")
def test_the_first_MLP_at_the_second_subject_is_underestimated_as_published_and_the_reason_is_told() -> None:
    """TransformerLens' demos on IOI: clean values into the corrupted run, as parts of the way between the two."""
    anchors = json.loads(ANCHORS.read_text(encoding="utf-8"))
    model, tokenizer = (
        load_model(RELEASED[0], torch.float32, torch.device("cpu")),
        load_tokenizer(RELEASED[0]),
    )
    assert tokenizer.eos is not None
    tokens = [(tokenizer.eos, *tokenizer.encode(text)) for text in anchors["prompts"]]
    answers = [[tokenizer.encode(word)[0] for word in pair] for pair in anchors["answers"]]
    estimates: list[Tensor] = []
    values: dict[str, list[float]] = {"clean": [], "corrupted": [], "patched": []}
    reasons: list[Reason] = []
    for at, (right, wrong) in enumerate(answers):
        asked = Metric(Quantity.LOGIT_DIFF, (right,), (wrong,), len(tokens[at]) - 1)
        clean, corrupted = (record(model, tokens[each]) for each in (at, at ^ 1))
        swap = Swap(model, *Direction.DENOISING.pair(clean, corrupted), asked, Sources(other=clean))
        change = Patch(Component(Kind.MLP, 0), Span(S2, S2), Span(S2, S2))
        patched = record(model, corrupted.tokens, (change,), swap.sources, base=corrupted)
        for name, run in (("clean", clean), ("corrupted", corrupted), ("patched", patched)):
            values[name].append(value_of(model, run, asked))
        estimates.append(attribution_patching(swap).mlp)
        estimate = float(estimates[-1][0, S2])
        measured = values["patched"][-1] - values["corrupted"][-1]
        said = disagreement(slopes(swap), patched, estimate, measured, values["corrupted"][-1])
        assert said is not None and abs(said.evidence.shares[Step.HELD]) < 1e-2
        reasons.append(said.reason)
    mean = {name: float(np.mean(each)) for name, each in values.items()}
    whole = mean["clean"] - mean["corrupted"]
    published = [anchors[name][0]["z"][2] for name in ("attr_patch_block_every", MEASURED)]
    ours = torch.stack(estimates).mean(0).numpy() / whole
    np.testing.assert_allclose(ours, published[0], atol=2e-3)
    measured = (mean["patched"] - mean["corrupted"]) / whole
    assert measured == pytest.approx(published[1][0][S2], abs=2e-3) and measured > 10 * ours[0, S2]
    # it writes at a token that nothing reads directly: there is no direct effect to be repaired
    assert not set(reasons) & {Reason.HELD, Reason.SELF_REPAIR}


S2 = 10
"The second subject's token, in all of these prompts."
MEASURED = "act_patch_block_every__resid_pre_attn_out_mlp_out"
