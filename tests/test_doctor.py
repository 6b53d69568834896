"""The report, on a machine that works and on one that does not."""

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tdb_tui.machine import doctor, models


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("TERM", "COLORTERM", "NO_COLOR", "SSH_CONNECTION", "TMUX", "STY", "TERM_PROGRAM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(models, "DEMO", tmp_path / "absent")


def test_the_report_has_a_row_for_everything_that_is_asked_of_it() -> None:
    rows = dict(doctor.report())
    for name in (
        "python",
        "torch",
        "textual",
        "--device auto",
        "dtypes there",
        "terminal",
        "colours",
        "size",
    ):
        assert rows[name], name
    for name in ("Hugging Face cache", "bundled demo model", "default model", "configuration", "state"):
        assert rows[name], name
    assert "float32 ok" in rows["dtypes there"]


def test_a_torch_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def broken(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ImportError("libcudart.so.12: cannot open shared object file\nmore")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    rows = dict(doctor.report())
    assert rows["devices"] == "broken: ImportError: libcudart.so.12: cannot open shared object file"
    assert rows["python"] and rows["configuration"]


def test_a_package_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert ("no-such-package", "not installed") in doctor.versions()


def test_a_bundled_model_that_cannot_be_read_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert doctor.demo_state() == f"broken: {tmp_path / 'absent'} is not there"
    monkeypatch.setattr(models, "DEMO", tmp_path)
    assert doctor.demo_state() == f"broken: {tmp_path} has no config.json"


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({}, "none (TERM is dumb or not set)"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "none (NO_COLOR is set)"),
    ],
)
def test_colours_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colours: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert doctor.colours() == colours


def test_ssh_and_tmux_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "here there")
    monkeypatch.setenv("TMUX", "/socket")
    assert dict(doctor.terminal())["through"] == "ssh and tmux"


def test_the_text_has_one_safe_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "x\x1b[31m\n")
    text = doctor.as_text(doctor.terminal())
    assert len(text.split("\n")) == len(doctor.terminal())
    assert r"TERM=x\x1b[31m\n" in text and "\x1b" not in text
