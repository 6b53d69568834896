"""The manual page, the program as data, and what shells are offered."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tdb_tui import cli
from tdb_tui.commands import registry
from tdb_tui.documentation import DOCS
from tdb_tui.keys import KEYS
from tdb_tui.manual import manual, spec
from tdb_tui.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[1]


def test_the_program_as_data_names_everything_there_is() -> None:
    data = json.loads(spec())
    assert data["schema"] == "tdb-spec/1"
    assert [each["name"] for each in data["commands"]] == [each.name for each in registry]
    assert [each["name"] for each in data["settings"]] == [each.name for each in SETTINGS]
    assert len(data["keys"]) == len(KEYS) and "5" in data["exit_codes"]
    flags = {flag for each in data["options"] for flag in each["flags"]}
    assert {"--target", "--batch", "-x", "--spec", "--tutor", "--no-bos"} <= flags
    (rank,) = (each for each in data["commands"] if each["name"] == "rank")
    assert rank["aliases"] == ["rk"] and rank["options"]["n"] == {"takes_value": True}


def test_it_is_printed_without_loading_a_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--spec", "json"])
    assert cli.main() == 0
    assert capsys.readouterr().out == spec() == (DOCS / "spec.json").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--spec", "yaml"])
    assert cli.main() == 2


def test_the_manual_page_is_roff_in_ascii() -> None:
    page = manual()
    assert page.isascii() and page.startswith(".TH TDB-TUI 1\n")
    for section in ("NAME", "SYNOPSIS", "OPTIONS", "KEYS", "EXIT STATUS", "FILES"):
        assert f"\n.SH {section}\n" in page
    for line in page.splitlines():
        assert not line.startswith("'")
        assert not line.startswith(".") or line.split()[0] in (".TH", ".SH", ".B", ".TP", ".br", ".ad")


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_set_without_a_warning() -> None:
    run = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=manual(), capture_output=True, text=True, check=True
    )
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tdb-tui --tar", {"--target"}),
        ("tdb-tui pu", {"pull", "published"}),
        ("tdb-tui docs m", {"man"}),
        ("tdb-tui\ndocs\nm", {"man"}),
        ("tdb-tui doctor --he", {"--help"}),
    ],
)
def test_a_shell_is_offered_options_subcommands_and_their_words(typed: str, offered: set[str]) -> None:
    between = "\n" if "\n" in typed else " "
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(between)) - 1),
        "_TDB_TUI_COMPLETE": "complete_bash",
    }
    run = subprocess.run(
        [sys.executable, "-m", "tdb_tui"], env=environment, capture_output=True, text=True, check=False
    )
    assert set(run.stdout.split()) == offered


def test_the_version_names_what_it_stands_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "--version"])
    assert cli.main() == 0
    words = capsys.readouterr().out.split()
    assert words[0::2] == ["tdb-tui", "torch", "textual", "device"] and words[-1] in ("cpu", "cuda", "mps")
