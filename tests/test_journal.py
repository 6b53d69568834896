"""What was done is written down at once, and a session that goes on from it is the same, bit for bit."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.journal.finding import MOST, find_journal, in_use, newest_first
from tdb_tui.journal.records import MOST_TRIES, SLOW_MS, Kept, read_journal
from tdb_tui.journal.resuming import answers, replay
from tdb_tui.journal.whole import restore, whole
from tdb_tui.journal.writing import Journal
from tdb_tui.session import Session
from tests.sessions import PROMPT, begin, do, load, said, write_model
from tests.test_saving import BUSY, same


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def journaled(engine: Engine, **options: Any) -> Session:
    session = begin(engine, **options)
    session.journal = Journal.begin(Path("journals"), {"prompt": PROMPT}, {"name": "random"})
    return session


def written(session: Session) -> Kept:
    """What stands in the file, without the session being told that it ends."""
    assert session.journal is not None
    return read_journal(session.journal.path)


def resumed(session: Session) -> Session:
    """Another session, gone on from what the journal of this one says."""
    again = begin(session.engine)
    assert replay(again, written(session)) == []
    return again


def whole_of(session: Session) -> dict[str, Any]:
    """Everything that can be compared: what the state holds, undoing, the script, the history."""
    names = {name: repr(value) for name, value in session.python_names.items()}
    return {**whole(session), "history": list(session.history), "names": names.keys()}


def identical(again: Session, session: Session) -> None:
    assert whole_of(again) == whole_of(session)
    assert again.state == session.state
    same(again, session)


def test_a_session_goes_on_as_the_same_one(engine: Engine) -> None:
    session = journaled(engine)
    do(
        session,
        *BUSY,
        "rank heads by direct @END -n 3",
        "rank heads per layer where abs(direct) > 0.001",
        "trace L3H0@END",
    )
    for line in (
        "zzz",
        "attn L9H9",
        "n 2 ;; zzz",
        "! x = 3",
        "undo 2",
        "checkpoint a ;; ablate L1H1 ;; restore a",
    ):
        execute(session, line)
    identical(resumed(session), session)
    do(session, "redo" if session.future else "undo")
    identical(resumed(session), session)


def test_every_line_stands_in_the_file_before_it_is_answered(engine: Engine) -> None:
    session = journaled(engine)
    path = written(session).path
    do(session, f"! import pathlib; seen = pathlib.Path({str(path.resolve())!r}).read_text()")
    last = json.loads(str(session.python_names["seen"]).splitlines()[-1])
    assert last["begin"].startswith("! import pathlib")
    assert written(session).unfinished is None
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_answered_can_be_shown_again(engine: Engine) -> None:
    session = journaled(engine)
    reply = do(session, "logits")
    execute(session, "n ;; zzz")
    shown = answers(written(session))
    assert [line for line, _ in shown] == ["logits", "n ;; zzz"]
    assert shown[0][1][0].reply is not None and said(shown[0][1][0].reply) == said(reply)
    assert [str(done.error or "")[:15] for done in shown[1][1]] == ["", "unknown command"]


@pytest.mark.parametrize("torn", [1, 7, 40, 200])
def test_a_line_torn_off_is_passed_over_and_the_command_before_it_stands(engine: Engine, torn: int) -> None:
    session = journaled(engine)
    do(session, "ablate L0H0", "n")
    before = whole_of(session)
    do(session, "ablate L1H1")
    path = written(session).path
    session.journal.close()  # pyright: ignore[reportOptionalMemberAccess]
    os.truncate(path, path.stat().st_size - torn)
    kept = read_journal(path)
    assert kept.pending == "ablate L1H1"
    again = begin(engine)
    assert replay(again, kept) == []
    assert whole_of(again) == before
    again.journal = Journal.go_on(kept)
    do(again, kept.pending or "", "n")
    assert [each.line for each in read_journal(path).lines] == ["ablate L0H0", "n", "ablate L1H1", "n"]


def test_blocks_that_never_reached_the_disk_are_passed_over(engine: Engine) -> None:
    session = journaled(engine)
    do(session, "n")
    path = written(session).path
    with path.open("ab") as file:
        file.write(b"\0" * 512 + b"\n" + b'{"something": "new"}\n[1]\n')
    assert [each.line for each in read_journal(path).lines] == ["n"]


def test_a_line_that_ends_the_program_twice_is_not_begun_a_third_time(engine: Engine) -> None:
    session = journaled(engine)
    do(session, "n")
    kept = written(session)
    session.journal.close()  # pyright: ignore[reportOptionalMemberAccess]
    found = kept
    for tries in range(1, MOST_TRIES + 1):
        with kept.path.open("ab") as file:
            file.write(b'{"begin": "sweep patch heads"}\n{"resumed": "0.1.0"}\n')
        found = read_journal(kept.path)
        assert found.unfinished == "sweep patch heads" and found.tries == tries
    assert found.pending is None


def test_a_sweep_that_a_killed_program_was_at_keeps_its_cells(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is cut after the first of its records of cells, as a killed program leaves it."""
    monkeypatch.setattr("tdb_tui.commands.sweeping.STREAM_SECONDS", 0.0)
    session, line = journaled(engine), "sweep ablate heads"
    do(session, "ablate L0H1 scale 0.5")
    engine.forget()
    began = engine.sites_run
    whole_sweep = do(session, line).result
    cost = engine.sites_run - began
    path = written(session).path
    records = path.read_bytes().splitlines(keepends=True)
    first = next(at for at, record in enumerate(records) if record.startswith(b'{"cells"'))
    path.write_bytes(b"".join(records[: first + 3]))
    kept = read_journal(path)
    (cells,) = kept.cells.values()
    assert kept.pending == line and 0 < len(cells) < 16
    engine.forget()
    again = begin(engine)
    assert replay(again, kept) == []
    began = engine.sites_run
    found = do(again, line).result
    # other cells share a batch, and so the order of sums
    assert np.array(found["values"]) == pytest.approx(np.array(whole_sweep["values"]), rel=1e-5)
    at = {divmod(at, 4): value for at, value in cells.items()}
    assert all(found["values"][row][column] == value for (row, column), value in at.items())
    assert engine.sites_run - began < cost

    engine.forget()
    path.write_bytes(b"".join(records))
    again = begin(engine)
    began = engine.sites_run
    assert replay(again, read_journal(path)) == []
    assert again.sweep is not None and session.sweep is not None
    assert (again.sweep.values == session.sweep.values).all()
    assert engine.sites_run - began < cost, "a finished one is not measured again"


