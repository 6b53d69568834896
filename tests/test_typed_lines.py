"""The history of typed lines, as a file that others may write to, damage, or forbid."""

import stat
from pathlib import Path

import pytest

from tdb_tui.files import typed_lines
from tdb_tui.files.typed_lines import add_line, history_file, read_lines


def test_lines_come_back_in_order_whatever_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.jsonl"
    lines = ["n", 'prompt "a \\" b"', "p rank('é⊢')", "n"]
    for line in lines:
        add_line(path, line)
    assert read_lines(path) == lines


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history.jsonl"
    add_line(path, "prompt a secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(
        b'{"line": "n"}\nnot json\n[1]\n{"line": 3}\n{"line": "\\u001b[31m"}\n\xff\xfe\n{"line": "s"}\n{"li'
    )
    assert read_lines(path) == ["n", "s"]
    assert read_lines(tmp_path / "none.jsonl") == []
    assert read_lines(tmp_path) == []


def test_it_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed_lines, "MOST", 3)
    path = tmp_path / "history.jsonl"
    for n in range(7):
        add_line(path, f"n {n + 1}")
    assert read_lines(path) == ["n 5", "n 6", "n 7"]
    assert len(path.read_text().splitlines()) == 3


def test_it_lies_where_states_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "tdb-tui" / "history.jsonl"
