"""The files of a Hugging Face checkpoint directory: found, mapped, named and hashed.  Knows no model."""

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PREFIX = "transformer."
CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
"""Buffers that old checkpoints carry and nothing here needs."""
WHOLE = "model.safetensors", "pytorch_model.bin"
FORMATS = (WHOLE[0], f"{WHOLE[0]}.index.json", WHOLE[1], f"{WHOLE[1]}.index.json")
"""Where weights may lie, the preferred first."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one sentence naming the file or the tensor."""


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Every parameter by its bare name (`h.0.attn.c_attn.weight`), mapped from the files rather than read."""
    found: dict[str, Tensor] = {}
    for path in weight_files(directory):
        mapped = map_safetensors(path)[0] if path.suffix == ".safetensors" else _tensors_of_bin(path)
        for name, tensor in mapped.items():
            bare = name.removeprefix(PREFIX)
            if CAUSAL_MASK.fullmatch(bare):
                continue
            if bare in found:
                raise CheckpointError(f"the weights have two tensors {bare}")
            found[bare] = tensor
    return found


def weight_files(directory: Path) -> list[Path]:
    """The files that hold the weights, in one of FORMATS; CheckpointError where one is missing."""
    source = next((path for path in (directory / name for name in FORMATS) if path.is_file()), None)
    if source is None:
        raise CheckpointError(f"{directory} has no weights: {' or '.join(WHOLE)} was expected")
    return _shards(source) if source.suffix == ".json" else [source]


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise CheckpointError(f"{index.name} names {name}, which is not a file beside it")
    return [index.parent / name for name in names]


def map_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, mapped rather than read, and the texts of its header.  Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path.name}: {_first_line(error)}") from error


def map_bin(path: Path) -> dict[str, Any]:
    """PyTorch's own format, weights only: a file that would run code is refused.  Raises CheckpointError."""
    try:
        with warnings.catch_warnings(action="ignore"):  # they would be written over the screen
            # Files from before torch 1.6 are no zip archives, and cannot be mapped.
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise CheckpointError(f"{path.name} holds more than tensors: nothing in it was run") from error
    except Exception as error:  # a damaged pickle can end in anything
        raise CheckpointError(f"cannot read {path.name}: {_first_line(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.name} is not a table of tensors")
    return {str(name): value for name, value in data.items()}


def _tensors_of_bin(path: Path) -> dict[str, Tensor]:
    data = map_bin(path)
    if not all(isinstance(tensor, Tensor) for tensor in data.values()):
        raise CheckpointError(f"{path.name} is not a table of tensors")
    return data


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path.name}: {_first_line(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.name} is not a JSON object")
    return data


CHUNK = 16 * 2**20
"""Bytes hashed at a time: several chunks at once, as hashing leaves the interpreter free."""


def file_digests(directory: Path) -> Iterator[bytes]:
    """The SHA-256 of every CHUNK of every weight file, in order."""
    with ThreadPoolExecutor() as pool:
        for path in weight_files(directory):
            spans = range(0, path.stat().st_size, CHUNK)
            yield from pool.map(lambda start, path=path: _chunk_digest(path, start), spans)


def file_hash(path: Path) -> str:
    """Sixteen hexadecimal digits that say which file it is.  Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _chunk_digest(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(CHUNK)).digest()
