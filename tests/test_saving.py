"""Sessions and scripts as files: what is read back is what was written, and nothing else is taken for one."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.files.output import write_whole
from tdb_tui.session import Session
from tests.sessions import ODD, begin, do, fail, load, said, write_model

BUSY = (
    "ablate L0H0 value 0.12345678901234567", "ablate M1@END scale 1e-7", "delete i1", "patch L2H1@3 from B@9", "set means positions",
    "ablate A3 mean", "disable i3", "b A2, ld > 0", "tbreak 3", "cl 1", "watch ld by 0.25", "ignore 3 2", "display ld",
    "set pos IO=Mary", "set ablation mean", "set metric logprob", "attn L2H1 --by effect", "mark L2H1@END", "n 3", "s", "n", "undo", "token @4",
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    write_model(models / "random")
    write_model(models / "odd", ODD)
    return models


@pytest.fixture(scope="module")
def engine(models: Path) -> Engine:
    return load(models / "random")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def same(a: Session, b: Session) -> None:
    """The same numbers, bit for bit, at the same place."""
    assert a.snapshot.now.value == b.snapshot.now.value
    one, other = a.snapshot.now.trace, b.snapshot.now.trace
    assert all(torch.equal(one[at], other[at]) for at in one.acts)
    assert a.state.inputs == b.state.inputs and a.state.place == b.state.place and a.state.pos == b.state.pos
    assert (a.state.stops, a.state.displays, a.state.head) == (b.state.stops, b.state.displays, b.state.head)
    assert (a.state.weighed, a.state.marks) == (b.state.weighed, b.state.marks)
    assert dict(a.state.roles) == dict(b.state.roles) and dict(a.state.settings) == dict(b.state.settings)
    counters = [(s.state.next_edit, s.state.next_stop, s.state.next_display) for s in (a, b)]
    assert counters[0] == counters[1]


def test_a_loaded_session_is_the_saved_one(engine: Engine) -> None:
    session = begin(engine)
    do(session, *BUSY, "save it.json")
    engine.forget()
    loaded = begin(engine, " Mary went", None, bos=False)
    do(loaded, "ablate L3H3", "load it.json")
    same(loaded, session)
    do(loaded, "undo")
    assert loaded.state.inputs.prompt.text == " Mary went"  # loading is one step that can be taken back


def test_a_script_of_the_session_makes_it_again(engine: Engine) -> None:
    session = begin(engine)
    do(session, *BUSY, "export it.tdb")
    engine.forget()
    again = begin(engine, " Mary went", None, bos=False)
    do(again, "target Anna", "source it.tdb")
    same(again, session)


def test_the_script_of_a_loaded_session_goes_back_to_its_first_prompt(engine: Engine) -> None:
    session = begin(engine)
    do(session, *BUSY, "save it.json")
    loaded = begin(engine)
    do(loaded, "load it.json", "delete i2", "ablate M3", "undo 2", "redo", "export more.tdb")
    again = begin(engine)
    do(again, "source more.tdb")
    same(again, loaded)


CHANGES = st.lists(
    st.sampled_from(["ablate L1H2 scale 0.3", "ablate M2@END", "patch A1 from B", "delete i1", "disable i2", "undo 2", "redo", "reset",
                     "prompt --no-bos Anna went to the store", "target Anna", "b M1, ld < 0", "c", "set pos S=1"]),
    max_size=8,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_any_session_can_be_saved_and_exported(engine: Engine, lines: list[str]) -> None:
    session = begin(engine)
    for line in lines:
        execute(session, line)
    do(session, "save it.json", "export it.tdb")
    for how in ("load it.json", "source it.tdb"):
        again = begin(engine, " John gave a drink to", None, bos=False)
        do(again, how)
        same(again, session)


def test_a_session_of_another_model_is_refused_unless_forced(models: Path, engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate L3H3", "ablate L0H1 scale 2", "b M3", "b A1", "attn L3H3", "j U", "save it.json")
    other = begin(load(models / "odd"))
    error = fail(other, "load it.json").error
    assert error is not None
    assert error.message == "session is for random, this is odd: --force keeps what still fits"
    do(other, "load it.json --force")
    assert [edit.text for edit in other.state.inputs.edits] == ["ablate L0H1@* scale 2"]
    assert [stop.line for stop in other.state.stops] == [3]
    assert other.state.place.line == 8
    do(other, "l", "w", "rank", "export it.tdb")
    again = begin(load(models / "odd"))
    do(again, "source it.tdb")
    assert again.snapshot.now.value == other.snapshot.now.value


def test_the_same_weights_elsewhere_are_the_same_model(models: Path, engine: Engine, tmp_path: Path) -> None:
    do(begin(engine), "save it.json")
    do(begin(load(write_model(tmp_path / "copy"))), "load it.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it.json isn't a tdb-tui session: it is not JSON"),
        ("{", "it.json isn't a tdb-tui session: it is not JSON"),
        ("[" * 100_000, "it.json isn't a tdb-tui session: it is not JSON"),
        ("[]", 'it.json isn\'t a tdb-tui session: missing "schema" (expected "tdb-session/1")'),
        ("{}", 'it.json isn\'t a tdb-tui session: missing "schema" (expected "tdb-session/1")'),
        ('{"schema": "tdb-session/9"}', "it.json is tdb-session/9: this version reads tdb-session/1"),
        ('{"schema": "tdb-session/1"}', "it.json is damaged: it has no model"),
    ],
)
def test_what_is_no_session_is_refused_in_a_sentence(engine: Engine, text: str, message: str) -> None:
    Path("it.json").write_text(text)
    error = fail(begin(engine), "load it.json").error
    assert error is not None and error.message == message


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


DAMAGES: tuple[Callable[[dict[Any, Any], Any], None], ...] = (
    lambda parent, key: parent.pop(key),
    *(
        lambda parent, key, new=new: parent.__setitem__(key, new)
        for new in (None, -1, 10**9, 1e400, "x", [], {}, [None], True, "\ud800", "L9H9")
    ),
)


@pytest.mark.slow
def test_a_damaged_session_is_refused_or_read_and_never_breaks(engine: Engine) -> None:
    session = begin(engine)
    do(session, *BUSY, "save it.json")
    whole = Path("it.json").read_text()
    probe = begin(engine)
    for path in paths(json.loads(whole))[1:]:
        for damage in DAMAGES:
            data = json.loads(whole)
            parent = data
            for key in path[:-1]:
                parent = parent[key]
            damage(parent, path[-1])
            Path("it.json").write_text(json.dumps(data))
            before = probe.snapshot
            done = execute(probe, "load it.json")[-1]
            if done.error is not None:
                assert probe.snapshot is before and "\n" not in done.error.message, path
                continue
            do(probe, "l", "w", "info stops", "display", "p ld", "undo")  # what was let through works
            probe = begin(engine)


def test_a_file_is_written_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("it.txt")
    write_whole(path, "old")
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("os.fsync", "pathlib.Path.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(step, broken)
            with pytest.raises(CommandError, match=r"cannot write it\.txt: no space left on device"):
                write_whole(path, "new")
        assert path.read_text() == "old"
        assert [found.name for found in Path().iterdir()] == ["it.txt"]
    with pytest.raises(CommandError, match="not valid Unicode"):
        write_whole(path, "\ud800")
    assert [found.name for found in Path().iterdir()] == ["it.txt"] and path.read_text() == "old"


def test_a_script_ends_at_its_first_failing_line_and_what_came_before_stands(engine: Engine) -> None:
    Path("outer.tdb").write_text("# a comment\n\nablate L0H0\nsource inner.tdb\nablate L0H3\n")
    Path("inner.tdb").write_text("ablate L0H1\nablate L9H9\nablate L0H2\n")
    session = begin(engine)
    error = fail(session, "source outer.tdb").error
    assert error is not None
    assert error.message == "outer.tdb:4: inner.tdb:2: no head L9H9: random has heads 0–3 in layers 0–3"
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate L0H0@* zero", "ablate L0H1@* zero"]
    assert session.done == ["ablate L0H0", "ablate L0H1"]


def test_a_script_cannot_run_itself(engine: Engine) -> None:
    Path("a.tdb").write_text("source b.tdb\n")
    Path("b.tdb").write_text("source ./a.tdb\n")
    session = begin(engine)
    error = fail(session, "source a.tdb").error
    assert error is not None and "a.tdb is running already: a script cannot run itself" in error.message
    Path("b.tdb").write_text("n\n")
    do(session, "source a.tdb", "source a.tdb")


def test_an_interrupt_ends_a_script_between_its_lines(engine: Engine) -> None:
    Path("a.tdb").write_text("n\n! session.engine.interrupt.set()\nn\nablate L0H0\n")
    session = begin(engine)
    done = execute(session, "source a.tdb")[-1]
    assert done.interrupted and done.error is not None
    assert done.error.message == "a.tdb:3: interrupted: the lines before it stand"
    assert session.state.place.line == 1


def test_quit_in_a_script_quits(engine: Engine) -> None:
    Path("a.tdb").write_text("n\nquit\nn\n")
    session = begin(engine)
    assert do(session, "source a.tdb").quits
    assert session.state.place.line == 1


def test_files_are_found_from_the_home_directory(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    do(begin(engine), "save ~/mine.json", "load ~/mine.json")
    assert (tmp_path / "mine.json").is_file()
    fail(begin(engine), "save ~nobody-of-this-name/x.json")


def test_the_report_and_the_ranking_are_exported(engine: Engine) -> None:
    session = begin(engine)
    do(session, "rank heads by direct", "export r.csv", "export r.json", "export r.txt", "export r.md")
    header, *rows = Path("r.csv").read_text().splitlines()
    effects = "act,write_norm,direct,total,measured,patched,attn,disagrees"
    assert header == f"node,kind,layer,index,pos,key,{effects},count,explanation,score"
    ranked = do(session, "rank -n 0").result
    assert len(rows) == len(ranked["rows"]) and json.loads(Path("r.json").read_text()) == ranked
    assert float(rows[0].split(",")[8]) == ranked["rows"][0]["direct"]
    assert "ranked components, by direct effect" in Path("r.txt").read_text()
    assert f"```\n{Path('r.txt').read_text()}```\n" in Path("r.md").read_text()
    assert said(do(session, "export r.tdb")) == "wrote r.tdb"


def test_the_last_sweep_is_saved_with_its_numbers(engine: Engine) -> None:
    session = begin(engine)
    do(session, "ablate L1H2", "sweep patch resid_pre", "save it.json")
    other = begin(engine)
    do(other, "load it.json")
    here, there = do(session, "sweep show").result, do(other, "sweep show").result
    assert here == there and not do(other, "sweep show").warnings
    assert other.snapshot.sweep is not None and other.snapshot.sweep.of == other.state.inputs
    do(other, "save again.json")
    saved, again = (json.loads(Path(name).read_text())["sweep"] for name in ("it.json", "again.json"))
    assert saved == again
    assert do(other, "sweep show raw").result == do(session, "sweep show raw").result


def test_a_sweep_of_an_earlier_run_is_still_one_after_loading(engine: Engine) -> None:
    session = begin(engine)
    do(session, "sweep ablate heads @END", "ablate L1H2", "save it.json")
    other = begin(engine)
    do(other, "load it.json")
    assert do(other, "sweep show").warnings == do(session, "sweep show").warnings != ()


@pytest.mark.parametrize(
    "part, value",
    [("values", [[[0.5]]]), ("axes", [{"name": "layer", "labels": ["0"]}]), ("ends", ["A"]), ("nodes", [["x"]]),
     ("seed", -1), ("baseline", ["much"]), ("normalised", "yes"), ("positions", [1])],
)  # fmt: skip
def test_a_damaged_sweep_is_refused_and_the_session_kept(engine: Engine, part: str, value: object) -> None:
    session = begin(engine)
    do(session, "sweep ablate heads @END", "save it.json")
    data = json.loads(Path("it.json").read_text())
    data["sweep"][part] = value
    Path("bad.json").write_text(json.dumps(data))
    before = session.snapshot
    assert "damaged" in str(fail(session, "load bad.json").error)
    assert session.snapshot is before
