"""`generate`: beside the baseline, seeded, token by token with the metric."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.sampling import Step
from model.trace import logits_at, record
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.state import Inputs
from tests.sessions import SHAPE, TOKENS, begin, do, fail, load, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"), "float64")


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


def test_each_token_has_the_metric_and_probability_of_the_logits_that_it_is_taken_from(
    session: Session,
) -> None:
    do(session, "ablate L1H2", "ablate M1@3 scale 2")
    result = do(session, "generate 5").result
    now, inputs = session.snapshot.now, session.state.inputs
    for prefix, changes in (("", inputs.changes), ("base_", ())):
        tokens = list(inputs.prompt.tokens)
        for row in result["rows"]:
            trace = record(now.model, tokens, changes)
            logits = logits_at(now.model, trace, len(tokens) - 1)
            assert row[f"{prefix}id"] == int(logits.argmax())
            p = float(logits.softmax(-1)[row[f"{prefix}id"]])
            assert row[f"{prefix}p"] == pytest.approx(p, abs=1e-12)
            assert row[f"{prefix}metric"] == pytest.approx(float(inputs.metric.of(logits)), abs=1e-10)
            tokens.append(row[f"{prefix}id"])
    assert result["rows"][0]["metric"] == pytest.approx(now.value, abs=1e-10)
    assert result["rows"][0]["base_metric"] == pytest.approx(session.snapshot.base.value, abs=1e-10)


def test_the_baseline_stands_beside_and_alone(session: Session) -> None:
    plain = do(session, "generate 6").result
    assert plain["base"] is None
    do(session, "ablate L1H2 scale 3", "ablate M2")
    edited = do(session, "generate 6").result
    assert edited["base"] == {"tokens": plain["tokens"], "text": plain["text"]}
    alone = do(session, "generate 6 --base-only").result
    assert alone["tokens"] == plain["tokens"] and alone["base"] is None
    assert alone["rows"] == plain["rows"]
    do(session, "disable i1 i2")
    assert do(session, "generate 6").result["tokens"] == plain["tokens"]


def test_the_same_seed_draws_the_same_on_both_sides(session: Session) -> None:
    line = "generate 7 --temperature 1.5 --seed 11 --top-k 40"
    plain = do(session, line).result
    do(session, "ablate L0H0 scale 1")  # in force, and changes nothing
    both = do(session, line).result
    assert both["tokens"] == plain["tokens"] == both["base"]["tokens"]
    other = do(session, "generate 7 --temperature 1.5 --seed 12 --top-k 40").result
    assert other["tokens"] != plain["tokens"] and (other["seed"], other["top_k"]) == (12, 40)


def test_one_of_one_is_greedy_whatever_the_temperature(session: Session) -> None:
    greedy = do(session, "generate 6").result["tokens"]
    assert do(session, "generate 6 --temperature 3 --top-k 1").result["tokens"] == greedy


def test_an_edit_of_every_position_holds_for_generated_tokens_and_one_of_named_ones_does_not(
    session: Session,
) -> None:
    do(session, "ablate M0")
    everywhere = do(session, "generate 4").result["tokens"]
    do(session, "reset", f"ablate M0@0:{TOKENS - 1}")
    prompt = do(session, "generate 4").result["tokens"]
    assert everywhere[0] == prompt[0]  # of the prompt alone
    now, tokens = session.snapshot.now, [*session.state.inputs.prompt.tokens, prompt[0]]
    logits = logits_at(now.model, record(now.model, tokens, session.state.inputs.changes), len(tokens) - 1)
    assert prompt[1] == int(logits.argmax())


def test_generating_stops_at_the_end_of_the_context_and_needs_room(session: Session) -> None:
    result = do(session, "generate 1000").result
    assert len(result["rows"]) == SHAPE.n_ctx - TOKENS
    do(session, "prompt" + " to" * (SHAPE.n_ctx - 1))
    error = fail(session, "generate").error
    assert error is not None
    assert error.message == "the prompt has 24 tokens and random reads 24: give a shorter one"


@pytest.mark.parametrize("metric", ["kl", "activation N1.5@END", "direction"])
def test_a_metric_that_is_not_of_logits_alone_is_left_out(session: Session, metric: str) -> None:
    do(session, f"set metric {metric}", "ablate M0")
    assert all(row["metric"] is None for row in do(session, "generate 3").result["rows"])


def test_generating_can_be_interrupted_and_changes_nothing(session: Session) -> None:
    do(session, "ablate M0")
    before, stop_here, seen = session.snapshot, session.engine.stop_here, [0]

    def stopping(site: object, layer: int, x: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == 200:
            session.engine.interrupt.set()
        return stop_here(site, layer, x)  # pyright: ignore[reportArgumentType]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.engine, "stop_here", stopping)
        done = execute(session, "generate 9")[-1]
    assert done.reply is not None and done.reply.result["stopped"]
    assert session.snapshot is before and session.engine.progress == ""


def test_probabilities_are_before_temperature(session: Session) -> None:
    row = do(session, "generate 1 --temperature 5 --seed 3").result["rows"][0]
    logits = session.snapshot.now.logits(session.state.end)
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert row["p"] == pytest.approx(float(p[row["id"]]), abs=1e-12)


def test_tokens_show_as_they_come_and_the_last_is_the_answer(session: Session) -> None:
    do(session, "ablate L1H2 scale 3")
    seen: list[tuple[str, ...]] = []
    session.said = lambda lines: seen.append(tuple(lines))
    reply = do(session, "generate 4")
    assert len(seen) == 4
    assert seen[-1] == reply.lines[:2]
    assert [len(lines) for lines in seen] == [2] * 4  # both sides, from the first token on
    assert len({lines[0] for lines in seen}) == 4


def test_stopped_what_has_come_is_kept_and_is_what_the_whole_answer_begins_with(session: Session) -> None:
    do(session, "ablate L1H2 scale 3")
    line = "generate 8 --temperature 0.9 --seed 4"
    whole = do(session, line).result

    seen: list[object] = []

    def stop(lines: Sequence[str]) -> None:
        seen.append(lines)
        if len(seen) == 3:
            session.engine.interrupt.set()

    session.said = stop
    before = session.state
    (done,) = execute(session, line)
    assert done.reply is not None and done.reply.warnings == ("stopped after 3 of 8 tokens",)
    assert done.reply.result["stopped"] and not whole["stopped"]
    assert done.reply.result["rows"] == whole["rows"][:3]
    assert session.state == before


def test_stopped_before_the_first_token_nothing_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = session.engine.generate

    def generate(inputs: Inputs, *how: Any) -> Iterator[Step]:
        session.engine.interrupt.set()
        return real(inputs, *how)

    monkeypatch.setattr(session.engine, "generate", generate)
    (done,) = execute(session, "generate 3")
    assert done.reply is None and done.interrupted