def test_cells_of_another_question_are_not_taken(engine: Engine) -> None:
    session = journaled(engine)
    do(session, "sweep ablate heads")
    do(
        session,
        "ablate M1",
        "sweep ablate heads",
        "target Anna",
        "sweep ablate heads",
        "sweep ablate heads @END",
    )
    assert len(written(session).cells) == 4
    engine.forget()
    again = resumed(session)
    assert again.sweep is not None and session.sweep is not None
    assert (again.sweep.values == session.sweep.values).all()


def test_files_are_not_written_again_and_those_that_were_read_are_not_needed(engine: Engine) -> None:
    session = journaled(engine)
    Path("script.tdb").write_text("ablate L0H1\nn 2\n")
    do(
        session,
        "ablate L0H0",
        "save it.json",
        "ablate L1H1 ;; undo",
        "load it.json",
        "source script.tdb",
        "undo",
    )
    execute(session, "export report.txt")
    do(session, "rank heads --out ranked.csv")
    for name in ("it.json", "script.tdb", "report.txt", "ranked.csv"):
        Path(name).write_text("something else")
    identical(resumed(session), session)
    assert all(Path(name).read_text() == "something else" for name in ("it.json", "report.txt", "ranked.csv"))


def test_what_an_interrupted_script_had_done_stands(engine: Engine) -> None:
    session = journaled(engine)
    Path("a.tdb").write_text("ablate L0H1\nn\n! session.engine.interrupt.set()\nablate L2H2\n")
    assert execute(session, "source a.tdb")[-1].interrupted
    identical(resumed(session), session)
    assert len(session.state.inputs.edits) == 1


def test_what_was_slow_and_changed_nothing_is_not_done_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = journaled(engine)
    do(session, "n", "rank heads by measured")
    text = written(session).path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines[-1]["end"]["said"][0]["ms"] = SLOW_MS + 1
    lines[-1]["end"]["changed"] = []
    written(session).path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran: list[str] = []
    monkeypatch.setattr("tdb_tui.journal.resuming.execute", lambda session, line: ran.append(line))
    again = begin(engine)
    replay(again, written(session))
    assert ran == ["n"] and again.history == ["rank heads by measured"]


