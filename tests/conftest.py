"""Fixtures that every test may use: the tiny models, one thread, a home of its own."""

import os
from collections.abc import Iterator

import pytest
import torch

from model.edits.interventions import Sources
from model.gpt2 import GPT2
from tests.naive import Naive
from tests.tiny import TINY, random_model, sources_of

FOREIGN = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_CACHE")
HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from, or left in, the directories of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("home")
        for name in FOREIGN:
            patch.delenv(name, raising=False)
        for name in os.environ:
            if name.startswith("TDB_") and name != "TDB_SHARED":
                patch.delenv(name)
        for name in ("HOME", *HOMES):
            patch.setenv(name, str(base / name.lower()))
            (base / name.lower()).mkdir()
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The models are too small for threads to help, and sums keep one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> GPT2:
    """A random model in float64 that exposes conventions; see `tests/tiny.py`."""
    return random_model()


@pytest.fixture(scope="session")
def tiny32() -> GPT2:
    """The same weights, rounded to float32."""
    return random_model(dtype=torch.float32)


@pytest.fixture(scope="session")
def naive(tiny: GPT2) -> Naive:
    """The same model in numpy loops."""
    return Naive(tiny, TINY.n_layer, TINY.n_head, TINY.ln_eps)


@pytest.fixture(scope="session")
def sources(tiny: GPT2) -> Sources:
    """Means over three prompts and prompt B's run, of `tiny`."""
    return sources_of(tiny)
