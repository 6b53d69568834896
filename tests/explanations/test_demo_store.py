"""The store that comes with the demo model: whole, explained, scored, small, and about these very weights."""

from collections.abc import Iterator

import pytest

from explanations.demo import STORE
from explanations.demo.making import KEPT
from explanations.records import Sampling
from explanations.store import Store, open_store
from model.demo.__main__ import BUNDLED
from model.files import file_hash
from model.gpt2 import Config
from model.weights import model_hash, read_config
from sae.demo.bundle import BUNDLED as DICTIONARIES
from sae.formats import load, parts_of

LARGEST = 15_000_000
"Bytes that may be shipped."


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    found = open_store(STORE, model_hash(BUNDLED))
    yield found
    found.close()


@pytest.fixture(scope="module")
def config() -> Config:
    return read_config(BUNDLED)


def test_it_is_small_enough_to_be_shipped() -> None:
    assert STORE.stat().st_size < LARGEST


def test_it_holds_every_neuron_head_mlp_and_latent(store: Store, config: Config) -> None:
    heads = {f"L{layer}H{head}" for layer in range(config.n_layer) for head in range(config.n_head)}
    neurons = {f"N{layer}.{index}" for layer in range(config.n_layer) for index in range(config.d_mlp)}
    mlps = {f"M{layer}" for layer in range(config.n_layer)}
    found = set(store.nodes())
    latents = {node for node in found if node.startswith("F")}
    assert found == heads | neurons | mlps | latents
    assert len(latents) == sum(load(part).n_latent for part in parts_of(DICTIONARIES))


def test_its_latents_are_those_of_the_bundled_dictionaries(store: Store) -> None:
    hashes = {file_hash(part) for part in parts_of(DICTIONARIES)}
    assert {source for family, source in store.sources().items() if family.startswith("F")} == hashes


def test_whatever_is_active_in_it_is_explained_and_scored_on_texts_held_out(store: Store) -> None:
    nodes = store.nodes()
    best = store.best(nodes)
    silent = [node for node in nodes if node not in best]
    assert len(silent) < 0.03 * len(nodes)
    for node in silent[:50]:
        known = store.statistics(node)
        assert known is not None and (known.density is None or known.density < 0.001)
    for node in ("L5H0", "N3.17", "M2", "Fa5.196", "Fm0.0"):
        [found] = store.explanations(node)
        assert found.text and found.model == "" and found.score is not None
        assert sum(found.scores[0].samples.values()) >= 5 and sum(found.samples.values()) >= 10
        assert len(store.examples(node, Sampling.TOP)) == KEPT[Sampling.TOP]
        assert len(store.examples(node, Sampling.RANDOM)) == KEPT[Sampling.RANDOM]
