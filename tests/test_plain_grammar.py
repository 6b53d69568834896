"""The grammar in the plain prompt: what an empty line does, where a mistake is marked, what is asked before a yes."""

import io

import pytest

from tdb_tui.engine import Engine
from tdb_tui.plain import Plain
from tests.sessions import begin, load, write_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(write_model(tmp_path_factory.mktemp("models") / "random"))


def told(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *typed: str,
    code: int = 0,
) -> list[str]:
    """What is printed, prompts and echoes with it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed) + "\n"))
    assert Plain(begin(engine), at_terminal=False).run(()) == code
    return capsys.readouterr().out.splitlines()


def test_an_empty_line_repeats_goes_on_or_says_that_there_is_nothing(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = told(engine, capsys, monkeypatch, "n", "", "ablate M0", "", "rank heads -n 2", "")
    assert [line for line in said if line.startswith("> ")] == ["> A0 attn @END", "> M0 mlp @END"]
    assert "*** nothing to repeat after 'ablate'" in said
    assert [line.split()[0] for line in said if line.strip()[:1] in "1234" and "L" in line] == [
        "1",
        "2",
        "3",
        "4",
    ]


def test_a_mistake_is_marked_below_the_line(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = told(engine, capsys, monkeypatch, "b A1 ;; b Q9")
    at = said.index("(tdb) b A1 ;; b Q9")
    marks = [line for line in said[at:] if line.strip() == "^"]
    assert [line.index("^") for line in marks] == [said[at].index("Q9")]


def test_the_lesson_is_read_there_too_and_leaving_has_a_code(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = told(engine, capsys, monkeypatch, "tutor", "a", "q 3", "n", code=3)
    assert any(line.startswith("── lesson 2/") for line in said)
    assert not any(line.startswith("E  ") for line in said), "nothing comes after q"


def test_python_is_for_a_person_and_so_is_a_question(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = told(engine, capsys, monkeypatch, "py", "b A1", "b A2", "cl", "b")
    assert any(line.startswith("*** py asks a person") for line in said)
    assert sum(line.startswith(("b1 ", "b2 ")) for line in said) == 2, "they are still there"
