"""Which model is meant, and where it lies on this machine.  Nothing is downloaded, and torch stays out."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import model

REPOSITORIES = {
    "gpt2": ("openai-community/gpt2", "gpt2"),
    "gpt2-medium": ("openai-community/gpt2-medium", "gpt2-medium"),
    "gpt2-large": ("openai-community/gpt2-large", "gpt2-large"),
    "gpt2-xl": ("openai-community/gpt2-xl", "gpt2-xl"),
    "distilgpt2": ("distilbert/distilgpt2", "distilgpt2"),
}
"""Short name -> where Hugging Face has it, and the older address that caches may still use."""

DEMO = Path(model.__path__[0]) / "demo" / "gpt2-demo"
"""The bundled model."""

WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?")


class ModelNotFound(ValueError):
    """No such model on this machine; one sentence, with the command that mends it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model directory, ready to be loaded."""

    directory: Path
    name: str
    why: str
    """For the first line of the log: what was asked for, or why this one."""


def find_model(name: str | None = None) -> Found:
    """A local directory, a Hugging Face id or a short name -> its directory here; ModelNotFound otherwise.

    Without a name: GPT-2 small where it is in the Hugging Face cache, else the bundled demo model.
    """
    if name is None:
        return _default()
    directory = Path(name).expanduser()
    if name not in REPOSITORIES or (directory / "config.json").is_file():
        if directory.is_dir():
            return _local(directory)
        if _is_path(name):
            raise ModelNotFound(f"no directory {name}: give one with config.json, weights and a tokenizer")
    cached = find_cached(name)
    if cached is None:
        raise ModelNotFound(f"no model '{name}' on this machine: run 'tdb-tui pull {name}' to download it")
    _refuse_incomplete(cached, f"run 'tdb-tui pull {name}' to complete it")
    return Found(cached, name, "from the Hugging Face cache")


def _default() -> Found:
    cached = find_cached("gpt2")
    if cached is not None and not missing_parts(cached):
        return Found(cached, "gpt2", "GPT-2 small, from the Hugging Face cache")
    if (DEMO / "config.json").is_file():
        return Found(DEMO, DEMO.name, "the bundled demo model; 'tdb-tui pull gpt2' gets GPT-2 small")
    raise ModelNotFound("no model on this machine: run 'tdb-tui pull gpt2', or give --model DIR")


def _local(directory: Path) -> Found:
    _refuse_incomplete(directory, "give a Hugging Face GPT-2 directory")
    return Found(directory, directory.resolve().name, f"from {directory}")


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", "/", os.sep)) or name.count("/") > 1


def _refuse_incomplete(directory: Path, cure: str) -> None:
    missing = missing_parts(directory)
    if missing:
        raise ModelNotFound(f"{directory} has no {missing[0]}: {cure}")


def missing_parts(directory: Path) -> list[str]:
    """Which of configuration, weights and tokenizer a model directory lacks."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else set[str]()
    tokenizer = {"vocab.json", "merges.txt"} <= names or "tokenizer.json" in names
    has = {
        "config.json": "config.json" in names,
        "weights": any(WEIGHTS.fullmatch(name) for name in names),
        "tokenizer": tokenizer,
    }
    return [part for part, there in has.items() if not there]


def repositories(name: str) -> tuple[str, ...]:
    """The Hugging Face ids that a name may stand for, the preferred first."""
    return REPOSITORIES.get(name, (name,))


def find_cached(name: str) -> Path | None:
    """The snapshot of a model in the Hugging Face cache, None where there is none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for repository in repositories(name):
        try:
            config = try_to_load_from_cache(repository, "config.json")
        except HFValidationError as error:
            raise ModelNotFound(f"'{name}' is neither a directory nor a Hugging Face id") from error
        if isinstance(config, str):
            return Path(config).parent
    return None


def where_looked() -> list[tuple[str, str]]:
    """Each place that is searched without being told, and what is there."""
    from huggingface_hub import constants

    rows = [("Hugging Face cache", str(constants.HF_HUB_CACHE))]
    for name in REPOSITORIES:
        cached = find_cached(name)
        if cached is not None:
            rows.append((name, _state(cached)))
    return [*rows, ("bundled demo model", _state(DEMO))]


def _state(directory: Path) -> str:
    missing = missing_parts(directory)
    return f"{directory}: {'no ' + ', no '.join(missing) if missing else 'complete'}"
