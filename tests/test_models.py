"""Which model a name means on this machine, with the Hugging Face cache made by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from tdb_tui.machine import models
from tdb_tui.machine.models import Found, ModelNotFound, find_model, where_looked

FILES = ("config.json", "model.safetensors", "vocab.json", "merges.txt")


def fill(directory: Path, files: tuple[str, ...] = FILES) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in files:
        (directory / name).write_text("{}")
    return directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a bundled model, and an empty working directory."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models, "DEMO", fill(tmp_path / "gpt2-demo"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "hub"


def put(cache: Path, repository: str, files: tuple[str, ...] = FILES) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c" * 40)
    return fill(folder / "snapshots" / ("c" * 40), files)


def refusal(name: str | None) -> str:
    with pytest.raises(ModelNotFound) as caught:
        find_model(name)
    return str(caught.value)


def test_without_a_name_it_is_gpt2_where_that_is_cached_and_else_the_bundled_model(cache: Path) -> None:
    demo = find_model()
    assert (demo.directory, demo.name) == (models.DEMO, "gpt2-demo")
    snapshot = put(cache, "openai-community/gpt2")
    assert find_model() == Found(snapshot, "gpt2", "GPT-2 small, from the Hugging Face cache")


def test_a_half_pulled_gpt2_is_not_chosen_unasked(cache: Path) -> None:
    put(cache, "gpt2", ("config.json",))
    assert find_model().name == "gpt2-demo"
    assert "has no weights: run 'tdb-tui pull gpt2' to complete it" in refusal("gpt2")


def test_short_names_are_found_under_their_new_and_old_addresses(cache: Path) -> None:
    old = put(cache, "gpt2-medium")
    assert find_model("gpt2-medium").directory == old
    new = put(cache, "openai-community/gpt2-medium")
    assert find_model("gpt2-medium").directory == new
    assert find_model("openai-community/gpt2-medium").directory == new


@pytest.mark.parametrize("name", ["gpt2-xl", "distilgpt2", "someone/some-gpt2"])
def test_an_absent_model_comes_with_the_command_that_gets_it(name: str) -> None:
    assert refusal(name) == f"no model '{name}' on this machine: run 'tdb-tui pull {name}' to download it"


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    directory = fill(tmp_path / "my-gpt2", ("config.json", "pytorch_model.bin", "tokenizer.json"))
    assert find_model(str(directory)) == Found(directory, "my-gpt2", f"from {directory}")
    fill(Path("relative"))
    assert find_model("relative").name == find_model("./relative").name == "relative"


def test_a_directory_beats_a_repository_of_the_same_name_only_if_it_holds_a_model(cache: Path) -> None:
    snapshot = put(cache, "gpt2")
    Path("gpt2").mkdir()
    assert find_model("gpt2").directory == snapshot
    fill(Path("gpt2"))
    assert find_model("gpt2").directory == Path("gpt2")


@pytest.mark.parametrize("missing", FILES)
def test_what_a_directory_lacks_is_named(tmp_path: Path, missing: str) -> None:
    directory = fill(tmp_path / "partial", tuple(name for name in FILES if name != missing))
    part = {"model.safetensors": "weights", "vocab.json": "tokenizer", "merges.txt": "tokenizer"}.get(
        missing, missing
    )
    assert f"has no {part}: " in refusal(str(directory))


@pytest.mark.parametrize("name", ["./absent", "/no/such/place", "~/no-such-model", "a/b/c"])
def test_a_path_that_is_not_there_is_called_a_directory(name: str) -> None:
    assert refusal(name).startswith(f"no directory {name}: ")


def test_a_name_that_can_be_neither_is_refused() -> None:
    assert refusal("not an id") == "'not an id' is neither a directory nor a Hugging Face id"


def test_with_nothing_here_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "DEMO", tmp_path / "absent")
    assert refusal(None) == "no model on this machine: run 'tdb-tui pull gpt2', or give --model DIR"


def test_where_it_looked_says_what_is_there(cache: Path) -> None:
    snapshot = put(cache, "openai-community/gpt2-large", ("config.json",))
    assert where_looked() == [
        ("Hugging Face cache", str(cache)),
        ("gpt2-large", f"{snapshot}: no weights, no tokenizer"),
        ("bundled demo model", f"{models.DEMO}: complete"),
    ]


def test_finding_a_model_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom tdb_tui.machine.models import *\ntry: find_model()\nexcept ModelNotFound: pass\n"
    )
    program += "from tdb_tui.machine import devices, pull, doctor\nprint('torch' in sys.modules, 'textual' in sys.modules)"
    environment = {"PATH": "", "HF_HOME": str(tmp_path), "PYTHONPATH": str(Path(models.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=os.curdir,
    )
    assert done.stdout.strip() == "False False", done.stderr
