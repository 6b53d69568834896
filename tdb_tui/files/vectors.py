"""A direction of the residual stream from a file: .npy, or .safetensors with one tensor."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from tdb_tui.errors import CommandError

SUFFIXES = (".npy", ".safetensors")


def read_vector(path: Path, d_model: int) -> tuple[float, ...]:
    """`d_model` finite numbers.  Raises CommandError for a file that does not hold just that."""
    try:
        path.stat()  # says best what is wrong with a file that is not there
        found = _safetensors(path, d_model) if path.suffix == ".safetensors" else _npy(path, d_model)
    except OSError as error:
        said = (error.strerror or f"it is no {path.suffix} file").lower()
        raise CommandError(f"cannot read {path}: {said}", code="no-file") from None
    except (EOFError, ValueError, SafetensorError):
        raise CommandError(f"cannot read {path}: it is no {path.suffix} file", code="bad-file") from None
    if not all(map(np.isfinite, found)):
        raise CommandError(f"{path} holds numbers that are not finite: a direction has none", code="bad-file")
    return found


def _npy(path: Path, d_model: int) -> tuple[float, ...]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise CommandError(f"{path} holds no array of numbers: a vector was expected", code="bad-file")
    _refuse_shape(path, array.shape, d_model)
    return tuple(np.asarray(array, dtype=np.float64).ravel().tolist())


def _safetensors(path: Path, d_model: int) -> tuple[float, ...]:
    with safe_open(path, framework="pt", device="cpu") as file:
        names = list(file.keys())
        if len(names) != 1:
            message = f"{path} holds {len(names)} tensors: one with {d_model} numbers was expected"
            raise CommandError(message, code="bad-file")
        _refuse_shape(path, tuple(file.get_slice(names[0]).get_shape()), d_model)
        tensor = file.get_tensor(names[0])
    if tensor.is_complex():
        raise CommandError(f"{path} holds complex numbers: a direction has real ones", code="bad-file")
    return tuple(tensor.to(torch.float64).flatten().tolist())


def _refuse_shape(path: Path, shape: tuple[int, ...], d_model: int) -> None:
    if sum(size != 1 for size in shape) > 1 or np.prod(shape, dtype=np.int64) != d_model:
        held = "[" + ", ".join(map(str, shape)) + "]"
        raise CommandError(
            f"{path} holds {held}: a vector of {d_model} numbers was expected", code="bad-file"
        )
