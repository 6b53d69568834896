"""What pdb says and does, said and done here: the real pdb is run beside the session, on the same commands."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tdb_tui.commands import execute
from tdb_tui.engine import Engine
from tdb_tui.session import Session
from tdb_tui.turns import repetition
from tests.sessions import SHAPE, begin, do, fail, load, write_model

PROGRAM = "\n".join(f"x{n} = {n}" for n in range(1, 15)) + "\n"
"Fourteen lines, as many as six layers have."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random", replace(SHAPE, n_layer=6)))


@pytest.fixture
def session(engine: Engine) -> Session:
    return begin(engine)


def pdb(tmp_path: Path, *commands: str) -> list[list[str]]:
    """What pdb answers to each command, line by line."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    typed = "\n".join([*commands, "q"]) + "\n"
    run = subprocess.run(
        [sys.executable, "-m", "pdb", str(script)], input=typed, capture_output=True, text=True, check=False
    )
    return [answer.splitlines() for answer in run.stdout.split("(Pdb) ")[1:-1]]


def here(session: Session, *lines: str) -> list[str]:
    """The first line of each answer, complaints with their stars."""
    said: list[str] = []
    for line in lines:
        done = execute(session, line)[-1]
        said.append(
            f"*** {done.error}"
            if done.error
            else done.reply.lines[0]
            if done.reply and done.reply.lines
            else ""
        )
    return said


def test_what_is_said_of_breakpoints_is_said_alike(session: Session, tmp_path: Path) -> None:
    shared = (
        "condition 1 1 == 2",
        "condition 1",
        "ignore 1 2",
        "ignore 1 1",
        "ignore 1",
        "condition 7 1 == 2",
        "ignore 7",
    )
    theirs = [answer[0] for answer in pdb(tmp_path, "b 3", *shared)[1:]]
    do(session, "b A1")
    assert here(session, *shared) == theirs


def test_frames_help_and_until_are_refused_alike(session: Session, tmp_path: Path) -> None:
    theirs = [answer[0] for answer in pdb(tmp_path, "n", "n", "d", "unt 1", "h zz")[2:]]
    do(session, "n", "n")
    assert here(session, "d", "unt 1", "h zz") == theirs
    assert here(session, "u") == ["*** Oldest frame"]


def test_a_breakpoint_set_and_taken_away(session: Session, tmp_path: Path) -> None:
    def shape(line: str) -> str:
        return re.sub(r" at .*", " at", line)

    lines = ("b 3", "disable 1", "enable 1", "cl 1")
    theirs = [shape(answer[0]) for answer in pdb(tmp_path, *lines)]
    assert [shape(line) for line in here(session, *lines)] == theirs


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (("l", "l", "l"), ("l", "l", "l")),
        (("l", "l", "l ."), ("l", "l", "l .")),
        (("n", "n", "l"), ("n", "n", "l")),
        (("l 3,5", "l"), ("l 2,4", "l")),
        (("l 4,2",), ("l 3,2",)),
        (("l 7",), ("l 6",)),
        (("ll",), ("ll",)),
    ],
)
def test_the_lines_listed_are_those_that_pdb_lists(
    session: Session, tmp_path: Path, theirs: tuple[str, ...], ours: tuple[str, ...]
) -> None:
    """Its lines are numbered from 1, ours from 0."""
    for answer, line in zip(pdb(tmp_path, *theirs), ours, strict=True):
        rows = do(session, line).lines
        if line.startswith("l"):
            assert _numbers(rows, r"[>\s]*(\d+)") == [number - 1 for number in _numbers(answer, r" *(\d+)")]


def _numbers(rows: Sequence[str], pattern: str) -> list[int]:
    return [int(found[1]) for row in rows if (found := re.match(pattern, row))]


def test_an_alias_is_listed_and_filled_alike(session: Session, tmp_path: Path) -> None:
    theirs = pdb(tmp_path, "alias pp2 p %1 + %2", "alias pp2", "pp2 1 2", "unalias pp2", "alias")
    assert here(session, "alias pp2 p %1 + %2", "alias pp2")[1] == theirs[1][0] == "pp2 = p %1 + %2"
    assert here(session, "pp2 1 2") == theirs[2] == ["3"]
    assert here(session, "unalias pp2", "alias")[1] == "No aliases" and theirs[4] == []


def test_two_commands_on_a_line_and_an_empty_line(session: Session, tmp_path: Path) -> None:
    theirs = pdb(tmp_path, "p 1 ;; p 2", "n", "", "")
    assert theirs[0] == ["1", "2"]
    done = execute(session, "p 1 ;; p 2")
    assert [each.reply.lines[0] for each in done if each.reply] == ["1", "2"]
    (last,) = execute(session, "n")
    again = repetition(last, "n")
    assert again == "n"
    do(session, again, again)
    stands = [answer[0] for answer in theirs if answer and answer[0].startswith("> ")]
    assert session.state.place.line == 3 == int(re.findall(r"\((\d+)\)", stands[-1])[0]) - 1


def test_commands_of_a_stop_are_silent_and_end_where_they_move_on(session: Session, tmp_path: Path) -> None:
    theirs = pdb(tmp_path, "b 3", "b 5", "commands 1\nsilent\np 40 + 2\nc\nend", "c")
    assert any("42" in line for line in theirs[-1])
    do(session, "b 3", "b 5", "commands 1: silent ;; p 40 + 2 ;; c")
    answer = do(session, "c").lines
    assert answer[0] == "42" and "Breakpoint 2 at" in answer[1]
    assert session.state.place.line == 5


def test_a_temporary_breakpoint_holds_once(session: Session, tmp_path: Path) -> None:
    theirs = pdb(tmp_path, "tbreak 3", "c", "b")
    assert theirs[2] == []
    do(session, "tbreak 3", "c")
    assert here(session, "b") == ["No stops"]


def test_what_pdb_has_no_word_for_is_no_python_either(session: Session) -> None:
    error = fail(session, "bl").error
    assert error is not None and error.code == "unknown-command"
