"""`set autorun off`: edits wait for `run`, and nothing that is answered meanwhile passes for new."""

import json
from pathlib import Path

import pytest

from tdb_tui.commands import execute, registry
from tdb_tui.engine import Engine
from tdb_tui.files.output import as_json
from tdb_tui.journal.resuming import replay
from tdb_tui.journal.whole import restore, whole
from tdb_tui.journal.writing import Journal
from tdb_tui.language.registry import Stale
from tdb_tui.session import Session
from tdb_tui.settings import setting
from tdb_tui.views.look import Looker
from tdb_tui.waiting import NOTE
from tests.sessions import PROMPT, begin, do, fail, load, said, write_model
from tests.test_saving import same

EDITS = (
    "ablate L0H1", "patch L2H1@END from B", "steer N1.5@END = 2", "freeze ln", "ablate M1 scale 0.5",
    "edge ablate L0H1 -> L2H1.q", "path L1H0 -> U", "toggle i2", "move i1 down", "name i3 it", "delete i4", "undo", "redo",
)  # fmt: skip

OF_NO_RUN = [each.name for each in registry if each.stale is Stale.OF_NO_RUN]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    session = begin(engine)
    do(session, "set autorun off")
    return session


def waits(session: Session) -> bool:
    return session.snapshot.waiting is not None


def test_edits_wait_and_then_come_to_what_they_would_have_been_at_once(
    session: Session, engine: Engine
) -> None:
    before, ran = session.snapshot.now, engine.sites_run
    for line in EDITS:
        do(session, line)
        assert waits(session) and session.snapshot.value is None
        assert session.snapshot.now is before, "what is shown is the run before"
    assert engine.sites_run == ran, "nothing is run"
    reply = do(session, "run")
    assert (
        not waits(session) and reply.result["value"] == session.snapshot.value == session.snapshot.now.value
    )
    at_once = begin(engine)
    do(at_once, *EDITS, "set autorun off")
    assert session.state.inputs == at_once.state.inputs
    assert [step.before for step in session.past] == [step.before for step in at_once.past]
    same(session, at_once)


def test_an_edit_says_that_it_has_not_been_run(session: Session) -> None:
    reply = do(session, "ablate L0H1")
    assert said(reply) == "i1 ablate L0H1@* zero   not run yet: run" and reply.warnings == ()
    assert (reply.result["after"], reply.result["delta"]) == (None, None)
    assert reply.result["before"] == session.snapshot.now.value
    assert do(session, "ablate M0").result["before"] is None
    assert said(do(session, "edits")).splitlines()[-1] == "not run yet: run"
    assert [row["marginal"] for row in do(session, "edits").result["rows"]] == [None, None]
    assert said(do(session, "reset")).startswith("reset   metric "), "that is what has been run"
    assert not waits(session)


def test_every_answer_of_the_run_before_says_so(session: Session) -> None:
    do(session, "b A2", "display final", "checkpoint a", "circuit add L0H1", "ablate L0H1")
    for line in (
        "rank", "p final", "n", "c", "lens", "logits", "attn L1H2", "edits", "compare heads against base -n 3", "generate 2", "args",
        "info L0H1", "sweep ablate heads", "estimates -n 1 --steps 2", "circuit show", "diff base now", "whatis ld", "!1", "set $x = final",
        "verify -n 1", "rank by attn", "path all -> U zero", "trace L2H1@END", "where", "info model", "feeds L0H1@END",
    ):  # fmt: skip
        (done,) = execute(session, line)
        assert done.reply is not None, done.error
        if registry.find(done.name).stale is Stale.TOLD:
            continue
        assert done.reply.warnings[0] == NOTE and done.reply.result["stale"] is True, line
        assert json.loads(as_json(1, line, 0.0, done.reply, None))["result"]["stale"] is True
    assert waits(session)
    do(session, "run")
    assert "stale" not in do(session, "p final").result


def test_what_would_last_or_be_acted_on_is_refused(session: Session) -> None:
    do(session, "ablate L0H1")
    for line in (
        "assert final > -100",
        "export ranked.csv",
        "checkpoint a",
        "keep a.run",
        "rank --out r.csv",
    ):
        error = fail(session, line).error
        assert error is not None and error.code == "stale", line
        assert "edits wait to be run" in error.message and error.message.endswith(": run first")
    assert list(Path().iterdir()) == []
    do(session, "run", "assert final > -100", "export ranked.csv", "rank --out r.csv")


