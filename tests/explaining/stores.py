"""Stores about the bundled model in which components were planted, without a model having run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from explanations.bins import COUNT
from explanations.blobs import NO_KEY, Slots, encode
from explanations.questions import places
from explanations.records import Example, Moments, Sequence
from explanations.schema import Identity
from explanations.writing import Collated, Family, begin_collation, put_component, put_sequences, writing
from model.weights import model_hash
from tdb_tui.machine.models import find_model
from tests.explanations.held import Does, collated


def identity() -> Identity:
    return Identity("gpt2-demo", model_hash(find_model(None).directory))


def planted(path: Path, components: Mapping[str, Does]) -> Path:
    """A store at `path` with what each component does in the same 400 texts."""
    kept = {node: collated(does) for node, does in components.items()}
    every = {example.tokens for samples in kept.values() for found in samples.values() for example in found}
    ordinals = {tokens: number for number, tokens in enumerate(sorted(every))}
    with writing(path, identity()) as connection:
        number = begin_collation(connection, {}, {}, (400, 9600), [Family("N")])
        put_sequences(connection, number, [Sequence(tokens, "planted") for tokens in ordinals])
        for node, samples in kept.items():
            slots = {sampling: _slots(found, ordinals) for sampling, found in samples.items() if found}
            moments = Moments(9600, 0.1, 1.0, 0.0, 3.0)
            counts = np.zeros(COUNT, np.int64)
            put_component(connection, "N", Collated(node, moments, 3.0, 0.1, counts, slots))
    return path


def _slots(found: list[Example], ordinals: Mapping[tuple[int, ...], int]) -> Slots:
    codes, low, high = zip(*(encode(places(each.activations)) for each in found), strict=True)
    return Slots(
        np.array([ordinals[each.tokens] for each in found], np.uint32),
        np.array([each.peak for each in found], np.uint16),
        np.array([NO_KEY if each.key is None else each.key for each in found], np.uint16),
        np.array([each.value for each in found], np.float32),
        np.array(low),
        np.array(high),
        np.array(codes),
    )
