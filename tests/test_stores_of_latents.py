"""What a store says of latents is told of the dictionary that it was collated with, and of no other."""

from pathlib import Path

import pytest
import torch

from explanations.demo import STORE
from explanations.records import Sampling
from model.demo.__main__ import BUNDLED
from model.sites import Site
from model.weights import model_hash
from sae.demo.bundle import BUNDLED as DICTIONARIES
from sae.files import save_autoencoder
from tdb_tui.saes import families
from tdb_tui.state import Sae
from tdb_tui.stores import Stores
from tests.dictionaries import random_dictionary


@pytest.fixture
def stores() -> Stores:
    return Stores(lambda: model_hash(BUNDLED), [STORE])


def known(stores: Stores, node: str) -> tuple[bool, ...]:
    return (
        stores.statistics(node) is not None,
        bool(stores.examples(node, Sampling.TOP)),
        node in stores.best([node, "N1.3"]),
        bool(stores.explanations(node)),
    )


def test_of_another_dictionary_nothing_is_told(stores: Stores, tmp_path: Path) -> None:
    node = next(hit.node for hit in stores.search("to", 100) if hit.node.startswith("Fm1."))
    assert all(known(stores, node))
    own, other = DICTIONARIES / "mlp_out.1.safetensors", tmp_path / "other.safetensors"
    save_autoencoder(random_dictionary((Site.MLP_OUT, 1), dtype=torch.float32), other)
    stores.saes = families([Sae(str(own), "mlp_out.1"), Sae(str(other), "attn_out.1")])
    assert all(known(stores, node)) and stores.statistics("N1.3") is not None
    stores.saes = families([Sae(str(other), "mlp_out.1")])
    assert not any(known(stores, node)) and stores.statistics("N1.3") is not None
    assert node not in {hit.node for hit in stores.search("to", 100)}
