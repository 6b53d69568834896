"""`assert`, and the commands of stops."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tdb_tui.commands import execute
from tdb_tui.commands.asserting import split_message
from tdb_tui.engine import Engine
from tdb_tui.errors import CommandError
from tdb_tui.files.sourcing import ScriptLine, blocks
from tdb_tui.session import Session
from tests.sessions import PROMPT, begin, do, fail, load, said, write_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return load(model)


@pytest.fixture
def session(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return begin(engine)


@pytest.mark.parametrize(
    "line",
    [
        "assert 1 == 1",
        "assert final == base(final)",
        "assert rank('Mary') >= 1, 'never'",
        "assert min(1, 2) == 1, commas in arguments end nothing",
        "assert attn(END, START, L1H2) <= 1 and not kind == 'mlp'",
    ],
)
def test_what_is_true_is_passed_over_in_silence(session: Session, line: str) -> None:
    assert do(session, line).lines == ()
    assert session.done == [line]  # it belongs to the script


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("assert 1 > 2", "assertion failed: 1 > 2"),
        ("assert line > 2", "assertion failed: line > 2 (line = 0)"),
        ("assert line > 2, too early", "assertion failed: too early (line > 2; line = 0)"),
        ("assert line > 2, 'a, b'", "assertion failed: a, b (line > 2; line = 0)"),
        ("assert kind == 'mlp'", "assertion failed: kind == 'mlp' (kind = 'embed')"),
        (
            "assert not (line < 1 or pos > line)",
            "assertion failed: not (line < 1 or pos > line) (line = 0, pos = 13)",
        ),
        ("assert 1 < line + 1 < 3", "assertion failed: 1 < line + 1 < 3 (line + 1 = +1)"),
    ],
)
def test_what_is_false_says_what_it_found(session: Session, line: str, message: str) -> None:
    before = session.snapshot
    error = fail(session, line).error
    assert error is not None and (error.message, error.code, error.exit_code) == (message, "assertion", 5)
    assert session.snapshot is before and session.done == []


def test_a_number_is_shown_with_its_sign(session: Session) -> None:
    do(session, "c")
    error = fail(session, "assert ld > 1000").error
    assert error is not None
    assert error.message == f"assertion failed: ld > 1000 (ld = {session.snapshot.now.value:+.4g})"


@pytest.mark.parametrize("line", ["assert ld", "assert 'Mary'", "assert foo > 1", "assert ld >", "assert"])
def test_what_is_no_question_is_no_failed_assertion(session: Session, line: str) -> None:
    error = fail(session, line).error
    assert error is not None and error.exit_code == 1


def test_a_message_follows_the_first_comma_outside_brackets_and_quotes() -> None:
    assert split_message("attn(q, k) > 1, m, n") == ("attn(q, k) > 1", "m, n")
    assert split_message("p('a, b') > 1") == ("p('a, b') > 1", "")
    assert split_message("norm(L1H{0,1}) > 1, 'x'") == ("norm(L1H{0,1}) > 1", "x")


def batch(model: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tdb_tui", PROMPT, "--target", "Mary", "--distractor", "John"]
    return subprocess.run(
        [*command, "--model", str(model), "--batch", *args], cwd=ROOT, capture_output=True, text=True
    )


def test_a_failed_assertion_ends_a_batch_with_5_wherever_it_stands(model: Path, tmp_path: Path) -> None:
    script = tmp_path / "it.tdb"
    script.write_text("b A1\ncommands 1\nassert line == 3\nassert line == 4, moved\nend\nc\np line\n")
    done = batch(model, "-x", str(script))
    assert done.returncode == 5 and "(tdb) p line" not in done.stdout
    assert (
        done.stderr.splitlines()[-1] == f"{script}:6: *** b1: assertion failed: moved (line == 4; line = 3)"
    )


def test_the_commands_of_a_stop_are_carried_out_when_it_stops_the_pass(session: Session) -> None:
    do(session, "b A1", "commands 1: p line ;; ablate L0H1", "watch ld by 0.0001", "commands w2: p kind")
    reply = do(session, "unt M1")
    assert session.state.place.line == 1  # the watch
    assert reply.lines[-1] == "'attn'" and reply.result["stopped_by"] == "w2"
    do(session, "cl 2")
    reply = do(session, "c")
    assert reply.result["stopped_by"] == "b1" and reply.result["line"] == "A1"
    assert [each["cmd"] for each in reply.result["commands"]] == ["p line", "ablate L0H1"]
    assert reply.result["commands"][0] == {"stop": "b1", "cmd": "p line", "result": {"value": 3}}
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate L0H1@* zero"]
    assert "Breakpoint 1 at A1" in said(reply)


def test_all_stops_at_one_line_do_what_they_are_told(session: Session) -> None:
    do(session, "b A1", "b any, line == 3", "commands 1: p 1", "commands 2: p 2")
    assert do(session, "c").lines[-2:] == ("1", "2")


def test_silent_says_nothing_of_the_stop(session: Session) -> None:
    do(session, "b A1", "commands 1: silent ;; p line")
    assert do(session, "c").lines == ("3",)
    do(session, "j 0", "commands 1: silent")
    assert do(session, "c").lines == ()
    do(session, "j 0", "b any, line == 3")  # another stop that is not silent
    assert "Breakpoint 1 at A1" in said(do(session, "c"))


def test_a_command_that_moves_on_ends_the_list_and_its_own_stops_hold(session: Session) -> None:
    do(session, "b A1", "b A2", "commands 1: silent ;; c", "commands 2: p line")
    reply = do(session, "c")
    assert reply.lines[-1] == "5" and reply.result["stopped_by"] == "b2"
    assert (reply.result["line"], reply.result["number"]) == ("A2", 5)
    for line in ("commands 1: c ;; p ld", "commands 1: n 2 ;; n", "commands 1: p ld ;; end ;; p ld"):
        error = fail(session, line).error
        assert error is not None and "is never carried out" in error.message


def test_a_reverse_movement_holds_at_stops_too(session: Session) -> None:
    do(session, "b A1", "commands 1: p line", "c", "c")
    assert do(session, "rc").lines[-1] == "3"


def test_lists_that_lead_to_each_other_come_to_an_end(session: Session) -> None:
    do(session, "b A1", "b A2", "commands 1: c", "commands 2: rc")
    error = fail(session, "c").error
    assert error is not None and error.code == "endless" and session.depth == 0
    do(session, "commands 2:", "j 0", "c")
    assert session.state.place.line == 5


def test_a_failing_command_of_a_stop_leaves_the_pass_where_it_stopped(session: Session) -> None:
    do(session, "b A1", "commands 1: ablate M0 ;; p L1H1@Mary<to ;; ablate M1")
    error = fail(session, "c").error
    assert error is not None
    assert error.message.startswith("b1: ") and "' to' is at" in error.message
    assert session.state.place.line == 3
    assert [edit.text for edit in session.state.inputs.edits] == ["ablate M0@* zero"]
    assert session.done[-1] == "c"


def test_a_script_of_the_session_brings_the_commands_and_does_not_do_them_twice(
    session: Session, engine: Engine
) -> None:
    do(
        session,
        "b A1",
        "commands 1: silent ;; ablate L0H1 ;; ! x = 1 ;; 2",
        "commands 1: silent ;; ablate L0H1",
    )
    do(
        session,
        "watch ld",
        "tbreak A2",
        "commands 3: p 1 ;; ! y = 2",
        "c",
        "c",
        "export it.tdb",
        "save it.json",
    )
    for how in ("source it.tdb", "load it.json"):
        again = begin(engine)
        do(again, how)
        assert again.state.stops == session.state.stops
        assert again.state.inputs == session.state.inputs and again.state.place == session.state.place


def test_a_block_of_a_script_is_one_command(session: Session) -> None:
    given = ["b A1", "commands 1", "silent", "! z = 1", "p line", "end", "c"]
    lines = [line.text for line in blocks(ScriptLine(text, "") for text in given)]
    assert lines == ["b A1", "commands 1:\nsilent\n! z = 1\np line", "c"]
    Path("it.tdb").write_text("\n".join(given) + "\n")
    do(session, "source it.tdb")
    assert session.state.stops[0].commands == ("silent", "! z = 1", "p line")
    assert session.python_names["z"] == 1
    with pytest.raises(CommandError, match=r"a:1: commands 1 has no end: write end below its last command"):
        list(blocks([ScriptLine("commands 1", "a:1"), ScriptLine("p ld", "a:2")]))


def test_commands_are_listed_replaced_and_taken_away(session: Session) -> None:
    assert do(session, "commands").lines == ("No stop has commands",)
    do(session, "b A1", "commands b1: p ld ;; c", "b A2")
    assert do(session, "commands").result == {"commands": {"b1": "p ld ;; c"}}
    assert "p ld ;; c" in said(do(session, "b")) and "p ld ;; c" in said(do(session, "info stops"))
    do(session, "commands 1: p line")
    assert session.state.stops[0].commands == ("p line",)
    assert do(session, "commands 1:").lines == ("No commands for breakpoint 1",)
    assert session.state.stops[0].commands == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("commands 9: p ld", "Breakpoint number 9 out of range"),
        ("commands x", "which stop's commands: commands 1: p ld ;; c"),
        ("commands 1", "which commands: commands 1: p ld ;; c (in a script also one a line, and then end)"),
        ("commands 1: foo", "unknown command 'foo' (! runs Python, h lists commands)"),
        ("commands 1: p ld ;; silent", "silent comes first: commands 1: silent ;; p ld"),
        ("commands 1: commands 1: p ld", "a stop's commands cannot give commands to stops"),
        ('commands 1: p "ld', 'unclosed quote: "ld needs a " at its end'),
    ],
)
def test_what_a_stop_cannot_do_is_refused_when_it_is_said(session: Session, line: str, message: str) -> None:
    do(session, "b A1", "commands 1: p 1")
    before = session.state
    error = fail(session, line).error
    assert error is not None and error.message == message
    assert session.state == before


def test_what_quits_quits(session: Session) -> None:
    do(session, "b A1", "commands 1: p ld ;; q")
    assert do(session, "c").quits


def test_saved_commands_are_checked(session: Session) -> None:
    do(session, "b A1", "commands 1: p ld", "save it.json")
    data = json.loads(Path("it.json").read_text())
    for damage in ("p ld", ["foo"], [3], {"p": 1}, ["c", "n"]):
        data["stops"][0]["commands"] = damage
        Path("it.json").write_text(json.dumps(data))
        before = session.snapshot
        assert execute(session, "load it.json")[-1].error is not None and session.snapshot is before
