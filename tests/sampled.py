"""What is generated, as tokens alone."""

from collections.abc import Iterator
from typing import Any

from model import sampling


def generate(*arguments: Any, **options: Any) -> Iterator[int]:
    """The tokens of `model.sampling.generate`, whose arguments these are."""
    return (step.token for step in sampling.generate(*arguments, **options))
