"""`roles`: the library's scores, searched and shown with the tokens that they rest on."""

import math
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from model.about.reads import impossible, untrained
from model.about.role_scores import Role
from model.about.roles import ATTENTION, Roles, on_prompt, probe, suggest
from model.components import Component, Kind
from model.sites import Site
from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import SHAPE, begin, do, fail, load, write_model

HEADS = SHAPE.n_layer * SHAPE.n_head
LENGTH = (SHAPE.n_ctx - 1) // 2
"What fits into the context twice, after the first token."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def rows_of(session: Session, line: str) -> list[dict[str, Any]]:
    return do(session, line).result["rows"]


def at(head: str) -> tuple[int, int]:
    layer, _, index = head.removeprefix("L").partition("H")
    return int(layer), int(index)


def agree(rows: list[dict[str, Any]], found: Roles) -> None:
    """Every score and every piece of evidence as the library has it."""
    for row in rows:
        head = at(row["head"])
        for role in Role:
            assert row[role.value] == pytest.approx(float(found.scores[role].score[head]), nan_ok=True)
        role = Role.COPYING if row["role"] == "negative-copying" else Role(row["role"])
        assert row["score"] == pytest.approx(row[role.value], nan_ok=True)
        sequence, query, key = found.scores[role].example[head].tolist()
        if row["evidence"] is None:
            assert query < 0
            continue
        given = row["evidence"]
        assert (given["sequence"], given["query"]["pos"], given["key"]["pos"]) == (sequence, query, key)
        assert given["strength"] == pytest.approx(float(found.scores[role].strength[head]))
        tokens = found.sequences[sequence]
        assert (given["query"]["id"], given["key"]["id"]) == (tokens[query], tokens[key])


@pytest.mark.parametrize("role", ["previous-token", "duplicate-token", "induction", "first-token", "copying"])
def test_a_roles_name_ranks_every_head_by_it_on_the_prompt(session: Session, role: str) -> None:
    rows = rows_of(session, f"roles {role} on prompt -n 0")
    assert len({row["head"] for row in rows}) == HEADS and {row["on"] for row in rows} == {"prompt"}
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    agree(rows, on_prompt(session.snapshot.now.model, session.snapshot.now.trace))


def test_on_random_tokens_the_scores_are_those_of_a_probe_of_tokens_that_training_has_seen(
    session: Session,
) -> None:
    model, tokenizer = session.snapshot.now.model, session.engine.tokenizer
    seen = np.flatnonzero(~untrained(model.wte.weight, impossible(tokenizer, SHAPE.n_vocab))).tolist()
    found = probe(model, 3, LENGTH, allowed=seen, start=tokenizer.eos)
    reply = do(session, "roles induction on random --seed 3 -n 0")
    assert reply.lines[0] == f"on 8 x {LENGTH} random tokens said twice, seed 3"
    assert len(reply.result["rows"]) == HEADS
    agree(reply.result["rows"], found)
    agree(rows_of(session, "roles L2H1,L3H0 on random --seed 3 -n 0"), found)
    assert rows_of(session, "roles induction on random --seed 4 -n 0") != reply.result["rows"]


def test_negative_copying_is_copying_from_the_other_end(session: Session) -> None:
    up, down = (rows_of(session, f"roles {name} on prompt -n 0") for name in ("copying", "negative-copying"))
    assert [row["score"] for row in down] == [row["score"] for row in up][::-1]
    assert down[0]["score"] < 0


@pytest.mark.parametrize(
    ("word", "role"),
    [("prev", "previous-token"), ("previous_token_head", "previous-token"), ("duplicate_token_head", "duplicate-token"),
     ("induction_head", "induction"), ("Induction", "induction"), ("neg", "negative-copying"), ("copy", "copying")],
)  # fmt: skip
def test_roles_go_by_their_beginnings_and_by_TransformerLens_names(
    session: Session, word: str, role: str
) -> None:
    assert {row["role"] for row in rows_of(session, f"roles {word} on prompt")} == {role}


