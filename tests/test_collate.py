"""`tdb-tui collate` as its users meet it: its answers, kill -9, Ctrl-C, several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from explanations.records import Sampling
from explanations.store import open_store
from explanations.writing import content_hash
from tests.programs import tdb_tui
from tests.test_import_hygiene import PROMPT, ROOT

TEXT = f"{PROMPT} Mary. In the evening they went home.<|endoftext|>The war lasted from 1732 to 1745.<|endoftext|>"
SMALL = ("--length", "16", "--batch", "4", "--top", "3", "--quantiles", "3", "--random", "2")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT * 12)
    return path


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "tdb_tui", "collate", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def collate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return tdb_tui("collate", *words)


def test_a_corpus_becomes_a_store(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.store"
    run = collate("--text", text, "--out", out, *SMALL, "--only", "heads,mlps")
    assert run.returncode == 0, run.stderr
    assert "demo.store: 54 components over" in run.stderr
    store = open_store(out)
    example = store.examples("L5H0", Sampling.TOP, 1)[0]
    assert example.activations.shape == (len(example.tokens), len(example.tokens))
    assert example.source.startswith("corpus.txt document ")
    assert sorted(path.name for path in tmp_path.iterdir() if "state" in path.name) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "give a corpus and a store: tdb-tui collate --text FILE --out STORE"),
        (("--text", "none.txt", "--out", "x"), 1, "cannot read none.txt: no such file or directory"),
        (("--text", "{text}", "--out", "{text}"), 1, "is not a store of tdb-tui: file is not a database"),
        (
            ("--text", "{text}", "--out", "x", "--only", "heds"),
            2,
            "unknown kind 'heds' in --only: heads, neurons, mlps",
        ),
        (
            ("--text", "{text}", "--out", "x", "--length", "256"),
            1,
            "rows of 256 tokens are too long: this model reads 255",
        ),
        (("--text", "{text}", "--out", "x", "--direction", "joy"), 1, "write NAME=SITE.LAYER=FILE"),
        (
            ("--text", "{text}", "--out", "x", "--model", "nowhere/at-all"),
            3,
            "no model 'nowhere/at-all' on this machine",
        ),
        (("--text", "{text}", "--out", "x", "--sae", "none.st"), 1, "none.st"),
    ],
)
def test_mistakes_are_one_sentence(text: Path, words: tuple[str, ...], code: int, said: str) -> None:
    run = collate(*(word.replace("{text}", str(text)) for word in words))
    assert run.returncode == code
    assert said in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on_and_shards_add_up_to_the_byte(text: Path, tmp_path: Path) -> None:
    text.write_text(TEXT * 400)
    whole, killed, shared = (tmp_path / f"{name}.store" for name in ("whole", "killed", "shared"))
    assert collate("--text", text, "--out", whole, *SMALL).returncode == 0
    for how in (signal.SIGKILL, signal.SIGINT):
        state = tmp_path / "killed.store.state"
        process = subprocess.Popen(
            command("--text", text, "--out", killed, *SMALL, "--checkpoint", "0"),
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.02)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-how if how == signal.SIGKILL else 130), said
        assert not killed.exists()
    assert "tokens: the same command goes on from there" in said
    run = collate("--text", text, "--out", killed, *SMALL, "--checkpoint", "0")
    assert "going on after" in run.stderr
    assert content_hash(killed) == content_hash(whole)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tdb_tui",
        "collate",
    ]
    words = [*torchrun, "--text", str(text), "--out", str(shared), *SMALL]
    run = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert content_hash(shared) == content_hash(whole)
