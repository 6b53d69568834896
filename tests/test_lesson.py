"""The lesson: it plays itself through, waits for its reader, takes any command that does the same, and can be left."""

import sys
from pathlib import Path

import pytest

from tdb_tui import cli, lesson
from tdb_tui.batch import play_lesson
from tdb_tui.commands import Done, execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tests.sessions import begin, do, fail, load, said, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine, prompt_b=None)


def step(session: Session) -> int:
    assert session.state.lesson is not None
    return session.state.lesson.step + 1


def last(session: Session, line: str) -> Done:
    (*_, done) = execute(session, line)
    assert done.ok, done.error
    return done


def test_it_plays_itself_through_on_the_bundled_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--tutor", "--batch"])
    assert cli.main() == 0
    out = capsys.readouterr().out
    headings = [line for line in out.splitlines() if line.startswith("── lesson")]
    assert len(headings) == len(lesson.STEPS) + 1 and headings[-1] == "── lesson · the end "
    assert "L5H0@END reads  Mary" in out, "the name mover of the model card"


def test_it_plays_on_any_model_and_prompt(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    for session in (begin(engine, prompt_b=None), begin(engine, " Anna went to the store then")):
        assert play_lesson(session) == 0, capsys.readouterr()


def test_it_waits_for_what_it_asks_and_takes_whatever_does_it(session: Session) -> None:
    page = do(session, "tutor").lines
    assert page[0] == f"── lesson 1/{len(lesson.STEPS)} · the question " and page[2].startswith("Try: args")
    assert last(session, "rank heads").lesson == ()
    assert step(session) == 1
    assert last(session, "a").lesson[0].startswith("── lesson 2/")
    assert last(session, "lens @END").lesson[0].startswith("── lesson 3/")
    assert last(session, "j A2").lesson[0].startswith("── lesson 4/"), (
        "not the words count but where it leads"
    )
    assert last(session, "alias go c").lesson == ()
    assert last(session, "go").lesson[0].startswith("── lesson 5/")


def test_its_head_is_the_one_with_the_largest_direct_effect(session: Session) -> None:
    do(session, "tutor", "tutor 6")
    first = do(session, "rank heads by direct +").result["rows"][0]["node"]
    assert session.state.lesson is not None and first.startswith(f"{session.state.lesson.head}@")
    assert f"Try: attn {session.state.lesson.head}" in said(do(session, "tutor"))


def test_it_can_be_left_and_taken_up_again(session: Session, tmp_path: Path, engine: Engine) -> None:
    do(session, "tutor", "a", "tutor stop")
    assert last(session, "logits").lesson == () and step(session) == 2
    assert do(session, "tutor").lines[0].startswith("── lesson 2/")
    do(session, f"save {tmp_path / 's.json'}")
    other = begin(engine)
    do(other, f"load {tmp_path / 's.json'}")
    assert step(other) == 2
    assert do(session, "tutor restart").lines[0].startswith("── lesson 1/")


def test_pages_turn_and_hints_help(session: Session) -> None:
    assert do(session, "tutor skip").lines[0].startswith("── lesson 2/")
    assert do(session, "tutor back").lines[0].startswith("── lesson 1/")
    assert do(session, "tutor back").lines[0].startswith("── lesson 1/")
    assert "args" in said(do(session, "tutor hint"))
    do(session, f"tutor {len(lesson.STEPS)}", "tutor skip")
    assert do(session, "tutor skip").lines == ("── lesson · the end ", lesson.END)
    for line in ("tutor zz", "tutor 99", "tutor 0"):
        fail(session, line)


def test_a_failed_command_leads_nowhere(session: Session) -> None:
    do(session, "tutor 10")
    (done,) = execute(session, "ablate L9H9")
    assert not done.ok and done.lesson == () and step(session) == 10
