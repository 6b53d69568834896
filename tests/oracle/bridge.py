"""One checkpoint on disk, as this project reads it and as TransformerLens 4.3 does.

TransformerLens changes weights where it is asked to, so each comparison says which of its models it is made with:

    plain    `enable_compatibility_mode(no_processing=True)`: the checkpoint's own weights, hooks with the field's names
    folded   layer norms folded into what reads, writes and W_U centred, value biases left where they are; the peer
             folds in float32, so that numbers agree to FOLDED and no better
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.gpt2 import GPT2, Config
from model.metrics import Metric, Quantity
from model.trace import Trace, record
from model.weights import load_model, save_model
from tests.tiny import random_model

ODD = Config(n_layer=3, n_head=5, d_model=35, d_mlp=52, n_ctx=19, n_vocab=113)
"No two sizes alike, so that swapped axes show."

SMALL = Config(n_layer=12, n_head=12, d_model=768, d_mlp=3072, n_ctx=32, n_vocab=50257)
"GPT-2 small, but for a context that is no longer than needed."

CLEAN, CORRUPT = (5, 17, 17, 80, 2, 111, 42, 17, 80), (5, 33, 17, 80, 7, 110, 42, 33, 90)
END = len(CLEAN) - 1
LD = Metric(Quantity.LOGIT_DIFF, (41,), (98,), END)

EXACT = 1e-9
"Float64 on both sides: what the order of summation may change."
FOLDED = 2e-5
"Of the largest number compared, where the peer's weights went through float32."


@dataclass(eq=False)
class Both:
    """The two sides; the peer's models are made when a test first asks for them."""

    directory: Path
    metric: Metric = LD
    clean: tuple[int, ...] = CLEAN
    corrupt: tuple[int, ...] = CORRUPT

    @cached_property
    def model(self) -> GPT2:
        return load_model(self.directory, torch.float64)

    @cached_property
    def trace(self) -> Trace:
        """The clean run."""
        return record(self.model, self.clean)

    @cached_property
    def other(self) -> Trace:
        """The corrupted run."""
        return record(self.model, self.corrupt)

    @cached_property
    def plain(self) -> Any:
        bridge = boot(self.directory)
        bridge.enable_compatibility_mode(no_processing=True)
        return bridge

    @cached_property
    def folded(self) -> Any:
        bridge = boot(self.directory)
        bridge.enable_compatibility_mode(fold_value_biases=False)
        return bridge

    @cached_property
    def cache(self) -> Any:
        """The peer's record of the clean run, on its plain model."""
        return run(self.plain, self.clean)[1]

    @cached_property
    def other_cache(self) -> Any:
        return run(self.plain, self.corrupt)[1]

    def metric_of(self, logits: Tensor) -> Tensor:
        """The metric as the peer's calls want it: logits [batch, pos, vocab] -> []."""
        return self.metric.of(logits[0, self.metric.pos])


def peer(module: str) -> Any:
    """A module of TransformerLens, which nothing else here imports."""
    return pytest.importorskip(f"transformer_lens.{module}")


def boot(directory: Path) -> Any:
    """TransformerLens's model of a checkpoint directory, in float64 and without a tokenizer."""
    return peer("model_bridge").TransformerBridge.boot_transformers(str(directory), dtype=torch.float64)


def run(bridge: Any, tokens: Sequence[int]) -> tuple[Tensor, Any]:
    """Logits [1, pos, vocab] and the cache."""
    with torch.no_grad():
        return bridge.run_with_cache(ids(tokens))


def ids(tokens: Sequence[int]) -> Tensor:
    return torch.tensor([list(tokens)])


def checkpoint(directory: Path) -> Path:
    """A small random model on which a wrong convention shows, written to disk."""
    save_model(random_model(ODD), directory, torch.float64)
    return directory


def small_checkpoint(directory: Path) -> Path:
    """GPT-2 small's shape.  Its matrices are less large: twelve layers would make chaos of rounding."""
    model = random_model(SMALL, dtype=torch.float32)
    for parameter in model.parameters():
        parameter.mul_(0.25 if parameter.ndim > 1 else 1.0)
    save_model(model, directory)
    return directory


def close(ours: Tensor, theirs: Tensor, tolerance: float = EXACT) -> None:
    """Equal to `tolerance` of the largest number, and of the same shape."""
    assert ours.shape == theirs.shape
    difference = (ours.double() - theirs.double()).abs().max()
    assert difference <= tolerance * max(1.0, float(theirs.abs().max())), f"off by {float(difference):.3g}"
