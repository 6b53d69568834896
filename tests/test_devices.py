"""Devices and dtypes by name, and hardware failures as sentences."""

import pytest
import torch

from tdb_tui.machine.devices import (
    ComputeError,
    DeviceError,
    compute_errors,
    describe,
    devices,
    explain,
    pick_device,
    pick_dtype,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_auto_is_a_device_that_exists_and_computes_without_tf32() -> None:
    device = pick_device("auto")
    assert float(torch.ones(2, device=device).sum()) == 2
    assert torch.get_float32_matmul_precision() == "highest"
    assert describe(device).startswith(device.type)


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:1", "", "cuda:-1"])
def test_an_unknown_device_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=f"unknown device '{text}': auto, cpu, cuda, cuda:N or mps"):
        pick_device(text)


@pytest.mark.parametrize("text", ["cuda", "cuda:0", "mps", "cuda:99"])
def test_an_absent_device_is_refused_with_what_there_is(text: str) -> None:
    if text in devices() or (text == "cuda" and torch.cuda.is_available()):
        pytest.skip(f"{text} is here")
    with pytest.raises(DeviceError, match=f"no device '{text}' on this machine: there is cpu"):
        pick_device(text)


def test_dtypes_go_by_their_names() -> None:
    assert (
        pick_dtype("float32") is torch.float32
        and pick_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    )
    with pytest.raises(DeviceError, match="unknown dtype 'int8': float32, float64, bfloat16, float16"):
        pick_dtype("int8")
    with pytest.raises(DeviceError, match="mps has no float64"):
        pick_dtype("float64", torch.device("mps"))


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "CUDA out of memory. Tried to allocate 1.96 GiB. GPU 0 has a total capacity of 79.15 GiB of which "
            "1.30 GiB is free. Including non-PyTorch memory, this process has 7 GiB memory in use.",
            "CUDA out of memory (needs ~2.1 GB, 1.4 GB free)",
        ),
        (
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)",
            "out of memory (needs ~4000.0 GB)",
        ),
        (
            "MPS backend out of memory (MPS allocated: 9.0 GB). Tried to allocate 256.00 MiB on private pool.",
            "MPS out of memory (needs ~0.3 GB)",
        ),
        (
            "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later.",
            "the device stopped working (CUDA error: device-side assert triggered): "
            "start again, or use --device cpu",
        ),
    ],
)
def test_hardware_failures_are_sentences(message: str, sentence: str) -> None:
    assert explain(RuntimeError(message)) == sentence
    with pytest.raises(ComputeError) as caught, compute_errors():
        raise RuntimeError(message)
    assert str(caught.value) == sentence


def test_an_allocation_that_no_machine_can_serve_is_a_sentence() -> None:
    with pytest.raises(ComputeError, match=r"out of memory \(needs ~4000000.0 GB\)"), compute_errors():
        torch.empty(10**15, dtype=torch.float32)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught, compute_errors():
        _ = torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(caught.value, ComputeError)
    with pytest.raises(ValueError, match="x"), compute_errors():
        raise ValueError("x")


@needs_cuda
def test_too_much_for_the_gpu_is_a_sentence() -> None:
    with (
        pytest.raises(ComputeError, match=r"CUDA out of memory \(needs ~4000.0 GB, .* GB free\)"),
        compute_errors(),
    ):
        torch.empty(10**12, dtype=torch.float32, device=pick_device("cuda"))
