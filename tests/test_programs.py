"""Subcommands: each a file of its own, found by its name, and imported by nobody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tdb_tui import cli, programs
from tdb_tui.options import Options
from tdb_tui.programs import PROGRAMS, debug, load_program
from tests.test_import_hygiene import HEAVY, ROOT

FILES = {path.stem for path in Path(programs.__file__).parent.glob("*.py")} - {"__init__", "debug"}


def test_the_table_names_the_files_and_nothing_else() -> None:
    assert PROGRAMS.keys() == FILES
    assert all(isinstance(load_program(name), typer.Typer) for name in PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_help_of_a_subcommand_loads_neither_the_others_nor_anything_heavy(
    name: str, tmp_path: Path
) -> None:
    code = f"import sys; sys.argv = ['tdb-tui', {name!r}, '--help']; from tdb_tui.cli import main; main()"
    command = [sys.executable, "-c", f"{code}; print('modules:', *sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    told, _, modules = run.stdout.partition("modules:")
    assert f"tdb-tui {name}" in told
    assert {each.partition(".")[0] for each in modules.split()} & HEAVY == set()
    parts = {each.removeprefix("tdb_tui.programs.") for each in modules.split()}
    assert parts & FILES == {name} and "debug" not in parts


def test_a_first_word_that_names_no_subcommand_is_the_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(debug, "_report", lambda options, kept: asked.append(options.prompt) or 0)
    monkeypatch.setattr(debug, "_has_screen", lambda: False)
    for words in (["debug", "--target", "x"], ["pull up", "--target", "x"], ["--target", "x", "pull"]):
        monkeypatch.setattr(sys, "argv", ["tdb-tui", *words])
        assert cli.main() == 0
    assert asked == ["debug", "pull up", "pull"]
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "pull"])
    assert cli.main() == 2
    assert "(tdb-tui pull --help)" in capsys.readouterr().err


def test_the_help_names_every_subcommand_and_every_option_says_what_it_is() -> None:
    assert all(f"tdb-tui {name} (" in debug.EPILOG for name in PROGRAMS)
    assert {each.name for each in debug.command.params if not getattr(each, "help", "")} <= {"help"}
    named = {each.name for each in debug.command.params} - {"install_completion", "show_completion"}
    assert named == set(Options.__dataclass_fields__)
