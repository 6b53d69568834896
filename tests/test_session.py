"""Any sequence of changes, undone and redone: the session stays what its commands say it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.formats import quoted
from tdb_tui.session import Session, start
from tdb_tui.state import State
from tdb_tui.texts import opening, resolve_tokens
from tests.sessions import begin, do, load, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


PARTS = st.sampled_from(
    ["L0H1", "L2H3@END", "A1", "M0@3:5", "N1.7@END", "E@2", "BM2", "L1H0@END<3", "L3H{0,2}"]
)
CHANGES = st.one_of(
    PARTS.map("ablate {}".format),
    st.tuples(PARTS, st.floats(-3, 3)).map(lambda both: f"ablate {both[0]} scale {both[1]!r}"),
    PARTS.map("patch {} from B".format),
    st.sampled_from(["target Anna", "target Mary,Anna", "distractor", "distractor John", "set metric prob"]),
    st.sampled_from(
        ["prompt Mary and John went to the store, John gave a drink", "prompt --no-bos Mary went to"]
    ),
    st.sampled_from(["reset", "set means positions", "set means none", "ablate M2 mean"]),
    st.tuples(st.sampled_from(["delete", "disable", "enable"]), st.integers(1, 6)).map(
        lambda both: f"{both[0]} i{both[1]}"
    ),
)
MOVES = st.sampled_from(
    [
        "undo",
        "redo",
        "undo 3",
        "redo 2",
        "n",
        "s",
        "token @2",
        "b A2, ld > 0",
        "display ld",
        "rank heads by direct",
    ]
)
LINES = st.lists(st.one_of(CHANGES, CHANGES, MOVES), min_size=1, max_size=14)
WALK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def carried_out(engine: Engine, lines: list[str]) -> Session:
    session = begin(engine)
    for line in lines:
        execute(session, line)
    return session


def same_run(a: Session, b: Session) -> bool:
    one, other = a.snapshot.now.trace.acts, b.snapshot.now.trace.acts
    return one.keys() == other.keys() and all(torch.equal(one[at], other[at]) for at in one)


def plain(state: State) -> tuple[object, ...]:
    """What can be compared: the mappings of a state compare by identity inside it."""
    return (
        state.inputs, state.place, state.pos, state.head, state.rank, state.stops, state.displays,
        dict(state.roles), dict(state.settings), state.next_stop, state.next_edit, state.next_display,
    )  # fmt: skip


@WALK
@given(LINES)
def test_a_session_is_what_its_successful_commands_make_of_a_fresh_one(
    engine: Engine, lines: list[str]
) -> None:
    session = carried_out(engine, lines)
    engine.forget()
    again = begin(engine)
    do(again, *session.done)
    assert plain(again.state) == plain(session.state)
    assert again.past == session.past and again.future == session.future and again.done == session.done
    assert same_run(again, session)


@WALK
@given(LINES, st.integers(1, 8))
def test_undoing_and_redoing_as_often_ends_where_it_began(
    engine: Engine, lines: list[str], count: int
) -> None:
    session = carried_out(engine, lines)
    before, run, past = session.state.inputs, session.snapshot.now, list(session.past)
    future = list(session.future)
    done = min(count, len(past))
    for _ in range(done):
        session.undo()
    assert session.state.inputs == (past[len(past) - done].before if done else before)
    for _ in range(done):
        session.redo()
    assert session.state.inputs == before
    assert session.past == past and session.future == future
    assert all(torch.equal(run.trace[at], session.snapshot.now.trace[at]) for at in run.trace.acts)


@WALK
@given(LINES)
def test_whatever_has_happened_the_state_is_whole(engine: Engine, lines: list[str]) -> None:
    session = carried_out(engine, lines)
    state, inputs = session.state, session.state.inputs
    numbers = [edit.number for edit in inputs.edits]
    assert numbers == sorted(set(numbers)) and all(number < state.next_edit for number in numbers)
    assert 0 <= state.pos <= state.end and inputs.metric.pos == state.end
    assert session.snapshot.now.trace.tokens == inputs.prompt.tokens
    assert session.snapshot.now.trace.changes == inputs.changes
    assert session.snapshot.base.trace.changes == ()
    if not inputs.changes:
        assert session.snapshot.now.value == session.snapshot.base.value
    assert len(session.history) == len(lines)
    assert hash(inputs) == hash(inputs)  # all that decides a run can be a key


def test_a_session_knows_whether_quitting_would_lose_anything(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = begin(engine)
    assert session.saved
    do(session, "n", "rank")
    assert session.saved
    do(session, "ablate L0H0")
    assert not session.saved
    do(session, "save")
    assert session.saved
    do(session, "undo")
    assert not session.saved


def test_a_token_is_meant_as_it_follows_the_prompt_and_a_note_says_so(engine: Engine) -> None:
    assert resolve_tokens(engine.tokenizer, [" Mary"], "target", "")[1] == []
    ids, notes = resolve_tokens(engine.tokenizer, ["Mary"], "target", "")
    assert engine.tokenizer.text(ids[0]) == " Mary"
    assert notes == ["'Mary' has no leading space; using ' Mary'"]


def test_the_lens_at_another_token_is_that_of_a_metric_read_there(engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate BU@END", "token @4")
    there = begin(engine)
    do(there, "ablate BU@END", "set metric logit_diff @4")
    moved, own = session.snapshot.now.asked(), there.snapshot.now.asked()
    np.testing.assert_array_equal(moved.through_lens(4), own.through_lens())
    np.testing.assert_array_equal(moved.inside(5, 4).value, own.inside(5, 4).value)
    assert abs(moved.through_lens(4)[-1] - moved.through_lens(session.state.end)[-1]) > 1e-3


def test_without_targets_the_likeliest_token_is_asked_about_against_the_runner_up(engine: Engine) -> None:
    session, notes = start(engine, "Mary and John went to the", [])
    metric, logits = session.state.inputs.metric, session.snapshot.now.logits(session.state.end)
    by_hand = torch.tensor(logits).topk(2).indices.tolist()
    assert [*metric.targets, *metric.distractors] == by_hand
    assert notes[-1].startswith("no --target: ")
    assert all(quoted(engine.tokenizer, token) in notes[-1] for token in by_hand)
    again = start(engine, "Mary and John went to the", ["Anna"])[0]
    do(again, *opening(session.state.inputs, engine.tokenizer))
    assert again.state.inputs.metric == metric
    given, notes = start(engine, "Mary and John went to the", [], [engine.tokenizer.text(by_hand[0])])
    assert (given.state.inputs.metric.targets, given.state.inputs.metric.distractors) == (
        (by_hand[1],),
        (by_hand[0],),
    )
    assert "against" not in notes[-1]
