"""Copying: what the terminal is sent, decoded again, and the file beside it."""

import base64
from pathlib import Path

import pytest

from tdb_tui.machine.clipboard import MOST, copy, sequence


def decoded(asking: str) -> str:
    """What a terminal that understands OSC 52 takes from it."""
    start, _, rest = asking.partition("\x1b]52;c;")
    assert start == "" and rest.endswith("\x07")
    return base64.b64decode(rest[:-1]).decode()


@pytest.mark.parametrize("text", ["L9H9@END", " Mary → ' John'\n\ttab", ""])
def test_a_terminal_gets_back_what_was_copied(text: str) -> None:
    assert decoded(sequence(text) or "") == text


def test_inside_tmux_both_tmux_and_the_terminal_around_it_are_asked() -> None:
    asking = sequence("L9H9", tmux=True) or ""
    own, _, passed = asking.partition("\x1bPtmux;")
    assert decoded(own) == "L9H9"
    assert passed.endswith("\x1b\\")
    assert decoded(passed.removesuffix("\x1b\\").replace("\x1b\x1b", "\x1b")) == "L9H9"


def test_what_is_copied_stands_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    sent: list[str] = []
    said = copy("a secret prompt", sent.append, {}, tmp_path / "state")
    file = tmp_path / "state" / "clip.txt"
    assert file.read_text() == "a secret prompt" and file.stat().st_mode & 0o777 == 0o600
    assert said == f"clipboard and {file}" and decoded(sent[0]) == "a secret prompt"
    copy("x", sent.append, {}, tmp_path / "state")
    assert file.read_text() == "x"


def test_a_text_too_long_for_terminals_is_in_the_file_alone(tmp_path: Path) -> None:
    sent: list[str] = []
    said = copy("x" * MOST, sent.append, {"TMUX": "/tmp/x"}, tmp_path)
    assert sent == [] and (tmp_path / "clip.txt").stat().st_size == MOST
    assert said.startswith("74,000 characters, too many") and str(tmp_path) in said


def test_without_a_place_for_the_file_the_terminal_is_asked_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    sent: list[str] = []
    assert copy("x", sent.append, {"TMUX": "1"}, tmp_path / "taken") == (
        "clipboard (tmux needs set -g set-clipboard on)"
    )
    assert len(sent) == 1
