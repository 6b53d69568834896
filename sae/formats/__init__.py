"""Dictionaries from files, whichever library wrote them."""

from collections.abc import Callable
from pathlib import Path

from model.files import CheckpointError, file_hash
from model.sites import Where
from sae.autoencoder import Autoencoder
from sae.files import CHECKPOINT, load_autoencoder
from sae.formats.dictionary_learning import load_dictionary_learning
from sae.formats.openai import load_openai
from sae.formats.saelens import load_saelens
from sae.reading import place_text

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
"A SAELens directory."
TRAINED, SETTINGS = "ae.pt", "config.json"
"One of dictionary_learning."


def load(path: Path, where: Where | None = None) -> Autoencoder:
    """The dictionary in a file or directory, in the dtype it has there.

    `where` is the place that it takes apart, for files that do not say so.  Raises CheckpointError.
    """
    read = _reader(path)
    if read is None:
        raise CheckpointError(f"{path} is no SAE: {_KNOWN} were expected")
    return read(path, where)


def parts_of(path: Path) -> list[Path]:
    """The dictionaries of a path: itself, or what a directory of several has, a training's checkpoint left out.

    Raises CheckpointError.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist")
    if _reader(path) is not None:
        return [path]
    inside = sorted(path.iterdir()) if path.is_dir() else []
    found = [each for each in inside if _reader(each) is not None and not each.name.startswith(CHECKPOINT)]
    if not found:
        raise CheckpointError(f"{path} has no SAE: {_KNOWN} were expected")
    return found


def dictionary_hash(path: Path) -> str:
    """Sixteen digits that say which dictionary a file or directory holds: of its weights.  Raises CheckpointError."""
    inside = (path / name for name in (WEIGHTS, TRAINED))
    return file_hash(next((file for file in inside if file.is_file()), path))


_KNOWN = f"a .safetensors of tdb-tui's, an OpenAI .pt, {CONFIG} with {WEIGHTS}, or {TRAINED} with {SETTINGS}"


def _reader(path: Path) -> Callable[[Path, Where | None], Autoencoder] | None:
    if path.is_dir():
        if (path / CONFIG).is_file():
            return load_saelens
        return load_dictionary_learning if (path / TRAINED).is_file() else None
    return {".safetensors": _own, ".pt": load_openai, ".pth": load_openai}.get(path.suffix)


def _own(path: Path, where: Where | None) -> Autoencoder:
    found, _ = load_autoencoder(path)
    if where not in (None, found.writes):
        raise CheckpointError(f"{path.name} is of {place_text(found.writes)}: give its path alone")
    return found
