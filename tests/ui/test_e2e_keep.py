"""Nothing is lost in a real terminal: killed, hung up, terminated, crashed, suspended, piped, pasted into."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tdb_tui.journal.records import read_journal
from tdb_tui.machine.models import DEMO
from tests.ui.screens import PROMPT
from tests.ui.test_e2e import ROOT, Terminal, pytestmark, run

RESUME = f"{sys.executable} -m tdb_tui --resume"
SWEEP = ":sweep ablate heads by position over prompts"


__all__ = ["pytestmark"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path, 80, 24)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own, so that the last session is the one of this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def program(terminal: Terminal) -> int:
    """The process that has the terminal."""
    shell = terminal._tmux("display-message", "-p", "#{pane_pid}").strip()
    children = subprocess.run(["pgrep", "-P", shell], capture_output=True, text=True, check=True)
    return int(children.stdout.split()[0])


def enter(terminal: Terminal, text: str, *needles: str) -> str:
    terminal.type(text)
    terminal.keys("Enter")
    return terminal.wait(*needles) if needles else ""


def body(shown: str) -> list[str]:
    """The screen without how far what is running has come."""
    first, *rest = shown.splitlines()
    return [first.rpartition("│")[0], *rest]


def beside(shown: str) -> list[str]:
    """The same without the panes at the right, which are measured meanwhile."""
    return [line[:35] for line in body(shown)]


def test_killed_with_everything_moved_about_it_shows_the_same_screen(
    terminal: Terminal,
) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal.keys("n", "n", "2", "j", "j", "j", "x")
    terminal.wait("i1 ablate", "2 -> M0", "idle")
    terminal.keys("l", "h", "h", "v", "1", "j", "j")
    enter(terminal, ":display ld", "d1", "idle")
    before = terminal.wait("idle")
    os.kill(program(terminal), signal.SIGKILL)
    enter(terminal, "reset; clear")
    enter(terminal, RESUME, "d1", "i1 ablate" if "i1 ablate" in before else "2 -> M0", "idle")
    for _ in range(300):  # a slow shell may not have cleared the screen of before yet
        if body(terminal.screen()) == body(before):
            break
        signal.sigtimedwait([], 0.05)
    assert body(terminal.screen()) == body(before)


def test_killed_in_the_middle_of_a_sweep_it_goes_on_sweeping(terminal: Terminal, tmp_path: Path) -> None:
    asked = f'"{PROMPT}" --target Mary --distractor John'
    enter(terminal, f"{sys.executable} -m tdb_tui {asked}", "0 -> E", "idle")
    terminal.keys("n", "n")
    enter(terminal, ":prompts ioi:150", "150 prompts", "idle")
    terminal.keys("q")
    terminal.wait("2 -> M0", "idle")
    terminal.type(SWEEP)
    terminal.keys("Enter")
    (path,) = (tmp_path / "state" / "tdb-tui" / "journals").glob("*.jsonl")
    for _ in range(600):
        if b'"cells"' in path.read_bytes():
            break
        signal.sigtimedwait([], 0.05)
    before = terminal.wait("(tdb) sweep", "/7200")
    os.kill(program(terminal), signal.SIGKILL)
    kept = read_journal(path)
    (cells,) = kept.cells.values()
    assert kept.pending == SWEEP[1:] and cells
    enter(terminal, "reset; clear")
    enter(terminal, RESUME)
    after = terminal.wait("(tdb) sweep", "2 -> M0", "/7200")  # under way again
    assert beside(after)[1:] == beside(before)[1:]
    for _ in range(600):
        (now,) = read_journal(path).cells.values()
        if len(now) > len(cells):
            break
        signal.sigtimedwait([], 0.05)
    terminal.keys("C-c")
    terminal.wait("idle")
    written = [json.loads(line) for line in path.read_bytes().splitlines() if b'"cells"' in line]
    places = [at for record in written for at in record["at"]]
    assert len(set(places)) == len(places) > len(cells), "what was measured is not measured again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_the_session_goes_on(
    terminal: Terminal,
    number: signal.Signals,
) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal.keys("n", "n")
    terminal.wait("2 -> M0")
    os.kill(program(terminal), number)
    terminal.wait(f"left with {128 + number}")
    enter(terminal, "stty -a")
    assert " echo " in terminal.wait("icanon")
    enter(terminal, f"clear; {RESUME}", "2 -> M0", "idle")


def test_a_terminal_that_is_closed_leaves_no_process_and_a_whole_journal(
    terminal: Terminal,
    tmp_path: Path,
) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal.keys("n", "n")
    terminal.wait("2 -> M0")
    pid = program(terminal)
    terminal.close()
    for _ in range(600):
        if not Path(f"/proc/{pid}").exists():
            break
        signal.sigtimedwait([], 0.05)
    assert not Path(f"/proc/{pid}").exists()
    said = subprocess.run(
        [*RESUME.split(), "--batch", "-e", "where"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "line 2 of" in said.stdout


def test_several_lines_pasted_wait_on_the_command_line(terminal: Terminal) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    terminal._tmux("set-buffer", "n\ntoken @2\nw\n")
    terminal._tmux("paste-buffer", "-p")
    terminal.wait("(tdb) n ;; token @2 ;; w")
    terminal.keys("Enter")
    terminal.wait("1 -> A0", "line 1 of")


def test_a_storm_of_sizes_ends_in_the_last(terminal: Terminal) -> None:
    run(terminal, DEMO)
    terminal.wait("0 -> E", "idle")
    for width, height in ((40, 10), (200, 50), (61, 17), (120, 40), (80, 24), (30, 5), (100, 30), (80, 24)):
        terminal.resize(width, height)
    terminal.wait("0 -> E", "2 ranked", "1 code", "4 log")
    terminal.keys("n")
    terminal.wait("1 -> A0")


def test_output_elsewhere_and_input_piped_make_a_report_and_a_batch(terminal: Terminal) -> None:
    run(terminal, DEMO, after="> result.txt")
    terminal.wait("left with 0")
    enter(terminal, "clear; grep -c 'ranked components' result.txt", "1")
    run(terminal, DEMO, before="clear; echo n | ", after="--batch -x -")
    terminal.wait("(tdb) n", "> A0 attn", "left with 0")
