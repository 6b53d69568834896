"""The program killed while it works, and gone on with: nothing that was done is lost, and nothing is other than it was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tdb_tui.commands import execute
from tdb_tui.journal.records import Kept, read_journal
from tdb_tui.journal.whole import whole
from tests import forked
from tests.sessions import PROMPT, PROMPT_B, begin, load, write_model

ROOT = Path(__file__).resolve().parents[1]

LINES = 3 * (
    "ablate L0H0", "n 2", "patch L2H1@3 from B@9", "b A2 ;; c", "sweep patch resid_pre", "token @4", "undo", "set metric logprob",
    "steer resid_pre.1@END += 2 * dir(Mary - John)", "sweep ablate heads", "checkpoint a", "restore a", "trace L3H0@END", "up",
)  # fmt: skip
ASKED = (PROMPT, "--target", "Mary", "--distractor", "John", "--prompt-b", PROMPT_B)
TELL = "import json; from tdb_tui.journal.whole import whole; print(json.dumps(whole(session)))"
LANES = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scripts") / "long.tdb"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


@pytest.fixture(scope="module")
def straight(model: Path) -> list[dict[str, Any]]:
    """The session, whole, after each number of lines that were carried out without an end between them."""
    session = begin(load(model))
    found = [json.loads(json.dumps(whole(session)))]
    for line in LINES:
        execute(session, line)
        found.append(json.loads(json.dumps(whole(session))))
    return found


def batch(model: Path, script: Path) -> tuple[str, ...]:
    return (*ASKED, "--model", str(model), "--batch", "--json", "-x", str(script))


RESUMING = ("--resume", "--batch", "-e", f"! {TELL}")


def kept_in(home: Path) -> Kept:
    (path,) = (home / "tdb-tui" / "journals").glob("*.jsonl")
    return read_journal(path)


def check(kept: Kept, out: str, err: str, straight: list[dict[str, Any]]) -> int:
    """What was gone on with is what the journal says was done; how many lines that is."""
    done = tuple(each.line for each in kept.lines)
    assert done == LINES[: len(done)]
    pending = (kept.pending,) if kept.pending else ()
    assert pending in ((), LINES[len(done) : len(done) + 1])
    assert json.loads(out.splitlines()[-1]) == straight[len(done) + len(pending)]
    assert "the metric is" not in err
    return len(done)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.04, 0.3])
def test_a_killed_program_goes_on_where_it_was(
    model: Path, script: Path, straight: list[dict[str, Any]], tmp_path: Path, wait: float
) -> None:
    """Started as its users start it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)}
    start = [sys.executable, "-m", "tdb_tui"]
    with subprocess.Popen(
        [*start, *batch(model, script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()  # the first command has been carried out
        time.sleep(wait)
        run.send_signal(signal.SIGKILL)
    kept = kept_in(tmp_path)
    assert kept.lines
    again = subprocess.run([*start, *RESUMING], env=environment, capture_output=True, text=True, check=True)
    check(kept, again.stdout, again.stderr, straight)


def killed_and_resumed(
    model: Path, script: Path, straight: list[dict[str, Any]], home: Path, length: int, wait: float
) -> int:
    """Kill a batch a while after its journal has come to a length, go on with it; how many lines had been done."""
    home.mkdir()
    run = forked.start(*batch(model, script), state=home, out=home / "out")
    journals = home / "tdb-tui" / "journals"
    while run.is_alive() and sum(path.stat().st_size for path in journals.glob("*.jsonl")) < length:
        time.sleep(0.001)
    time.sleep(wait)
    run.kill()
    run.join()
    kept = kept_in(home)
    again = forked.start(*RESUMING, state=home, out=home / "again")
    again.join()
    assert again.exitcode == 0, (home / "again.err").read_text()
    return check(kept, (home / "again").read_text(), (home / "again.err").read_text(), straight)


@pytest.mark.parametrize(
    "points",
    [2, pytest.param(12, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.bench)],
)
def test_killed_at_random_points_it_goes_on_where_it_was(
    model: Path, script: Path, straight: list[dict[str, Any]], tmp_path: Path, points: int
) -> None:
    """Points of the journal, so that a slow machine is not always killed at the beginning."""
    whole_run = forked.start(*batch(model, script), state=tmp_path / "whole", out=tmp_path / "out")
    whole_run.join()
    (journal,) = (tmp_path / "whole" / "tdb-tui" / "journals").glob("*.jsonl")
    longest, chance = journal.stat().st_size, random.Random(7)
    chosen = [
        (chance.uniform(1, longest), chance.choice((0.0, chance.uniform(0, 0.1)))) for _ in range(points)
    ]

    def one(number: int) -> int:
        length, wait = chosen[number]
        return killed_and_resumed(model, script, straight, tmp_path / f"{number}", int(length), wait)

    with ThreadPoolExecutor(LANES) as lanes:
        done = list(lanes.map(one, range(points)))
    print(f"lines done when killed: {sorted(done)}")
    assert len(set(done)) > points // 5, "they are not all alike"
