"""Memory of the whole program, as the operating system counts it: GPT-2 small's shapes, a prompt of 512 tokens.

Bytes are no seconds: this asserts.  `pytest -m bench -s tests/bench` prints what it found.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.weights import save_model
from tests.bench.measuring import random_small
from tests.sessions import write_vocabulary

LIMIT = 1.5e9
"Bytes above the weights, with Python and torch among them."

SENTENCE = " Mary and John went to the store and Anna gave a drink to Smith then"
"15 tokens."
SHORT, LONG = SENTENCE * 15 + " Mary and John went to the store and", SENTENCE * 34 + " to"
"With the prepended one, 234 tokens, all pairs of which are just few enough for one table, and 512."

STEERED = 'steer resid_pre.6@END += 4 * dir(" Mary" - " John")'
EDITED = tuple(f"{line} ;; rank all" for line in ("ablate L0H1", "ablate M1", "ablate A3@400", STEERED))
LONG_SESSION = (
    "rank all",
    *EDITED,
    "undo 2",
    "rank heads",
    "redo",
    "ablate E@5",
    "rank neurons",
    "rank pairs by direct",
    "attn L5H1",
    "trace L9H1 via q",
    "rank all",
    "up",
    "undo 3",
    f"prompt '{SENTENCE * 34} then'",
    "ablate L0H3",
    "rank",
)
"Edits from the first layer on share nothing with the run before."
WITH_B = (
    f"prompt B '{SENTENCE.replace('Mary', 'Anna', 1)}{SENTENCE * 33} to'",
    "rank",
    *EDITED,
    "patch L0H2 from B",
    "rank heads by patched @END in L10-11",
    "undo 4",
    "prompts three.jsonl",
    "over rank heads by total",
)
THREE = [
    {"prompt": f" {name}{SENTENCE * 33} to", "targets": [" Mary"], "distractors": [" John"]} for name in "abc"
]

PROGRAM = """
import sys
from tdb_tui.cli import main
code = main()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
sys.stderr.write(peak)
sys.exit(code)
"""

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to read a peak from"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """GPT-2 small with random weights, not left behind."""
    place = tmp_path_factory.mktemp("small")
    write_vocabulary(place)
    save_model(random_small(), place)
    (place / "three.jsonl").write_text("\n".join(map(json.dumps, THREE)), encoding="utf-8")
    yield place
    (place / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("prompt", "tokens", "lines"),
    [
        (LONG, 512, ("rank all", "rank pairs", "rank neurons")),
        (LONG, 512, ("rank all", "rank heads by measured @END", "rank heads by measured @400 in L8-11")),
        (LONG, 512, ("rank all", "ablate A5", "rank all", "rank mlps by measured @300")),
        (SHORT, 234, ("rank pairs", "rank pairs by direct", "rank neurons")),
        (LONG, 512, LONG_SESSION),
        (LONG, 512, WITH_B),
    ],
)
def test_a_session_stays_below_its_bytes(
    directory: Path, prompt: str, tokens: int, lines: tuple[str, ...]
) -> None:
    asked = [word for line in lines for word in ("-e", line)]
    options = ["--model", str(directory), "--target", "Mary", "--distractor", "John", "--batch", "--json"]
    command = [sys.executable, "-c", PROGRAM, prompt, *options, "-e", "args", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[0])["result"]["tokens"]) == tokens
    peak = 1024 * int(done.stderr.split("VmHWM:")[1].split()[0])
    above = peak - (directory / "model.safetensors").stat().st_size
    print(f"\n{tokens} tokens, {', '.join(lines)}: {above / 1e6:.0f} MB above the weights")
    assert above < LIMIT
