"""`tdb-tui pull sae` against a server on this machine that answers as the Hugging Face hub does."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sae.formats import load
from tdb_tui.machine import pull as pulling
from tdb_tui.machine.pull_saes import saes_among
from tests.loopback import listening
from tests.test_pull import Hub, handler

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two SAEs of SAELens, each in a directory of its own, and what else lies in such repositories."""
    top = tmp_path_factory.mktemp("repository")
    for hook in HOOKS:
        (top / hook).mkdir()
        tensors = {
            "W_enc": torch.randn(16, 40),
            "W_dec": torch.randn(40, 16),
            "b_enc": torch.zeros(40),
            "b_dec": torch.zeros(16),
        }
        save_file(tensors, top / hook / "sae_weights.safetensors")
        save_file({"sparsity": torch.linspace(-8, 0, 40)}, top / hook / "sparsity.safetensors")
        cfg = {"architecture": "standard", "d_in": 16, "d_sae": 40, "hook_name": hook}
        (top / hook / "cfg.json").write_text(json.dumps(cfg))
        (top / hook / "log.txt").write_bytes(b"x" * 1000)
    found = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    return found | {"README.md": b"a card"}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(dict(files), repository="owner/saes")
    with listening(handler(hub)) as hub.url:
        yield hub


def run(hub: Hub, home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(pulling.__file__).parents[2])
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "PYTHONPATH": root,
        "PATH": "",
        "HOME": str(home),
    }
    return subprocess.run(
        [sys.executable, "-m", "tdb_tui", *words],
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_of_several_is_fetched_with_what_is_read_of_it_and_loads(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[0])
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert {each.name for each in path.iterdir()} == {
        "cfg.json",
        "sae_weights.safetensors",
        "sparsity.safetensors",
    }
    found = load(path)
    assert (found.n_latent, str(found.reads[0])) == (40, "resid_pre")
    assert found.density is not None and float(found.density[-1]) == 1
    assert not hub.gets("log.txt") and not [path for _, path, _ in hub.asked if HOOKS[1] in path]


def test_patterns_take_several_and_a_second_time_nothing_is_fetched(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "pull", "sae", "owner/saes", "*")
    assert [Path(line).name for line in done.stdout.splitlines()] == list(HOOKS)
    hub.asked.clear()
    again = run(hub, tmp_path, "pull", "sae", "owner/saes", "blocks.*")
    assert again.stdout == done.stdout
    assert all("/api/" in path for method, path, _ in hub.asked if method == "GET")


def test_a_broken_download_is_one_sentence_and_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = 3_000
    broken = run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[1])
    last = broken.stderr.strip().splitlines()[-1]
    assert broken.returncode and "answered 503" in last and "Traceback" not in broken.stderr
    assert f"run 'tdb-tui pull sae owner/saes {HOOKS[1]}' again to go on from there" in last
    hub.status = None
    hub.asked.clear()
    done = run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[1])
    assert done.returncode == 0, done.stderr
    assert hub.gets("sae_weights.safetensors") == ["bytes=3000-"]
    whole = (Path(done.stdout.strip()) / "sae_weights.safetensors").read_bytes()
    assert whole == hub.files[f"{HOOKS[1]}/sae_weights.safetensors"]


def test_content_that_is_not_what_its_hash_says_is_dropped(hub: Hub, tmp_path: Path) -> None:
    import hashlib

    content = hub.files[f"{HOOKS[0]}/sae_weights.safetensors"]
    blobs = tmp_path / "hf" / "hub" / "models--owner--saes" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(content).hexdigest()}.incomplete").write_bytes(b"\0" * 2_000)
    damaged = run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[0])
    assert damaged.returncode
    last = damaged.stderr.strip().splitlines()[-1]
    assert "sae_weights.safetensors arrived damaged and was dropped: pull again" in last
    assert run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[0]).returncode == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ("owner/saes",),
            f"owner/saes has 2 SAEs ({HOOKS[0]}, {HOOKS[1]}): name those you want, or '*' for all",
        ),
        (
            ("owner/saes", "blocks.0.hook_resid_pr"),
            f"no SAE blocks.0.hook_resid_pr: did you mean '{HOOKS[0]}'?",
        ),
        (("owner/absent",), "no repository 'owner/absent' at http://127.0.0.1"),
        (("not an id",), "'not an id' is not a Hugging Face id: OWNER/NAME"),
        ((), "pull sae needs an id: tdb-tui pull sae OWNER/NAME"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    hub: Hub, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    failed = run(hub, tmp_path, "pull", "sae", *words)
    assert failed.returncode and complaint in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1


def test_what_was_pulled_is_found_by_its_id(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from tdb_tui.saes import _path_of  # pyright: ignore[reportPrivateUsage]

    done = run(hub, tmp_path, "pull", "sae", "owner/saes", HOOKS[0])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    assert _path_of(f"owner/saes/{HOOKS[0]}") == Path(done.stdout.strip())
    assert _path_of("owner/other/x") == Path("owner/other/x")


def test_saes_of_every_form_are_told_from_what_else_there_is() -> None:
    files = [
        "README.md",
        "a/ae.pt",
        "a/config.json",
        "a/b/ae.pt",
        "a/b/config.json",
        "own.safetensors",
        "v5/7.pt",
    ]
    assert saes_among([*files, "c/cfg.json", "c/notes.txt"]) == {
        "a": ["a/ae.pt", "a/config.json"],
        "a/b": ["a/b/ae.pt", "a/b/config.json"],
        "own.safetensors": ["own.safetensors"],
        "v5/7.pt": ["v5/7.pt"],
    }
    assert saes_among(["cfg.json", "sae_weights.safetensors"]) == {
        ".": ["cfg.json", "sae_weights.safetensors"]
    }
