"""The dictionaries of the demo model: which they are, how they are trained, and the text for it."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

import numpy as np
import torch

import model.demo
from model.corpus import Corpus
from model.demo.text import ALL_KINDS, batch
from model.sites import Site
from model.tokenizer import Tokenizer, load_tokenizer
from model.weights import load_model
from sae.activations import Source
from sae.training.loop import Progress
from sae.training.plan import Plan, Target
from sae.training.rules import TopK
from sae.training.run import model_data, run
from sae.training.schedule import Schedule

BUNDLED = Path(__file__).parent / "gpt2-demo"
MODEL = Path(model.demo.__path__[0]) / "gpt2-demo"
COMMAND = "python -m sae.demo train --out DIR"
TARGETS = tuple(
    Target((site, layer), (site, layer)) for layer in range(6) for site in (Site.ATTN_OUT, Site.MLP_OUT)
)
PLAN = Plan(
    rule=TopK(10),
    schedule=Schedule(steps=800, learning_rate=2e-3),
    n_latent=512,
    batch=1024,
    shards=1,
    aux_k=128,
    dead_after=60_000,
    resample_every=150,
)
LENGTH = 128
"""Tokens of a row; each begins with a document, as a prompt does."""
ROWS = 12_000
HELD_OUT_ROWS = 192
DROP_AFTER = 12_000
"""Latents silent for the last so many activations of training are left out."""


def corpus(tokenizer: Tokenizer, seed: int, rows: int) -> Corpus:
    """Rows of the demo model's training text, drawn anew."""
    assert tokenizer.eos is not None
    drawn = (
        batch(Random(f"sae.{seed}.{number}"), ALL_KINDS, (1, LENGTH), tokenizer.encode, tokenizer.eos)[0]
        for number in range(rows)
    )
    return Corpus(np.fromiter(chain.from_iterable(drawn), dtype=np.uint32), LENGTH, first=None)


def held_out(tokenizer: Tokenizer) -> Corpus:
    """Rows that are drawn apart from those of training."""
    return corpus(tokenizer, 1, HELD_OUT_ROWS)


def trained(plan: Plan) -> str:
    """What was done, in sentences."""
    return (
        f"Each was trained with {plan.n_latent} latents, {getattr(plan.rule, 'k', '')} of them active a token (TopK, "
        f"Gao et al. 2024), on {plan.schedule.steps * plan.batch:,} activations of the demo model's own kind of text.  "
        f"Latents that had not been active for the last {DROP_AFTER:,} of those were left out at the end, which "
        "changes nothing that the others do."
    )


def train_bundle(
    plan: Plan, directory: Path, resume: bool, asked_to_stop: Callable[[], bool]
) -> Iterator[Progress]:
    """Train all of them into `directory`, in half precision; see `sae.training.run`."""
    gpt2, tokenizer = load_model(MODEL), load_tokenizer(MODEL)
    source = Source(gpt2, corpus(tokenizer, 0, ROWS), tuple(target.reads for target in TARGETS), rows=128)
    yield from run(
        TARGETS,
        plan,
        model_data(source, f"demo text, {ROWS} rows of {LENGTH}"),
        directory,
        resume=resume,
        checkpoint_every=100,
        dtype=torch.float16,
        drop_after=DROP_AFTER,
        notes={"plan": repr(plan), "trained": trained(plan)},
        asked_to_stop=asked_to_stop,
    )
