"""Work in a real terminal: long rankings stopped, names found and copied, defects survived."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tdb_tui.machine.clipboard import MOST
from tdb_tui.machine.models import DEMO
from tests.ui.test_e2e import Terminal, pytestmark, run
from tests.ui.test_e2e_keep import enter

__all__ = ["pytestmark"]

NAME_MOVERS = ("L5H0",)
"Of the demo model: heads that read the name and write it, as its card has them."


@pytest.fixture(params=[(80, 24)], ids=["80x24"])
def terminal(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    opened = Terminal(tmp_path, *request.param)
    yield opened
    opened.close()


def first_row(shown: str) -> str:
    """The row of the ranked components that the cursor is on."""
    return next(line.partition("│>")[2] for line in shown.splitlines() if "│>" in line)


@pytest.mark.parametrize("terminal", [(80, 24), (120, 40)], indirect=True, ids=["80x24", "120x40"])
def test_a_newcomer_finds_the_name_movers_in_under_ten_keys(terminal: Terminal) -> None:
    """By what stands on the screen: the first ranked row, the number of its pane, and the list of keys that `?` opens."""
    run(terminal, DEMO)
    shown = terminal.wait("2 ranked", "? keys", "idle")
    assert any(head in first_row(shown) and "→Mar" in first_row(shown) for head in NAME_MOVERS), (
        "the first row names the head, and the name that it reads"
    )
    pressed = ["2", "?", "s", "a", "y", "Enter"]
    terminal.keys(pressed[0])
    terminal.wait("⏎ page", "? keys")
    terminal.keys(pressed[1])
    terminal.wait("type to filter")
    terminal.keys(*pressed[2:5])
    terminal.wait("what there is to say about the selected node")
    terminal.keys(pressed[5])
    shown = " ".join(terminal.wait("I inspect L5H0@END", "attention head").split())
    assert re.search(r"reads +Mary", shown), "it reads the name"
    assert re.search(r"direct +\+", shown), "and what it writes speaks for it"
    assert len(pressed) < 10


def test_ctrl_c_in_a_long_ranking_keeps_what_is_measured(terminal: Terminal) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    enter(terminal, ":rank all by measured -n 0")
    shown = terminal.wait("^C cancels", "(tdb) rank all by measured")
    assert re.search(r"rank all( by)? \d+", shown.splitlines()[0]), "how far, and for how long"
    terminal.keys("C-c")
    shown = terminal.wait("idle", "interrupted")
    assert re.search(r"interrupted: .*(kept|measured|nothing was changed)", shown)
    terminal.keys("n")
    terminal.wait("1 -> A0")
    terminal.keys("q")
    terminal.wait("left with 0")


def test_what_is_copied_reaches_tmux_and_a_file(terminal: Terminal, tmp_path: Path) -> None:
    terminal._tmux("set-option", "-s", "set-clipboard", "on")
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal.keys("2", "y")
    shown = terminal.wait("copied L5H0@END: clipboard")
    assert "set-clipboard" in shown
    assert terminal._tmux("show-buffer") == "L5H0@END"
    clip = tmp_path / "state" / "tdb-tui" / "clip.txt"
    assert clip.read_text() == "L5H0@END" and clip.stat().st_mode & 0o777 == 0o600
    terminal.keys("Y")
    terminal.wait("rows of pane 2")
    table = clip.read_text().splitlines()
    assert len(table) > 100 and table[0].split("\t")[:2] == ["1", "L5H0@END"]


def test_a_table_too_long_for_a_clipboard_is_in_the_file(terminal: Terminal, tmp_path: Path) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal.keys("2")
    enter(terminal, ":rank pairs by direct -n 0", "pairs direct", "idle")
    terminal.keys("Y")
    shown = terminal.wait("rows of pane 2")
    clip = tmp_path / "state" / "tdb-tui" / "clip.txt"
    table = clip.read_text()
    assert len(table.splitlines()) == 1000
    told = "too many for a terminal" in shown
    assert told == (len(base64.b64encode(table.encode())) > MOST)


def test_a_defect_leaves_the_terminal_as_it_was_and_a_report_without_texts(
    terminal: Terminal, tmp_path: Path
) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    enter(terminal, ":note my own words", "noted")
    enter(terminal, ":! session.engine.reading = None", "idle")
    enter(terminal, ":ablate L1H1", "left with 70")
    shown = terminal.wait("*** internal error", "a report is in")
    assert "Traceback" not in shown
    enter(terminal, "stty -a")
    assert " echo " in terminal.wait("icanon")
    assert terminal._tmux(
        "display-message", "-p", "#{cursor_flag} #{alternate_on} #{mouse_any_flag}"
    ).split() == [
        "1",
        "0",
        "0",
    ]
    (report,) = (tmp_path / "state" / "tdb-tui").glob("crash-*.txt")
    text = report.read_text()
    assert "torch" in text and "ablate L1H1" in text
    assert "my own words" not in text and "Mary" not in text
