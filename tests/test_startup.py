"""Configuration, start-up files and trust: what is run before the first command, and where a value comes from."""

import sys
from pathlib import Path

import pytest

from tdb_tui import cli, startup
from tdb_tui.config import Config, read_config
from tdb_tui.errors import CommandError, Unconfirmed
from tdb_tui.machine.trust import is_trusted, trust
from tdb_tui.options import Options
from tdb_tui.programs.debug import parsed
from tests.sessions import PROMPT, begin, do, fail, load, write_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    (tmp_path / "config" / "tdb-tui").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "config" / "tdb-tui"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


def run(monkeypatch: pytest.MonkeyPatch, model: Path, *arguments: str) -> int:
    ask = [PROMPT, "--target", "Mary", "--distractor", "John", "--model", str(model), "--batch"]
    monkeypatch.setattr(sys, "argv", ["tdb-tui", *ask, *arguments])
    return cli.main()


def test_start_up_files_run_before_the_commands_given_the_users_first(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text('[settings]\nablation = "mean"\n')
    (home / "rc.tdb").write_text("# mine\ntoken @3\n")
    Path(".tdbrc").write_text("token @4\n")
    assert run(monkeypatch, model, "-e", "show ablation") == 2
    assert "./.tdbrc is not trusted: look at it, then --trust" in capsys.readouterr().err
    for arguments, ran in (
        (("--trust",), ["set ablation mean", "token @3", "token @4", "show ablation"]),
        ((), ["set ablation mean", "token @3", "token @4", "show ablation"]),
        (("--no-rc",), ["show ablation"]),
    ):
        assert run(monkeypatch, model, *arguments, "-e", "show ablation") == 0
        out = capsys.readouterr().out
        assert [line.removeprefix("(tdb) ") for line in out.splitlines() if line.startswith("(tdb)")] == ran
    Path(".tdbrc").write_text("token @5\n")
    assert run(monkeypatch, model, "-e", "where") == 2


def test_a_resumed_session_does_not_run_start_up_files_again(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "rc.tdb").write_text("n 2\n")
    assert run(monkeypatch, model) == 0
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--resume", "--batch", "-e", "where"])
    assert cli.main() == 0
    assert "line 2 of" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "ran"), [("y\n", True), ("Y\n", True), ("\n", False), ("n\n", False)])
def test_a_person_is_asked_once(
    answer: str, ran: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    Path(".tdbrc").write_text("n\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    lines = startup.startup_lines(Options(), Config(Path("none")), person=True)
    assert [line.text for line in lines] == (["n"] if ran else [])
    assert "[y/N]" in capsys.readouterr().err
    assert is_trusted(Path(".tdbrc")) is ran


def test_trust_is_in_just_these_contents() -> None:
    file = Path(".tdbrc")
    file.write_text("n\n")
    trust(file)
    assert is_trusted(file)
    file.write_text("! import os\n")
    assert not is_trusted(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'gpt2'", "unknown key 'modle': did you mean 'model'?"),
        ("prompt = 'x'", "unknown key 'prompt'"),
        ("ascii = 'yes'", "ascii is 'yes': write true or false"),
        ("device = 1", "device is 1: write a text in quotes"),
        ("keys = 1", "keys is 1: write it as a table, [keys]"),
        ("[keys]\nnext = 5", "[keys] next is 5: write a text in quotes"),
        ("= 1", "is not TOML: "),
    ],
)
def test_a_mistaken_configuration_is_one_sentence(
    home: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["tdb-tui", PROMPT, "--target", "Mary"])
    assert cli.main() == 2
    assert message in capsys.readouterr().err


def test_a_file_named_must_be_there() -> None:
    assert read_config(None).options == {}
    with pytest.raises(CommandError, match=r"cannot read nowhere\.toml: no such file"):
        read_config("nowhere.toml")


def test_keys_and_colours_are_handed_on(home: Path) -> None:
    (home / "config.toml").write_text(
        'crash-text = true\n[keys]\nnext = "f5"\n[theme]\npositive = "#0087d7"\n'
    )
    config = read_config(None)
    assert dict(config.keys) == {"next": "f5"} and dict(config.theme) == {"positive": "#0087d7"}
    assert config.options == {"crash_text": True}


def test_what_may_be_given_several_times_is_a_list_in_the_file(home: Path) -> None:
    (home / "config.toml").write_text('sae = ["a.pt", "b.pt"]\nstore = "c.sqlite"\n')
    config = read_config(None)
    assert config.options == {"sae": ["a.pt", "b.pt"], "store": ["c.sqlite"]}
    options, origins = parsed([PROMPT], config.options)
    assert (options.sae, options.store, origins["sae"]) == (["a.pt", "b.pt"], ["c.sqlite"], "file")
    (home / "config.toml").write_text("sae = [1]")
    with pytest.raises(CommandError, match=r"sae is \[1\]: write a text in quotes, or several"):
        read_config(None)


def test_the_configuration_may_ask_for_texts_in_the_report_of_a_crash(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tdb_tui.batch.run_batch", lambda *_: 1 / 0)
    for wanted in (False, True):
        (home / "config.toml").write_text(f"crash-text = {str(wanted).lower()}\n")
        assert run(monkeypatch, model) == 70
        report = Path(capsys.readouterr().err.strip().rpartition("a report is in ")[2])
        assert (f"prompt: {PROMPT}" in report.read_text()) == wanted
        report.unlink()


def test_each_value_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDB_DTYPE", "float64")
    options, origins = parsed(
        [PROMPT, "--device", "cpu"], {"model": "gpt2", "dtype": "float16", "device": "x"}
    )
    assert (options.device, options.dtype, options.model, options.color) == ("cpu", "float64", "gpt2", "auto")
    assert [origins[name] for name in ("device", "dtype", "model", "color")] == [
        "flag",
        "env",
        "file",
        "default",
    ]


def test_show_says_where_each_value_comes_from(
    home: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config.toml").write_text('dtype = "float64"\n[settings]\nablation = "mean"\n')
    monkeypatch.setenv("TDB_COLOR", "16")
    assert run(monkeypatch, model, "-e", "set measure off", "-e", "info config") == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    for row in (
        ["dtype", "float64", "file"],
        ["color", "16", "env"],
        ["device", "auto", "default"],
        ["ablation", "mean", "file"],
        ["measure", "off", "set"],
        ["ln", "target", "default"],
    ):
        assert row in rows
    assert ["model", str(model), "flag"] in rows


def test_paths_are_printed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--paths"])
    assert cli.main() == 0
    out = capsys.readouterr().out
    assert f"config              {home / 'config.toml'}  (not there)" in out and "journals" in out


def test_a_session_of_somebody_else_that_runs_python_is_taken_up_only_once_trusted(model: Path) -> None:
    session = begin(load(model))
    do(session, "b A1", "commands 1: ! ran = True ;; c", "save mine.json", "load mine.json")
    Path("theirs.json").write_text(Path("mine.json").read_text())
    done = fail(session, "load theirs.json")
    assert isinstance(done.error, Unconfirmed)
    assert (
        str(done.error)
        == "theirs.json runs Python and is not trusted: look at it, then load theirs.json --trust"
    )
    assert done.error.then == "load theirs.json --trust"
    do(session, done.error.then, "load theirs.json")
    Path("theirs.json").write_text(Path("mine.json").read_text().replace("ran = True", "ran = 2"))
    fail(session, "load theirs.json")
    do(session, "clear --all", "save mine.json")
    Path("theirs.json").write_text(Path("mine.json").read_text())
    do(session, "load theirs.json")  # nothing in it runs anything
