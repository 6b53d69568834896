"""What is saved computes every number again, in processes of its own: the exported script, the commands, the session."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.test_exported_script import same

ROOT = Path(__file__).parents[1]
PROMPT = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Mary and John went to the store, Laura gave a drink to"
EDITS = (
    "prompts ioi:12",
    "set pos IO=2",
    "ablate L1H2@END resample seed 3",
    "ablate M1@John#2 mean",
    "steer resid_pre.3@END += 2 * diff(ioi:20, ioi:20 counterfactuals)",
    "steer N1.5@IO clamp -0.1 0.2",
    "edge patch L0H1@END -> L2H1.q, M0 -> U from B",
    "path L1H0 -> L5H0.q,M4 from B mlps",
    "freeze L3H1.pattern",
    "patch L2H1.q@END from B",
    "patch L4H3@END<IO from 3@END<IO",
    "ablate L4H4@END<3 cut",
    "ablate resid_mid.2@3 scale 1.5",
    "ablate N1.5@END noise 0.5 seed 4",
    "name i3 the push",
    "disable i4",
    "move i3 1",
)
ASKED = (
    "edits",
    "rank all by total -n 40",
    "rank heads by measured @END -n 5",
    "lens",
    "logits 5",
    "attn L5H0",
    "diff base now",
    "generate 4 --seed 1 --temperature 0.8",
)
"Every number of whose answers is compared."


def program(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What the program answers, in a process of its own: one object a command."""
    line = [sys.executable, "-m", "tdb_tui", *arguments, "--batch", "--json", "--no-rc", "--no-journal"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout[-500:]
    return [json.loads(answer) for answer in done.stdout.splitlines()]


def asked(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in ("-e", line)]


def answers(found: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Of the commands that ask, the last time that each was given."""
    return [next(each["result"] for each in reversed(found) if each["cmd"] == line) for line in ASKED]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from numbers(each)


@pytest.mark.slow
def test_script_commands_and_session_give_every_number_again(tmp_path: Path) -> None:
    kept = asked(["export it.py", "export it.tdb", "save it.json"])
    options = ("--target", "Mary", "--distractor", "John", "--prompt-b", OTHER)
    first = answers(program(tmp_path, PROMPT, *options, *asked(EDITS), *kept, *asked(ASKED)))
    assert len(list(numbers(first))) > 500
    for how in (("-x", "it.tdb"), ("-e", "load it.json")):
        assert answers(program(tmp_path, "x", *how, *asked(ASKED))) == first
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in first[0]["rows"] if row["enabled"]]
    names = [f"after {row['id']} {row['command']}" + f" ({row['name']})" * bool(row["name"]) for row in rows]
    wanted = [
        ("baseline", first[0]["base"]),
        *zip(names, (row["cumulative"] for row in rows), strict=True),
        ("edited", first[0]["value"]),
    ]
    parts = (line.partition("\t") for line in done.stdout.splitlines())
    same([(name, float(value)) for value, _, name in parts], wanted)
