"""`--device` and `--dtype` as torch understands them, and what to say when a device gives out.

torch is imported inside the functions: `--help` reads this module too.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64", "bfloat16", "float16")


class DeviceError(ValueError):
    """A device or dtype that is not to be had here; one sentence."""


class ComputeError(RuntimeError):
    """A run that the hardware could not finish; one sentence."""


def pick_device(text: str = "auto") -> "torch.device":
    """`auto`, `cpu`, `cuda[:N]` or `mps` -> a device that exists, TF32 off; DeviceError for any other."""
    import torch

    torch.set_float32_matmul_precision("highest")
    if text == "auto":
        return torch.device(_best())
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", text):
        raise DeviceError(f"unknown device '{text}': auto, cpu, cuda, cuda:N or mps")
    device = torch.device(text)
    absent = device.type != "cpu" and device.type not in available()
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceError(f"no device '{text}' on this machine: there is {_and(devices())}")
    return device


def _best() -> str:
    return next(kind for kind in ("cuda", "mps", "cpu") if kind in available())


def available() -> list[str]:
    """The kinds of device that torch can use here, `cpu` first."""
    import torch

    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [kind for kind, there in has.items() if there]


def devices() -> list[str]:
    """Every device by the name that `--device` takes."""
    import torch

    cudas = [f"cuda:{n}" for n in range(torch.cuda.device_count())] if "cuda" in available() else []
    return [*(kind for kind in available() if kind != "cuda"), *cudas]


def pick_dtype(text: str, device: "torch.device | None" = None) -> "torch.dtype":
    """A name in DTYPES -> the dtype; DeviceError for any other, or one that `device` cannot compute in."""
    import torch

    if text not in DTYPES:
        raise DeviceError(f"unknown dtype '{text}': {', '.join(DTYPES)}")
    if text == "float64" and device is not None and device.type == "mps":
        raise DeviceError("mps has no float64: use --device cpu or --dtype float32")
    return getattr(torch, text)


def describe(device: "torch.device") -> str:
    """A device for people: `cpu, 8 threads` or `cuda:0, NVIDIA A100, 79.1 of 79.3 GB free`."""
    import torch

    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' * (threads != 1)}"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return f"cuda:{device.index or 0}, {name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    return str(device)


@contextmanager
def compute_errors() -> Iterator[None]:
    """Around a run: out of memory and a lost device become ComputeError; everything else passes through."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise ComputeError(sentence) from error


def explain(error: BaseException) -> str | None:
    """The sentence for an error that the hardware caused, None for any other."""
    text = str(error)
    if isinstance(error, MemoryError) or re.search(
        r"out of memory|can't allocate memory", text, re.IGNORECASE
    ):
        kind = next((name for name in ("CUDA", "MPS") if name in text), "")
        return f"{kind} out of memory".strip() + _amounts(text)
    lost = re.search(
        r"(CUDA|MPS|HIP|cuBLAS|cuDNN)\b.*?error:? *(.*)|device.*(?:lost|unavailable)", text, re.IGNORECASE
    )
    if lost or type(error).__name__ == "AcceleratorError":
        reason = text.splitlines()[0].rstrip(".") if text else type(error).__name__
        return f"the device stopped working ({reason}): start again, or use --device cpu"
    return None


_BYTES = {
    "bytes": 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
}


def _amounts(text: str) -> str:
    """` (needs ~2.1 GB, 1.4 GB free)`, of which torch's message may hold both, one or none."""
    amount = rf"([\d.]+) ?({'|'.join(_BYTES)})\b"
    needs = re.search(rf"(?:tried to allocate|allocate) {amount}", text, re.IGNORECASE)
    free = re.search(rf"{amount} is free", text)
    parts = [f"needs ~{_gigabytes(needs)} GB"] if needs else []
    parts += [f"{_gigabytes(free)} GB free"] if free else []
    return f" ({', '.join(parts)})" if parts else ""


def _gigabytes(match: re.Match[str]) -> str:
    return f"{float(match[1]) * _BYTES[match[2]] / 1e9:.1f}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
