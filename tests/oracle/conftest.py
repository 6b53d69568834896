"""Fixtures of the comparisons with TransformerLens: skipped, saying so, where it is not installed."""

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from tests.oracle.bridge import Both, checkpoint


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("transformer_lens") is None:
        skip = pytest.mark.skip(
            reason="needs TransformerLens: pip install -e '.[oracle]' in a venv of its own"
        )
        for item in items:
            if item.get_closest_marker("oracle"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A small model of odd sizes, in float64 on both sides."""
    return Both(checkpoint(tmp_path_factory.mktemp("oracle")))


@pytest.fixture(autouse=True)
def float64_results() -> Iterator[None]:
    """The peer's sweeps store their results in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
