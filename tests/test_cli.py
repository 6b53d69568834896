"""The program as a script sees it: standard output, standard error, exit codes, and nothing else on either."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tdb_tui import cli
from tdb_tui.programs import debug
from tests.sessions import PROMPT, PROMPT_B, write_model

ROOT = Path(__file__).resolve().parents[1]
ASK = (PROMPT, "--target", "Mary", "--distractor", "John")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Program:
    """The program's entry point, called in this process: as good as a new one and a second faster."""

    def __init__(
        self, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.model, self.capsys, self.monkeypatch = model, capsys, monkeypatch

    def __call__(self, *arguments: str, code: int = 0, ask: tuple[str, ...] = ASK) -> tuple[str, str]:
        """Standard output and standard error."""
        argv = ["tdb-tui", *ask, "--model", str(self.model), *arguments]
        self.monkeypatch.setattr(sys, "argv", argv)
        assert cli.main() == code, self.capsys.readouterr()
        out, err = self.capsys.readouterr()
        return out, err

    def json(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        out, _ = self("--batch", "--json", *arguments, code=code)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def program(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(model, capsys, monkeypatch)


def in_a_process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    given = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
    return subprocess.run(
        [sys.executable, "-m", "tdb_tui", *arguments],
        env=environment,
        capture_output=True,
        check=False,
        **given,
        **options,
    )


def test_json_is_one_object_a_command_and_nothing_else(model: Path) -> None:
    run = in_a_process(*ASK, "--model", str(model), "--batch", "--json", "-e", "args ;; n", "-e", "lens")
    assert run.returncode == 0
    entries = [json.loads(line) for line in run.stdout.decode("ascii").splitlines()]
    assert [(entry["n"], entry["cmd"], entry["ok"]) for entry in entries] == [
        (1, "args", True),
        (2, "n", True),
        (3, "lens", True),
    ]
    assert run.stderr.decode().splitlines()[0] == f"note: model random: from {model}"


def test_commands_and_files_run_in_the_order_given(program: Program) -> None:
    Path("a.tdb").write_text("# two\nn\n\nn\n")
    entries = program.json("-e", "s", "-x", "a.tdb", "-e", "w", "--file=a.tdb", "--execute", "s")
    assert [entry["cmd"] for entry in entries] == ["s", "n", "n", "w", "n", "n", "s"]


def test_values_that_look_like_options_are_values(program: Program) -> None:
    out, _ = program("--batch", "--prompt-b", "-e w", "-e", "info prompt")
    assert out.splitlines()[2].split(maxsplit=1) == ["B", "-e w"]


def test_standard_input_is_a_script_too(model: Path) -> None:
    run = in_a_process(*ASK, "--model", str(model), "--batch", "-x", "-", input=b"n\nb Q9\nn\n")
    assert run.returncode == 1
    assert run.stdout.decode().startswith("(tdb) n\nE  ")
    assert run.stderr.decode().splitlines()[-1].startswith("-:2: *** 'Q9' isn't a node: ")


def test_a_script_ends_at_its_first_failing_line_which_is_named(program: Program) -> None:
    Path("ioi.tdb").write_text("n\n# no such head\nattn L9H14\nn\n")
    out, err = program("--batch", "-x", "ioi.tdb", code=1)
    assert out.count("(tdb)") == 1
    assert err.splitlines()[-1] == "ioi.tdb:3: *** no head L9H14: random has heads 0–3 in layers 0–3"
    entries = program.json("-x", "ioi.tdb", code=1)
    assert [entry["ok"] for entry in entries] == [True, False]
    assert entries[1]["error"] == {
        "code": "bad-node", "message": "no head L9H14: random has heads 0–3 in layers 0–3", "hint": "", "col": 5,
    }  # fmt: skip
    assert "result" not in entries[1] and "error" not in entries[0]


def test_a_script_can_leave_with_a_code_and_save_first(program: Program) -> None:
    program("--batch", "-e", "ablate M0", "-e", "q 7 --save s.json", "-e", "n", code=7)
    assert Path("s.json").exists()
    _, err = program("--batch", "-e", "q 256", code=1)
    assert "256 is no exit code: 0 to 255" in err
    assert err.splitlines()[-3:-1] == ["    q 256", "      ^"], "the word is marked"


def test_keep_going_goes_on_and_still_fails(program: Program) -> None:
    entries = program.json(
        "--keep-going", "-e", "zzz", "-e", "n", "-e", "ablate M0 value 1e38", "-e", "n", code=1
    )
    assert [entry["ok"] for entry in entries] == [False, True, False, True]
    assert [entry["n"] for entry in entries] == [1, 2, 3, 4]


def test_quitting_ends_a_script_well(program: Program) -> None:
    assert [entry["cmd"] for entry in program.json("-e", "n", "-e", "q", "-e", "zzz")] == ["n", "q"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-e", "zzz"), 1, "unknown command 'zzz'"),
        (("-e", "ablate M0 value 1e38"), 4, "logits are not finite after ablate M0@* value 1e+38: it was not made"),
        (("-x", "nope.tdb"), 2, "cannot read nope.tdb: no such file or directory"),
        (("--distractor", "John Smith"), 2, "distractor must be one token: ' John Smith' is 2 (' John', ' Smith')"),
        (("--device", "abacus"), 3, "unknown device 'abacus'"),
        (("--dtype", "float8"), 3, "unknown dtype 'float8'"),
        (("--model", "./nowhere"), 3, "no directory ./nowhere"),
        (("--no-such-option",), 2, "No such option: --no-such-option"),
        (("--prompt-b", "x" * 60), 2, "the prompt has 61 tokens: random reads at most 24"),
    ],
)  # fmt: skip
def test_what_went_wrong_is_one_sentence_and_a_stable_code(
    program: Program, arguments: tuple[str, ...], code: int, message: str
) -> None:
    _, err = program("--batch", *arguments, code=code)
    assert err.splitlines()[-1].removeprefix("*** ").startswith(message)
    assert "Traceback" not in err


def test_a_start_without_a_prompt_is_a_usage_error(program: Program) -> None:
    assert "give a prompt in quotes" in program(ask=(), code=2)[1]


def test_without_a_target_the_likeliest_token_is_asked_about(program: Program) -> None:
    out, err = program("--batch", "--json", "-e", "args", "-e", "logits 9", ask=(PROMPT,))
    asked, likely = (json.loads(line)["result"] for line in out.splitlines())
    tokens = [each["id"] for what in ("targets", "distractors") for each in asked[what]]
    typed = [row["id"] for row in likely["rows"] if "\\" not in row["token"]]  # parts of letters cannot be
    assert tokens == typed[:2]
    assert "no --target" in err and "the likeliest next token" in err and "the runner-up" in err
    out, err = program(ask=(PROMPT,))
    assert "no --target" in out and "ranked components" in out


def test_an_interrupt_ends_the_script_with_its_own_code(program: Program) -> None:
    out, err = program(
        "--batch",
        "-e",
        "n",
        "-e",
        f"! import os; os.kill(os.getpid(), {int(signal.SIGINT)})",
        "-e",
        "n",
        code=130,
    )
    assert out.count("(tdb)") == 2 and err.splitlines()[-1] == "*** interrupted"
    Path("a.tdb").write_text("n\n! session.engine.interrupt.set()\nn\n")
    entries = program.json("-e", "source a.tdb", "-e", "n", code=130)
    assert [entry["ok"] for entry in entries] == [False] and entries[0]["error"]["code"] == "interrupted"


def test_a_second_interrupt_ends_what_cannot_be_stopped(program: Program) -> None:
    kill, before = f"os.kill(os.getpid(), {int(signal.SIGINT)})", signal.getsignal(signal.SIGINT)
    out, _ = program("--batch", "-e", "n", "-e", f"! import os; {kill}; {kill}; {kill}", code=130)
    assert out.count("(tdb)") == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_terminal_the_answer_is_a_report(program: Program) -> None:
    out, err = program()
    assert err == ""
    for part in (
        "tdb-tui  random  cpu float32  ' Mary' - ' John' @END",
        "next tokens",
        "ranked components",
        "through the lens",
    ):
        assert part in out
    assert "U  " in out.splitlines()[-1]


def test_commands_without_a_terminal_are_a_batch(program: Program) -> None:
    assert program("-e", "w")[0].startswith("(tdb) w\n> 0 ")


def test_control_characters_in_a_prompt_never_reach_the_output(program: Program) -> None:
    prompt = " Mary \x1b[31m\u202e\x9b and"
    ask = (prompt, "--target", "Mary", "--distractor", "John", "--prompt-b", prompt)
    commands = (
        "args",
        "info prompt",
        "logits",
        "rank -n 0",
        "p '\x1b'",
        "p \x1b",
        "! print('\x1b[0m')",
        "history",
    )
    listed = [word for command in commands for word in ("-e", command)]
    for extra, code in (
        (("--batch", "--keep-going"), 1),
        (("--batch", "--json", "--keep-going"), 1),
        (None, 0),
    ):
        for text in program(*(listed if extra is not None else ()), *(extra or ()), ask=ask, code=code):
            assert all(line.isprintable() for line in text.split("\n"))
            assert "\x1b" not in text and "\u202e" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_old_locale_gets_escapes_and_no_traceback(model: Path, encoding: str) -> None:
    run = in_a_process(
        *ASK, "--model", str(model), "--batch", "-e", "rank", "-e", "zzz", env={"PYTHONIOENCODING": encoding}
    )
    assert run.returncode == 1 and b"Traceback" not in run.stderr
    assert b"\\u2192" in run.stdout


def test_a_reader_who_leaves_early_is_no_error(model: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tdb_tui",
        *ASK,
        "--model",
        str(model),
        "--batch",
        "-e",
        "rank neurons -n 0",
        "-e",
        "rank neurons -n 0",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        complaint = run.stderr.read()
        run.stderr.close()
    assert b"Traceback" not in complaint and b"BrokenPipe" not in complaint


def test_the_version_the_pages_and_the_doctor_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, expected in (
        (["--version"], "tdb-tui "),
        (["docs"], "commands\njson\nkeys\n"),
        (["docs", "json"], "# JSON"),
        (["doctor"], "torch"),
    ):
        monkeypatch.setattr(sys, "argv", ["tdb-tui", *arguments])
        assert cli.main() == 0
        assert expected in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "docs", "nothing"])
    assert cli.main() == 2


def test_prompt_b_and_bos_are_what_the_command_line_says(program: Program) -> None:
    entry = program.json("--prompt-b", PROMPT_B, "--no-bos", "-e", "args")[0]["result"]
    assert entry["prompt_b"] == PROMPT_B and len(entry["tokens"]) == 13


def test_a_defect_of_ours_is_one_sentence_and_a_report_without_the_users_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(asked: object, *more: object) -> None:
        raise TypeError(f"secret {asked}")

    monkeypatch.setattr(debug, "open_session", broken)
    monkeypatch.setattr("sys.argv", ["tdb-tui", "my secret prompt", "--target", "Mary", "--batch"])
    assert cli.main() == 70
    said = capsys.readouterr().err
    assert said.startswith("*** internal error (TypeError): a report is in ")
    report = Path(said.rsplit(" ", 1)[1].strip()).read_text()
    assert "broken" in report
    assert "my secret prompt" not in report
