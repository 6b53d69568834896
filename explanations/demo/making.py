"""How the demo model's store is made: everything collated over held-out text, explained from data, then thinned.

Explanations are made and scored on many more examples than are kept: each says on how many.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from explanations.collation.collecting import Collector, collect
from explanations.collation.corpus import Row
from explanations.collation.finishing import write
from explanations.collation.groups import Group, latents, model_groups
from explanations.collation.plans import Plan
from explanations.demo.text import documents
from explanations.hypotheses.guessing import guess
from explanations.records import Explanation, Sampling, Score
from explanations.schema import Identity
from explanations.splits import split
from explanations.store import Store, open_store
from explanations.writing import put_explanations, thin, writing
from model.demo.__main__ import BUNDLED
from model.files import file_hash
from model.gpt2 import GPT2
from model.tokenizer import Tokenizer, load_tokenizer
from model.weights import load_model, model_hash
from sae.demo.bundle import BUNDLED as DICTIONARIES
from sae.formats import load, parts_of

PLAN = Plan(length=48, batch=32, top=24, active=16, random=16)
KEPT = {Sampling.TOP: 6, Sampling.QUANTILE: 5, Sampling.RANDOM: 3}
"Examples that are shipped."
CONTEXTS = 3
"Texts around peaks that a component is found by."
DIGITS = 4
"Of a score, after the point."
SEED = 20


def identity() -> Identity:
    return Identity(BUNDLED.name, model_hash(BUNDLED))


def collated(path: Path, count: int) -> Iterator[str]:
    """Collate the demo model and its dictionaries over `count` documents; says how far it has come."""
    model, tokenizer = load_model(BUNDLED), load_tokenizer(BUNDLED)
    collector = Collector(model, [*model_groups(model), *latent_groups(model)], PLAN, tokenizer.eos)
    found = collector.nothing()
    texts = [*documents(count, SEED)]
    Random(SEED).shuffle(texts)
    for progress in collect(collector, found, iter(rows(texts, tokenizer))):
        yield f"{progress.tokens:,} tokens"
    corpus = {"files": [{"name": "held-out text"}], "documents": count, "seed": SEED}
    with writing(path, identity()) as connection:
        for node in write(connection, collector, found, tokenizer, corpus):
            yield f"{node} written"


def latent_groups(model: GPT2) -> list[Group]:
    """The latents of every bundled dictionary."""
    return [
        latents(model, load(part).to(dtype=torch.float32), file_hash(part)) for part in parts_of(DICTIONARIES)
    ]


def rows(texts: Sequence[str], tokenizer: Tokenizer) -> list[Row]:
    found: list[Row] = []
    for document, text in enumerate(texts):
        tokens = tokenizer.encode(text, special=False)
        for start in range(0, len(tokens), PLAN.length):
            part = tuple(tokens[start : start + PLAN.length])
            found.append(Row(len(found), part, 0, document, start))
    return found


def explained(path: Path) -> Iterator[str]:
    """The best hypothesis about each component, chosen on some of its examples and scored on others."""
    tokenizer, store = load_tokenizer(BUNDLED), open_store(path)
    found: list[Explanation] = []
    nodes = store.nodes()
    for number, node in enumerate(nodes, 1):
        found += map(rounded, best(store, node, tokenizer))
        yield f"{number:,} of {len(nodes):,} components explained"
    store.close()
    with writing(path, identity()) as connection:
        put_explanations(connection, found)


def best(store: Store, node: str, tokenizer: Tokenizer) -> tuple[Explanation, ...]:
    """One, or none about what is never active."""
    known = store.statistics(node)
    examples = {sampling: store.examples(node, sampling) for sampling in Sampling}
    return guess(node, split(examples), tokenizer.text, known.promoted if known else (), count=1)


def rounded(explanation: Explanation) -> Explanation:
    def short(score: Score) -> Score:
        low, high = (None if end is None else round(end, DIGITS) for end in (score.low, score.high))
        return replace(score, value=round(score.value, DIGITS), low=low, high=high)

    return replace(explanation, scores=tuple(map(short, explanation.scores)))


def thinned(path: Path, kept: Mapping[Sampling, int]) -> None:
    """Leave the examples that are shipped."""
    with writing(path, identity()) as connection:
        thin(connection, kept, CONTEXTS)
