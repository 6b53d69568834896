"""Published files into a store: every number and token as it was published, and what is damaged in one sentence."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explanations.published import parsing
from explanations.published.catalogue import GELU, METHOD, Place, model_name, place_of
from explanations.published.filing import Spelling, file_away, spelling
from explanations.published.neuronpedia import feature
from explanations.published.openai import explanations, record
from explanations.published.parsing import square
from explanations.published.records import Published, PublishedError
from explanations.records import Moments, Origin, Sampling
from explanations.schema import Identity, StoreError
from explanations.store import Store, open_store
from explanations.writing import Collated, Family, begin_collation, put_component, writing
from model.components import Component, Kind
from model.gpt2 import Config
from model.tokenizer import load_tokenizer
from tests.publications import published_files as files
from tests.sessions import write_vocabulary

GPT2 = Path(os.environ.get("TDB_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "gpt2-tokenizer"
NEURON, HEAD = Component(Kind.NEURON, 3, 17), Component(Kind.HEAD, 3, 1)
LATENT = Component(Kind.LATENT, 6, 650, "r")
ABOUT, OTHER = Origin("OpenAI 2023", "neurons", GELU), Origin("Neuronpedia res-jb", "latents")
IDENTITY = Identity("tiny", "0" * 16)


@pytest.fixture(scope="module")
def spelled(tmp_path_factory: pytest.TempPathFactory) -> Spelling:
    directory = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(directory)
    return spelling(load_tokenizer(directory))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "published.store"


def filed(path: Path, spelled: Spelling, found: Sequence[Published], about: Origin = ABOUT) -> Store:
    with writing(path, IDENTITY) as connection:
        assert file_away(connection, about, found, spelled) == len(found)
    return open_store(path)


def texts(spelled: Spelling, tokens: Sequence[int]) -> list[str]:
    return [spelled.tokenizer.text(token) for token in tokens]


@pytest.mark.parametrize("old", [False, True])
def test_a_neuron_is_in_the_store_as_it_was_published(path: Path, spelled: Spelling, old: bool) -> None:
    told = files.neuron_record(3, 17, old=old)
    store = filed(path, spelled, [record(files.as_bytes(told), NEURON, False, "x")])
    top = store.examples("N3.17", Sampling.TOP)
    theirs = sorted(told["most_positive_activation_records"], key=lambda each: -max(each["activations"]))
    assert [each.value for each in top] == pytest.approx([max(each["activations"]) for each in theirs])
    for mine, their in zip(top, theirs, strict=True):
        spread = max(their["activations"]) - min(their["activations"])
        assert mine.activations == pytest.approx(their["activations"], abs=spread / 255)
        assert mine.peak == int(np.argmax(their["activations"])) and mine.key is None
        assert texts(spelled, mine.tokens) == their["tokens"]
        assert mine.source == "OpenAI 2023, N3.17"
    assert [len(store.examples("N3.17", sampling)) for sampling in Sampling] == [4, 4, 3]
    random = [max(each["activations"]) for each in told["random_sample"]]
    assert [each.value for each in store.examples("N3.17", Sampling.RANDOM)] == pytest.approx(random)
    found = store.statistics("N3.17")
    assert found is not None and found.origin == ABOUT and found.max == top[0].value
    assert found.moments == Moments(0, 0.1, 0.25, 1.5, 4.0)
    assert [hit.node for hit in store.search("Mary", 5)] == ["N3.17"]


def test_pairs_of_tokens_are_unfolded_row_by_row(path: Path, spelled: Spelling) -> None:
    told = files.neuron_record(3, 1, pairs=True)
    store = filed(path, spelled, [record(files.as_bytes(told), HEAD, True, "x")])
    example = store.examples("L3H1", Sampling.TOP, 1)[0]
    theirs = max(told["most_positive_activation_records"], key=lambda each: max(each["activations"]))
    flat = theirs["activations"]
    for query in range(len(files.TOKENS)):
        for key in range(query + 1):
            there = flat[query * (query + 1) // 2 + key]
            assert example.activations[query, key] == pytest.approx(there, abs=max(flat) / 255)
    assert example.key is not None
    assert flat[example.peak * (example.peak + 1) // 2 + example.key] == max(flat)


@pytest.mark.parametrize("most", [1, 3, 6, 7])
def test_rows_that_end_hold_the_first_keys(most: int) -> None:
    rows = [[10 * query + key for key in range(min(query + 1, most))] for query in range(7)]
    found = square(np.array([each for row in rows for each in row], np.float32), 7, "x")
    for query in range(7):
        for key in range(7):
            assert found[query, key] == (rows[query][key] if key < len(rows[query]) else 0)


def test_explanations_keep_their_scores_under_our_names(path: Path, spelled: Spelling) -> None:
    told = files.as_bytes(files.simulation_results(3, 17)) + b"\n"
    store = filed(path, spelled, [Published("N3.17", explanations=explanations(told, NEURON, METHOD, "x"))])
    [found] = store.explanations("N3.17")
    assert (found.text, found.method, found.score) == (files.TEXT, METHOD, 0.37)
    assert {score.name: score.value for score in found.scores} == {
        "correlation": 0.37,
        "r2": 0.14,
        "absolute deviation": 0.06,
    }
    assert found.scores[0].samples == {"published": 10}
    assert store.statistics("N3.17") is None
    none = json.dumps(files.simulation_results(3, 17, score=float("nan"))).encode()
    [unscored] = explanations(none, NEURON, METHOD, "x")
    assert [score.name for score in unscored.scores] == ["r2", "absolute deviation"]


def test_a_heads_explanation_has_its_area_under_the_curve() -> None:
    pair = {
        "tokens": list(files.TOKENS),
        "token_pair_coords": [3, 1],
        "token_pair_label": 1,
        "simulation_prediction": 0.9,
    }
    scored = {"roc_auc_score": 0.8, "attention_simulations": [pair] * 4}
    told = {
        "attention_head_id": {"layer_index": 3, "head_index": 1},
        "scored_explanations": [{"explanation": "attends to names", "scored_attention_simulation": scored}],
    }
    [found] = explanations(files.as_bytes(told), HEAD, METHOD, "x")
    assert [(score.name, score.value, score.samples) for score in found.scores] == [
        ("auc", 0.8, {"published": 4})
    ]


def test_a_feature_of_neuronpedia(path: Path, spelled: Spelling) -> None:
    told = files.feature("6-res-jb", 650)
    store = filed(path, spelled, [feature(files.as_bytes(told), LATENT, "6-res-jb", "x")], OTHER)
    [found] = store.explanations("Fr6.650")
    assert (found.text, found.method, found.model) == (
        files.TEXT,
        "Neuronpedia, oai_token-act-pair",
        "gpt-3.5-turbo",
    )
    assert [(score.name, score.value) for score in found.scores] == [("fuzzing", 0.7)]
    known = store.statistics("Fr6.650")
    assert known is not None and known.density == 0.0125 and known.origin == OTHER
    assert texts(spelled, known.promoted) == [" Mary", " John"]
    assert texts(spelled, known.suppressed) == [" the"]
    top = store.examples("Fr6.650", Sampling.TOP)
    assert len(top) == 2, "the same text twice is one example"
    assert top[0].value == pytest.approx(max(each["maxValue"] for each in told["activations"]))


def test_what_is_published_again_replaces_what_was_and_other_components_stay(
    path: Path, spelled: Spelling
) -> None:
    other = Component(Kind.NEURON, 3, 18)
    first = record(files.as_bytes(files.neuron_record(3, 17)), NEURON, False, "x")
    filed(path, spelled, [first, record(files.as_bytes(files.neuron_record(3, 18)), other, False, "x")])
    top = first.passages[Sampling.TOP]
    store = filed(path, spelled, [replace(first, passages={Sampling.TOP: top[:1]})])
    assert len(store.examples("N3.17", Sampling.TOP)) == 1
    assert store.examples("N3.17", Sampling.RANDOM) == []
    assert [len(store.examples("N3.18", sampling)) for sampling in Sampling] == [4, 4, 3]
    store = filed(path, spelled, [Published("N3.17", density=0.5)])
    assert len(store.examples("N3.17", Sampling.TOP)) == 1, "what is said later is added to what there is"
    known = store.statistics("N3.17")
    assert known is not None and known.density == 0.5


def test_collations_and_what_was_published_do_not_mix(path: Path, spelled: Spelling) -> None:
    found = record(files.as_bytes(files.neuron_record(3, 17)), NEURON, False, "x")
    filed(path, spelled, [found])
    with writing(path, IDENTITY) as connection:
        begin_collation(connection, {}, {}, (0, 0), [Family("N")])
        counts = np.zeros(193, np.int64)
        put_component(connection, "N", Collated("N3.17", found.moments, 1.0, None, counts, {}))
    store = open_store(path)
    known = store.statistics("N3.17")
    assert known is not None and known.origin is None, "a collation takes the place of what was published"
    with pytest.raises(StoreError, match=r"N3\.17 was collated into this store"):
        filed(path, spelled, [found])


def without(key: str) -> dict[str, Any]:
    return {name: each for name, each in files.neuron_record(3, 17).items() if name != key}


def damaged(**changes: Any) -> dict[str, Any]:
    told = files.neuron_record(3, 17)
    told["most_positive_activation_records"][0].update(changes)
    return told


NESTED = b"[" * 100_000
BAD: dict[str, tuple[bytes, str]] = {
    "truncated": (files.as_bytes(files.neuron_record(3, 17))[:500], "is not JSON"),
    "empty": (b"", "is not JSON"),
    "not UTF-8": (b"\xff\xfe{", "is not JSON"),
    "nested without end": (NESTED, "is not JSON"),
    "a list": (b"[]", "it is a list where an object was expected"),
    "no id": (files.as_bytes(without("neuron_id")), "has no neuron_id"),
    "no records": (
        files.as_bytes(without("most_positive_activation_records")),
        "has no most_positive_activation_records",
    ),
    "another neuron": (files.as_bytes(files.neuron_record(3, 18)), "is about 3:18, not about N3.17"),
    "another layer": (files.as_bytes(files.neuron_record(4, 17)), "is about 4:17, not about N3.17"),
    "too few activations": (files.as_bytes(damaged(activations=[1.0])), "has 7 tokens and 1 activations"),
    "words for numbers": (
        files.as_bytes(damaged(activations=["1"] * 7)),
        "holds something that is no number",
    ),
    "true for a number": (
        files.as_bytes(damaged(activations=[True] * 7)),
        "holds something that is no number",
    ),
    "not a number": (
        files.as_bytes(damaged(activations=[float("nan")] * 7)),
        "holds a number that is not finite",
    ),
    "beyond float32": (files.as_bytes(damaged(activations=[1e300] * 7)), "holds a number that is not finite"),
    "no tokens": (files.as_bytes(damaged(tokens=[], activations=[])), "tokens has 0 tokens"),
    "numbers for tokens": (files.as_bytes(damaged(tokens=[1] * 7)), "where a text was expected"),
    "a negative index": (b'{"neuron_id": {"layer": -1, "idx": 2}}', "where a number from 0 on was expected"),
    "an index without end": (
        b'{"neuron_id": {"layer": "' + b"9" * 5000 + b'", "idx": 2}}',
        "from 0 on was expected",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_record_is_one_sentence(name: str) -> None:
    data, why = BAD[name]
    with pytest.raises(PublishedError) as failed:
        record(data, NEURON, False, "here.json")
    assert why in str(failed.value) and str(failed.value).startswith("here.json")
    assert str(failed.value).isprintable() and len(str(failed.value)) < 200


def test_a_record_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "LARGEST", 100)
    with pytest.raises(PublishedError, match="is larger than 0 MB"):
        record(files.as_bytes(files.neuron_record(3, 17)), NEURON, False, "x")


def test_tokens_of_another_model_are_refused_and_nothing_is_kept(path: Path, spelled: Spelling) -> None:
    told = damaged(tokens=[" Mary", " and", "\x1b[2J日本", " went", " to", " the", " store"])
    found = record(files.as_bytes(told), NEURON, False, "x")
    with pytest.raises(PublishedError, match=r"N3\.17: '\\x1b\[2J日本' is no token of this model"):
        filed(path, spelled, [found])
    assert open_store(path).nodes() == []


def test_hostile_words_are_escaped() -> None:
    told = files.as_bytes(files.simulation_results(3, 17, "names\x1b[2J\x07\n of‮ people" + "x" * 9999))
    [found] = explanations(told, NEURON, METHOD, "x")
    assert found.text.isprintable() and len(found.text) < 2100
    assert found.text.startswith("names\\x1b[2J\\x07 of\\u202e people")


@pytest.mark.skipif(not GPT2.exists(), reason="needs GPT-2's vocabulary (TDB_SHARED)")
def test_every_token_of_gpt2_is_known_by_its_text_and_by_the_vocabularys_spelling() -> None:
    tokenizer = load_tokenizer(GPT2)
    spelled = spelling(tokenizer)
    for id, token in tokenizer.tokens.items():
        text = token.decode("utf-8", errors="replace")
        found = spelled.id_of(text, "x")
        assert found == id or "\N{REPLACEMENT CHARACTER}" in text
    assert spelled.id_of("Ġthe", "x") == spelled.id_of(" the", "x") == 262
    lone = spelled.id_of("\N{REPLACEMENT CHARACTER}", "x")
    assert tokenizer.token_bytes(lone) == "\N{REPLACEMENT CHARACTER}".encode()


SMALL = "neuron-explainer/gpt2_small_data"
LATENTS = "neuron-explainer/gpt2_small/autoencoder_latent"


@pytest.mark.parametrize(
    ("component", "model", "more", "records", "said"),
    [
        (
            NEURON,
            "gpt2-small",
            {},
            f"{SMALL}/collated-activations/3/17.json",
            f"{SMALL}/explanations/3/17.jsonl",
        ),
        (
            NEURON,
            "gpt2-xl",
            {},
            "neuron-explainer/data/collated-activations/3/17.json",
            "neuron-explainer/data/explanations/3/17.jsonl",
        ),
        (
            HEAD,
            "gpt2-small",
            {},
            "neuron-explainer/gpt2_small/attn_write_norm/collated-activations-by-token-pair/3/1.json",
            None,
        ),
        (
            Component(Kind.LATENT, 8, 2, "m"),
            "gpt2-small",
            {},
            f"{LATENTS}/resid_delta_mlp_v4/collated-activations/8/2.json",
            None,
        ),
        (
            Component(Kind.LATENT, 8, 2, "p"),
            "gpt2-small",
            {"release": "v1"},
            f"{LATENTS}/mlp_post_act_v1/collated-activations/8/2.json",
            None,
        ),
        (
            Component(Kind.LATENT, 8, 2, "a"),
            "gpt2-small",
            {"pairs": True},
            f"{LATENTS}/resid_delta_attn_v4/collated-activations-by-token-pair/8/2.json",
            None,
        ),
    ],
)
def test_where_openai_has_what(
    component: Component, model: str, more: dict[str, Any], records: str, said: str | None
) -> None:
    found: Place = place_of(component, model, **more)
    assert found.records[0] == records
    assert found.explanations == (() if said is None else (said,))
    assert found.pairs == ("by-token-pair" in records)
    assert "GELU" in found.origin.fault


def test_both_spellings_of_a_path() -> None:
    spelled = place_of(Component(Kind.LATENT, 8, 2, "m"), "gpt2-small", "v1").records
    root = "neuron-explainer/gpt2-small/autoencoder_latent"
    assert f"{root}/resid_delta_mlp/collated-activations/8/2.json" in spelled
    assert "collated_activations_by_token_pair" in place_of(HEAD, "gpt2-small").records[1]


@pytest.mark.parametrize(
    ("component", "model", "more"),
    [
        (HEAD, "gpt2-xl", {}),
        (NEURON, "gpt2-medium", {}),
        (Component(Kind.LATENT, 8, 2, "r"), "gpt2-small", {}),
        (Component(Kind.LATENT, 8, 2, "a"), "gpt2-small", {"release": "v1"}),
        (Component(Kind.LATENT, 8, 2, "m"), "gpt2-small", {"pairs": True}),
        (Component(Kind.MLP, 8), "gpt2-small", {}),
    ],
)
def test_what_openai_does_not_have_is_said(component: Component, model: str, more: dict[str, Any]) -> None:
    with pytest.raises(PublishedError, match="OpenAI published"):
        place_of(component, model, **more)


def test_a_model_of_another_shape_is_refused() -> None:
    assert model_name(Config(12, 12, 768, 3072, 1024, 50257)) == "gpt2-small"
    assert model_name(Config(48, 25, 1600, 6400, 1024, 50257)) == "gpt2-xl"
    with pytest.raises(PublishedError, match="this model has 4 layers of 4 heads and 32 dimensions"):
        model_name(Config(4, 4, 32, 128, 24, 300))