def test_a_heads_name_shows_all_of_its_roles_on_both_texts(session: Session) -> None:
    rows = rows_of(session, "roles L2H1")
    assert [(row["on"], row["role"]) for row in rows] == [
        (on, role.value) for on in ("random", "prompt") for role in Role
    ]
    assert {row["head"] for row in rows} == {"L2H1"}
    assert {row["head"] for row in rows_of(session, "roles L1H0-2 on prompt -n 0")} == {
        "L1H0",
        "L1H1",
        "L1H2",
    }


def test_without_a_word_heads_whose_role_is_clear_are_shown_best_first(session: Session) -> None:
    found = on_prompt(session.snapshot.now.model, session.snapshot.now.trace)
    rows = rows_of(session, "roles on prompt -n 0")
    expected = suggest(found)
    assert [(row["head"], row["role"]) for row in rows] == [(str(each.head), each.role) for each in expected]
    for row in rows:
        if "copying" not in row["role"]:
            assert row["score"] >= ATTENTION
    agree(rows, found)


def test_edits_count_on_the_prompt_and_not_on_random_tokens(session: Session) -> None:
    head = Component(Kind.HEAD, 1, 2)
    before = [rows_of(session, f"roles {head} on {on}") for on in ("random", "prompt")]
    reply = do(session, "ablate E@3 scale 3", f"roles {head} on prompt")
    assert reply.lines[0] == "on the prompt, edits included"
    assert reply.result["rows"] != before[1]
    assert rows_of(session, f"roles {head} on random") == before[0]
    pattern = session.snapshot.now.trace[Site.PATTERN, 1][2].double().numpy()
    expected = np.mean([pattern[query, query - 1] for query in range(2, len(pattern))])
    assert reply.result["rows"][0]["score"] == pytest.approx(expected, abs=1e-6)


def test_the_evidence_names_the_tokens_that_the_head_reads(session: Session) -> None:
    (line, *_), rows = (
        do(session, "roles dup on prompt -n 1").lines[2:],
        rows_of(session, "roles dup on prompt -n 1"),
    )
    given = rows[0]["evidence"]
    assert given["query"]["id"] == given["key"]["id"] and given["query"]["pos"] > given["key"]["pos"]
    text = given["query"]["text"].strip()
    assert f"{text}@{given['query']['pos']} → {text}@{given['key']['pos']}" in line
    assert given["strength"] == pytest.approx(
        float(session.snapshot.now.pattern(Component(Kind.HEAD, *at(rows[0]["head"])))[given["query"]["pos"], given["key"]["pos"]])
    )  # fmt: skip


def test_a_prompt_without_the_occasion_has_no_score_and_no_evidence(session: Session) -> None:
    do(session, "prompt Mary went")
    assert rows_of(session, "roles induction on prompt") == []
    row = next(row for row in rows_of(session, "roles L0H0 on prompt") if row["role"] == "induction")
    assert math.isnan(row["score"]) and row["evidence"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("roles inducton", "unknown role 'inducton': did you mean 'induction'?"),
        ("roles M0", "M0 is no head: only heads have roles"),
        ("roles on", "'on' needs prompt or random after it"),
        ("roles on B", "'on' needs prompt or random after it"),
        ("roles induction L0H1", "unexpected 'L0H1': one role or one head"),
        ("roles --seed x", "'x' isn't a seed"),
    ],
)
def test_what_is_no_role_and_no_head_is_refused(session: Session, line: str, message: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.message == message


def test_an_interrupt_ends_the_probing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stop_here = session.engine, session.engine.stop_here

    def stopping(site: Site, layer: int, x: Tensor) -> Tensor:
        engine.interrupt.set()
        return stop_here(site, layer, x)

    monkeypatch.setattr(engine, "stop_here", stopping)
    done = execute(session, "roles on random")[0]
    assert done.interrupted and engine.progress == ""