@pytest.mark.parametrize("name", sorted({*OF_NO_RUN} - {"quit", "tutor", "history"}))
def test_what_is_not_marked_answers_the_same_whatever_has_been_run(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = []
    for edit in ("ablate L0H1", "ablate M1 value 0.3"):
        session = begin(engine)
        do(session, "b A1", "display 1", "alias x p 1", edit)
        for example in registry.find(name).examples:
            for done in execute(session, example):
                if done.name == name:
                    answers.append((example, done.reply and done.reply.lines, str(done.error)))
    half = len(answers) // 2
    assert half and answers[:half] == answers[half:]


def test_back_at_what_has_been_run_nothing_waits(session: Session, engine: Engine) -> None:
    do(session, "ablate L0H1", "run")
    ran = engine.sites_run
    for away, back in (
        ("ablate M0", "undo"), ("toggle i1", "toggle i1"), ("delete i1", "undo"), ("reset", "undo"), ("disable i1", "enable i1"),
    ):  # fmt: skip
        do(session, away)
        assert waits(session)
        reply = do(session, back)
        assert not waits(session) and "metric" in said(reply), back
    assert engine.sites_run == ran
    do(session, "name i1 it")
    assert not waits(session), "a name changes no run"


@pytest.mark.parametrize(
    "line", ["target Anna", "set metric logprob", "prompt B Mary went", "set ln all", "set autorun on"]
)
def test_what_is_no_edit_runs_all_that_waits(session: Session, engine: Engine, line: str) -> None:
    do(session, "ablate L0H1", line)
    assert not waits(session)
    at_once = begin(engine)
    do(at_once, "ablate L0H1", line, f"set autorun {setting(session.state, 'autorun')}")
    assert session.state.inputs == at_once.state.inputs
    same(session, at_once)


def test_means_and_reference_prompts_wait_with_the_edits_that_take_from_them(
    session: Session, engine: Engine
) -> None:
    at_once = begin(engine)
    for line in ("set means positions", "ablate L0H1 mean", "ablate M0 zero", "set means none", "undo 2"):
        execute(session, line)
        execute(at_once, line)
    assert session.decided.inputs == at_once.state.inputs
    do(session, "run")
    do(at_once, "set autorun off")
    same(session, at_once)


def test_a_run_that_fails_leaves_the_edits_waiting(session: Session) -> None:
    do(session, "ablate M0", "ablate M1 value 1e38")
    error = fail(session, "run").error
    assert error is not None
    assert (
        error.message
        == "logits are not finite after ablate M1@* value 1e+38: the edits wait on, undo takes one back"
    )
    assert waits(session) and len(session.decided.inputs.edits) == 2
    do(session, "undo", "run")
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate M0@* zero"]


def test_a_session_is_saved_with_what_waits_and_loaded_run(session: Session, engine: Engine) -> None:
    do(session, "ablate L0H1", "run", "ablate M1", "save it.json", "delete i1")
    do(session, "load it.json")
    assert not waits(session) and [edit.number for edit in session.state.inputs.edits] == [1, 2]
    at_once = begin(engine)
    do(at_once, "ablate L0H1", "ablate M1", "set autorun off")
    same(session, at_once)
    assert do(session, "ablate M2").result["after"] is None, "the setting is kept"


def test_a_session_resumed_is_as_stale_as_it_was(session: Session) -> None:
    session = begin(session.engine)
    session.journal = Journal.begin(Path("journals"), {"prompt": PROMPT}, {"name": "random"})
    do(session, "set autorun off", "ablate L0H1", "run", "sweep ablate heads", "ablate M1", "n 2")
    from tdb_tui.journal.records import read_journal

    again = begin(session.engine)
    assert replay(again, read_journal(session.journal.path)) == []
    assert again.snapshot.waiting == session.snapshot.waiting is not None and whole(again) == whole(session)
    third = begin(session.engine)
    restore(third, json.loads(json.dumps(whole(session))))
    for other in (again, third):
        assert other.decided == session.decided and other.state == session.state
        same(other, session)
        do(other, "run")
        assert other.snapshot.now.value == other.snapshot.value


def test_the_title_and_the_stack_say_what_waits(session: Session) -> None:
    do(session, "ablate L0H1", "run", "ablate M1")
    look = Looker().look(session.snapshot)
    assert look.title.mark == " stale" and look.title.counts == "2 iv"
    assert (
        look.edits.rows[0].endswith("ablate L0H1@* zero")
        and look.edits.rows[1] == "i2 * ablate M1@* zero  (not run)"
    )
    assert set(look.edits_of) == {"L0H1", "M1"}, "one key takes it away again"
    do(session, "run")
    look = Looker().look(session.snapshot)
    assert not look.title.mark and "not run" not in "".join(look.edits.rows)


def test_a_script_says_what_it_answered_of_the_run_before(session: Session) -> None:
    Path("it.tdb").write_text("ablate L0H1\np final\nrun\n")
    assert f"note: {NOTE}" in do(session, "source it.tdb").lines
    do(session, "b A1 ;; commands 1: p final", "ablate M0")
    assert do(session, "c").lines.count(f"note: {NOTE}") == 1