def test_only_the_last_sweep_is_run_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = journaled(engine)
    do(session, "sweep patch resid_pre", "n", "sweep ablate heads", "token @2")
    ran: list[str] = []

    def noting(session: Session, line: str) -> object:
        ran.append(line)
        return execute(session, line)

    monkeypatch.setattr("tdb_tui.journal.resuming.execute", noting)
    again = resumed(session)
    assert ran == ["n", "sweep ablate heads", "token @2"]
    assert again.sweep is not None and session.sweep is not None and again.sweep.words == session.sweep.words


def test_another_number_than_then_is_told(engine: Engine) -> None:
    session = journaled(engine)
    do(session, "ablate L0H0", "n")
    path = written(session).path
    path.write_text(path.read_text().replace(f'"value":{session.snapshot.now.value}', '"value":99.5'))
    (told,) = replay(begin(engine), read_journal(path))
    assert told.startswith("after 'ablate L0H0' the metric is ") and told.endswith("it was +99.5")


def test_the_last_session_is_found_or_the_one_named_or_the_one_of_a_prompt(tmp_path: Path) -> None:
    folder = tmp_path / "journals"
    names: list[str] = []
    for at, prompt in enumerate((" one", " two", " one")):
        journal = Journal.begin(folder, {"prompt": prompt}, {})
        journal.close()
        path = journal.path.rename(folder / f"2026112{at}-101112-7.jsonl")
        os.utime(path, (at, at))
        names.append(path.stem)
    assert find_journal(folder, None).name == names[2]
    assert find_journal(folder, "20261121").name == names[1]
    assert find_journal(folder, " one").name == names[2]
    assert find_journal(folder, str(folder / f"{names[0]}.jsonl")).name == names[0]
    with pytest.raises(CommandError, match="no session 'nope' to resume: 20261122-101112-7 \\( one\\)"):
        find_journal(folder, "nope")
    with pytest.raises(CommandError, match="none is kept in"):
        find_journal(tmp_path / "nowhere", None)


def test_a_session_that_runs_is_not_gone_on_with_and_not_removed(tmp_path: Path) -> None:
    running = Journal.begin(tmp_path, {"prompt": " one"}, {})
    path = running.path.rename(tmp_path / "running.jsonl")
    assert in_use(path)
    with pytest.raises(CommandError, match="still running"):
        find_journal(tmp_path, None)
    for at in range(MOST + 3):
        (tmp_path / f"old{at}.jsonl").write_text('{"schema": "tdb-journal/1", "options": {}}\n')
        os.utime(tmp_path / f"old{at}.jsonl", (1000 + at, 1000 + at))
    os.utime(path, (1, 1))
    Journal.begin(tmp_path, {"prompt": " two"}, {}).close()
    assert (
        len(newest_first(tmp_path)) == MOST + 1 and path.exists() and not (tmp_path / "old0.jsonl").exists()
    )
    running.close()
    assert not in_use(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "isn't a tdb-tui journal"),
        ("{}\n", "isn't a tdb-tui journal"),
        (
            '{"schema": "tdb-journal/9", "options": {}}\n',
            "is tdb-journal/9: this version reads tdb-journal/1",
        ),
        ('{"schema": "tdb-journal/1", "options": {}}\n{"begin": "n"}\n{"end": {}}\n', "is damaged"),
    ],
)
def test_what_is_no_journal_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "it.jsonl").write_text(text)
    with pytest.raises(CommandError, match=message):
        read_journal(tmp_path / "it.jsonl")


def test_a_disk_that_is_full_is_told_once_and_stops_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = journaled(engine)
    do(session, "n")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tdb_tui.journal.writing.os.write", full)
        warned = do(session, "n").warnings
    assert warned == ("the journal ends here, so --resume comes back to this: no space left on device",)
    assert do(session, "n").warnings == ()
    assert [each.line for each in written(session).lines] == ["n"]


def test_everything_a_session_holds_comes_back(engine: Engine) -> None:
    session = begin(engine)
    do(
        session,
        *BUSY,
        "circuit new it",
        "circuit add L0H0@END M1@END",
        "checkpoint a",
        "undo 3",
    )
    again = begin(engine, " Mary went", None)
    restore(again, json.loads(json.dumps(whole(session))))
    assert whole(again) == whole(session) and again.state == session.state
    for each in (again, session):
        do(each, "redo")
    same(again, session)
