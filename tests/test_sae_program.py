"""`tdb-tui sae train` and `sae eval` as they are typed: files, figures, refusals, Ctrl-C, and several processes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from sae.demo.bundle import BUNDLED
from sae.evaluation import Damage, Report
from sae.files import load_autoencoder
from sae.training.loop import Figures, Progress
from tdb_tui import cli
from tdb_tui.dictionaries.histogram import counted, drawn_bars
from tdb_tui.dictionaries.judging import as_data, as_text
from tdb_tui.dictionaries.progress import Clock, drawn, duration, line
from tdb_tui.dictionaries.settings import Settings, plan_of, targets_of
from tdb_tui.dictionaries.training import Tokenising
from tests.test_import_hygiene import ROOT
from tests.tiny import TINY

TOY = ("--toy", "--batch", "64", "--shards", "2", "-k", "2", "--latents", "80", "--rate", "1e-2")
SMALL = ("--batch", "64", "--shards", "2", "--latents", "48", "-k", "4", "--context", "16", "--steps", "4")


def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["tdb-tui", "sae", *map(str, words)])
    code = cli.main()
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Mary gave the map to Tom. The keys to the cabinet are old.\n" * 60)
    return path


def test_a_toy_is_trained_on_and_what_was_found_is_said(monkeypatch, capsys, tmp_path: Path) -> None:
    code, out, err = typed(monkeypatch, capsys, "train", *TOY, "--steps", 300, "--out", tmp_path)
    path = tmp_path / "resid_pre.0.safetensors"
    assert (code, out) == (0, f"{path}\n") and "step 300/300  loss" in err
    code, out, _ = typed(monkeypatch, capsys, "eval", path, "--json")
    [found] = json.loads(out)["rows"]
    assert code == 0 and found["mean_max_cosine_similarity"] > 0.75 and found["features"] == 64
    for given in (path, tmp_path):
        code, out, _ = typed(monkeypatch, capsys, "eval", given)
        assert f"mean max cosine similarity {found['mean_max_cosine_similarity']:.4f}" in out
    code, out, err = typed(monkeypatch, capsys, "eval", path, BUNDLED)
    assert (code, out) == (1, "") and "judge them apart" in err


def test_dictionaries_of_a_model_are_trained_and_judged(
    monkeypatch, capsys, tmp_path: Path, text: Path
) -> None:
    out_dir = tmp_path / "out"
    where = ("--site", "mlp_out.1", "--site", "z.0", "--text", text, "--out", out_dir)
    code, out, err = typed(monkeypatch, capsys, "train", *where, *SMALL)
    assert code == 0, err
    assert [Path(name).name for name in out.split()] == ["mlp_out.1.safetensors", "z.0.safetensors"]
    made, notes = load_autoencoder(out_dir / "z.0.safetensors")
    assert made.n_latent == 48 and notes["model"] == "gpt2-demo" and notes["context"] == 16
    code, out, err = typed(
        monkeypatch, capsys, "eval", out_dir, "--text", text, "--rows", 3, "--context", 16, "--json"
    )
    assert code == 0, err
    data = json.loads(out)
    assert data["schema"] == "tdb-tui/sae-eval/1"
    first, second = data["rows"]
    assert (first["dictionary"], second["dictionary"]) == ("z.0", "mlp_out.1")
    assert first["tokens"] == 3 * 16 and 0 < first["l0"] <= 4 and first["ce"]["clean"] > 0
    assert first["explained_variance"] == 1 - first["fvu"]
    assert sum(bin["latents"] for bin in first["density"]) == 48
    code, out, _ = typed(monkeypatch, capsys, "eval", out_dir, "--text", text, "--rows", 3, "--context", 16)
    assert code == 0 and "active on" in out and "█" in out and "CE and KL recovered" in out


def test_a_transcoder_reads_one_place_and_puts_out_another(
    monkeypatch, capsys, tmp_path: Path, text: Path
) -> None:
    where = ("--site", "mlp_out.1", "--transcode", "--text", text, "--out", tmp_path / "out")
    code, out, _ = typed(monkeypatch, capsys, "train", *where, *SMALL, "--rule", "jumprelu")
    made, _ = load_autoencoder(Path(out.strip()))
    assert code == 0 and made.transcodes and str(made.reads[0]) == "ln2_normalized" and not made.pre_bias


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("train", "--out", "x"), 2, "say where: --site mlp_out.3"),
        (("train", "--out", "x", "--site", "mlp_out.1"), 2, "say on which text: --text FILE"),
        (("train", "--out", "x", "--toy", "--site", "mlp_out.1"), 2, "--toy has activations of its own"),
        (("train", "--out", "x", "--toy", "--dtype", "float8"), 2, "unknown dtype 'float8': float32 or bfloat16"),
        (("train", "--out", "x", "--toy", "--rule", "gated"), 1, "no rule 'gated': topk, batchtopk, l1, jumprelu"),
        (("train", "--out", "x", "--toy", "--latents", "8"), 1, "k is 32: from 1 to the 8 latents"),
        (("train", "--out", "x", "--toy", "--resume"), 1, "has no checkpoint to go on from"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "mlp_in.1"), 1, "'mlp_in.1' is no hook point"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "mlp_out.6"), 1, "this model has layers 0 to 5"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "z.0", "--site", "z.*"), 1, "z.0 is asked for twice"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "z.0", "--transcode"), 1, "z.0 is neither"),
        (("train", "--out", "x", "--text", "nowhere.txt", "--site", "z.0"), 1, "cannot read nowhere.txt"),
        (("train", "--out", "x", "--text", "EMPTY", "--site", "z.0"), 1, "the text has 0 tokens, which is not one row"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "z.0", "--context", "999"), 1, "--context 999 is longer"),
        (("train", "--out", "x", "--text", "TEXT", "--site", "z.0", "--model", "./no"), 3, "no directory ./no"),
        (("eval", "nowhere"), 1, "nowhere does not exist"),
        (("eval", "TEXT", "--text", "TEXT"), 1, "has no SAE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence(
    monkeypatch, capsys, tmp_path: Path, text: Path, words: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    given = [{"TEXT": str(text), "EMPTY": "empty.txt"}.get(word, word) for word in words]
    found, out, err = typed(monkeypatch, capsys, *given)
    assert (found, out) == (code, "") and sentence in err
    assert err.startswith("*** ") or "tokens of text" in err
    assert "Traceback" not in err


def test_sites_are_spelled_as_everywhere() -> None:
    names = [target.name for target in targets_of(["mlp_out.*", "ln2_normalized.1-mlp_out.2"], False, TINY)]
    assert names == ["mlp_out.0", "mlp_out.1", "mlp_out.2", "ln2_normalized.1-mlp_out.2"]
    assert targets_of(["blocks.1.hook_mlp_out"], False, TINY)[0].name == "mlp_out.1"


def test_what_is_not_given_follows_from_the_rest() -> None:
    plan = plan_of(Settings(), 48)
    assert (plan.n_latent, plan.aux_k, plan.resample_every) == (384, 24, 0)
    plan = plan_of(Settings(rule="l1", aux_k=3, latents=50, steps=80), 48)
    assert (plan.n_latent, plan.aux_k, plan.resample_every) == (50, 3, 10)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def content(path: Path) -> tuple[Any, dict[str, bytes]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name).numpy().tobytes() for name in file.keys()}


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_from_which_the_same_dictionary_comes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tdb_tui", "sae", "train", *TOY, "--steps", "60"]
    subprocess.run(
        [*command, "--out", "whole"], cwd=tmp_path, env=environment(), check=True, capture_output=True
    )
    # many checkpoints make the steps slow enough to be interrupted
    broken = subprocess.Popen(
        [*command, "--out", "broken", "--every", "1"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = tmp_path / "broken" / "checkpoint.safetensors"
    while not checkpoint.exists():
        time.sleep(0.01)
    broken.send_signal(signal.SIGINT)
    said = broken.communicate(timeout=60)[1]
    assert broken.returncode == 130 and "*** stopped; --resume goes on from the checkpoint in broken" in said
    assert not (tmp_path / "broken" / "resid_pre.0.safetensors").exists() and "Traceback" not in said
    subprocess.run(
        [*command, "--out", "broken", "--resume"],
        cwd=tmp_path,
        env=environment(),
        check=True,
        capture_output=True,
    )
    name = "resid_pre.0.safetensors"
    assert content(tmp_path / "whole" / name) == content(tmp_path / "broken" / name)


def torchrun(folder: Path, *words: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*launcher, "-m", "tdb_tui", "sae", "train", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["topk", "batchtopk", "l1"])
def test_two_processes_train_the_dictionary_that_one_does_to_the_bit(
    tmp_path: Path, text: Path, rule: str
) -> None:
    words = (
        "--text",
        str(text),
        "--site",
        "mlp_out.1",
        "--rule",
        rule,
        *SMALL,
        "--steps",
        "12",
        "--dead-after",
        "128",
    )
    words = (*words, "--resample", "3")
    one = [sys.executable, "-m", "tdb_tui", "sae", "train", *words, "--out", "one"]
    subprocess.run(one, cwd=tmp_path, env=environment(), check=True, capture_output=True)
    torchrun(tmp_path, *words, "--out", "two")
    for name in ("mlp_out.1.safetensors", "checkpoint.safetensors"):
        assert content(tmp_path / "one" / name) == content(tmp_path / "two" / name)


@pytest.mark.slow
def test_two_processes_may_train_dictionaries_of_their_own(tmp_path: Path, text: Path) -> None:
    words = ("--text", str(text), "--site", "mlp_out.0", "--site", "mlp_out.1", "--site", "z.2", *SMALL)
    torchrun(tmp_path, *words, "--apart", "--out", "two")
    found = {path.name for path in (tmp_path / "two").glob("*.safetensors")}
    assert found == {
        *(f"{name}.safetensors" for name in ("mlp_out.0", "mlp_out.1", "z.2")),
        *(f"checkpoint.{rank}of2.safetensors" for rank in (0, 1)),
    }


def report(density: list[float]) -> Report:
    damage = (Damage(2.1, 0.1), Damage(3.0, 1.0), Damage(2.5, 0.5))
    return Report(
        "mlp_out.0", 1000, 3.5, 0.25, 2.0, *damage, torch.tensor(density), torch.tensor([0.5, 0.95])
    )


def test_the_histogram_counts_every_latent_once() -> None:
    density = torch.tensor([0.0, 0.0, 1e-6, 1e-5, 2e-5, 0.1, 0.11, 1.0], dtype=torch.float64)
    rows = counted(density)
    assert rows[0] == (0.0, 0.0, 2) and sum(count for *_, count in rows) == 8
    lows, highs = np.array([row[0] for row in rows[1:]]), np.array([row[1] for row in rows[1:]])
    assert np.allclose(lows[1:], highs[:-1]) and highs[-1] == 1.0


@pytest.mark.parametrize("width", [40, 80, 120])
def test_bars_fit_the_terminal_and_the_longest_is_of_the_most(width: int) -> None:
    lines = drawn_bars(torch.tensor([0.0] + [0.02] * 9), width)
    assert max(map(len, lines)) <= max(width, 42)
    lengths = {line[:20].strip(): line.count("█") for line in lines}
    assert max(lengths, key=lengths.__getitem__) == "1% to 3.2%" and lengths["no token"] >= 1


def test_a_report_as_data_and_as_text_say_the_same() -> None:
    given = report([0.0, 0.2])
    data = as_data(given)
    assert data["ce_recovered"] == {"zero": pytest.approx(0.9), "mean": pytest.approx(0.8)}
    assert data["kl_recovered"] == {"zero": pytest.approx(0.9), "mean": pytest.approx(0.8)}
    assert (data["dead"], data["dense"], data["decoder_similarity"]["above_0.9"]) == (1, 1, 1)
    assert as_text([given], 80).splitlines()[1].split() == (
        "mlp_out.0 2 3.5 0.2500 0.900 0.800 0.900 0.800 1 1 0.73".split()
    )


def test_progress_is_a_line_or_a_table_of_the_same_figures() -> None:
    figures = (Figures("mlp_out.0", 0.5, 3.0, 0.25, 7), Figures("mlp_out.1", 0.3, 5.0, 0.15, 2))
    step = Progress(3, 10, 1e-3, figures)
    assert line(step, 1234.5) == "step 3/10  loss 0.4000  L0 4.0  FVU 0.2000  dead 7  1,234 tokens/s"
    assert line(Tokenising(12345), None) == "12,345 tokens of text"
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(drawn(step, 100.0, batch=10))
    said = console.export_text()
    assert "mlp_out.1" in said and "0.2500" in said and "step 3/10" in said and "1s left" in said
    assert (duration(59), duration(61), duration(3 * 3600 + 300)) == ("59s", "1m", "3h 05m")
    clock = Clock(10)
    assert clock.note(step) is None and clock.note(Tokenising(1)) is None
