"""Planted truth from the weights to the sentence: collate, explain, score, as users do it; and fifty neurons at once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from explanations.hypotheses.guessing import hypotheses
from explanations.judging import judge
from explanations.records import Explanation, Sampling
from explanations.splits import QUIET, Held, Splits, split
from explanations.store import Store, open_store
from model.tokenizer import Tokenizer, load_tokenizer
from tests.explaining.language_model import Server, serving
from tests.explaining.readers import explains_what_it_sees, named, predicted
from tests.explaining.wired import HEIGHT, SPELLED, text_of, wired
from tests.programs import tdb_tui

TRUTH = {5: frozenset({" Anna", " Smith", " gave"}), 9: frozenset({" drink"})}
MANY = 50
SIZES = ("--length", "20", "--batch", "16", "--only", "neurons")


def collated(directory: Path, fires_on: dict[int, frozenset[str]], words: int) -> tuple[Path, Tokenizer]:
    """A store that `tdb-tui collate` made of a wired model and of text that it was not wired for."""
    tokenizer = wired(directory, fires_on)
    (directory / "text.txt").write_text(text_of(words))
    run = tdb_tui(
        "collate", "--text", directory / "text.txt", "--model", directory, "--out", directory / "s", *SIZES
    )
    assert run.returncode == 0, run.stderr
    return directory / "s", tokenizer


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collated(tmp_path_factory.mktemp("planted"), TRUTH, 6000)[0]


def splits_of(store: Store, node: str) -> Splits:
    return split({sampling: store.examples(node, sampling) for sampling in Sampling})


def best(store: Path, node: str) -> Explanation:
    return open_store(store).explanations(node)[0]


def test_the_wired_neurons_fire_on_their_words_alone(planted: Path) -> None:
    store, tokenizer = open_store(planted), wired_tokenizer(planted)
    for index, words in TRUTH.items():
        for sampling in Sampling:
            for each in store.examples(f"N0.{index}", sampling):
                for token, activation in zip(each.tokens, each.activations, strict=True):
                    fires = tokenizer.text(token) in words
                    assert activation > 0.9 * HEIGHT if fires else activation < 0.1 * HEIGHT


def wired_tokenizer(store: Path) -> Tokenizer:
    return load_tokenizer(store.parent)


def test_without_a_language_model_the_truth_is_said_and_scores_near_one(planted: Path) -> None:
    run = tdb_tui("explain", "N0.5", "N0.9", "--store", planted, "--model", planted.parent)
    assert run.returncode == 0, run.stderr
    for index, words in TRUTH.items():
        found = best(planted, f"N0.{index}")
        assert found.method == "token" and found.score is not None and found.score > 0.95
        assert {f"'{word}'" for word in words} == set(found.text.removeprefix("active on ").split(", "))
        assert all(score.value > 0.95 for score in found.scores), found.scores
        names = {score.name for score in found.scores}  # detection needs sequences without the words
        assert names - {"detection"} == {"correlation", "r2", "absolute deviation", "auc", "fuzzing"}


def test_what_fits_the_truth_says_nothing_about_shuffled_activations(planted: Path) -> None:
    """Fitted on the truth, and judged on the same activations dealt out anew over each sequence's tokens."""
    splits = splits_of(open_store(planted), "N0.5")
    found = hypotheses(splits)[0]
    random = np.random.default_rng(0)
    shuffled = Splits(
        splits.explain, splits.calibrate, tuple(_shuffled(each, random) for each in splits.score), splits.peak
    )
    right, wrong = (judge(found.predict, each)[0] for each in (splits, shuffled))
    assert (right.name, wrong.name) == ("correlation", "correlation")
    assert right.value > 0.95
    assert abs(wrong.value) < 0.3 < right.value and wrong.low is not None and wrong.low < 0.15


def _shuffled(held: Held, random: np.random.Generator) -> Held:
    return Held(replace(held.example, activations=random.permutation(held.example.activations)), held.kind)


def test_by_a_language_model_the_truth_scores_near_one_and_another_neurons_near_zero(planted: Path) -> None:
    with serving(explains_what_it_sees) as server:
        words = (
            "--store",
            planted,
            "--model",
            planted.parent,
            "--explainer",
            "sees",
            "--url",
            server.url,
            "--no-logprobs",
        )
        run = tdb_tui("explain", "N0.5", "N0.9", *words)
    assert run.returncode == 0, run.stderr
    found = next(each for each in open_store(planted).explanations("N0.5") if each.model == "sees")
    assert set(named(found.text)) == TRUTH[5]
    assert found.score is not None and found.score > 0.9
    other = next(each for each in open_store(planted).explanations("N0.9") if each.model == "sees")
    splits, tokenizer = splits_of(open_store(planted), "N0.9"), wired_tokenizer(planted)

    def predict(text: str) -> float:
        """The correlation that this sentence has with what N0.9 does, by numpy alone."""
        said = [
            [predicted(text, tokenizer.text(token)) for token in each.example.tokens] for each in splits.score
        ]
        true = np.concatenate([each.example.activations for each in splits.score])
        return float(np.corrcoef(np.concatenate(said), true)[0, 1])

    assert predict(other.text) > 0.9
    assert abs(predict(found.text)) < 0.35


@pytest.mark.slow
def test_fifty_neurons_are_explained_simulated_and_scored_as_numpy_and_scipy_say(tmp_path: Path) -> None:
    sets = list(combinations(SPELLED, 2))[:MANY]
    path, tokenizer = collated(
        tmp_path / "many", {n: frozenset(words) for n, words in enumerate(sets)}, 12_000
    )
    nodes = [f"N0.{n}" for n in range(MANY)]
    with serving(explains_what_it_sees) as server:
        words = (
            "--store",
            path,
            "--model",
            path.parent,
            "--explainer",
            "sees",
            "--url",
            server.url,
            "--no-logprobs",
        )
        run = tdb_tui("explain", *nodes, *words)
    assert run.returncode == 0, run.stderr
    assert f"{MANY} of {MANY} components explained" in run.stdout and " 0 of them bad" in run.stdout
    store, names = open_store(path), set[str]()
    for node in nodes:
        [found] = store.explanations(node)
        expected = Independent(store, node, found.text, tokenizer, server)
        for score in found.scores:
            assert score.value == pytest.approx(expected.value(score.name), abs=2e-5), (node, score.name)
        names |= {score.name for score in found.scores}
    assert names == {"correlation", "r2", "absolute deviation", "auc", "detection", "fuzzing"}
    assert len({store.explanations(node)[0].text for node in nodes}) > MANY / 2
    assert np.median([store.explanations(node)[0].score or 0 for node in nodes]) > 0.9


class Independent:
    """The scores of one explanation, from what the server was asked and from the store, by numpy and scipy."""

    def __init__(self, store: Store, node: str, text: str, tokenizer: Tokenizer, server: Server) -> None:
        self.text, self.tokenizer, self.server = text, tokenizer, server
        self.splits = splits_of(store, node)
        self.asked = {
            json.loads(body["messages"][1]["content"])["document"]
            for body in server.bodies
            if "JSON object" in body["messages"][0]["content"]
            and f'"to_find": {json.dumps(text)}' in body["messages"][1]["content"]
        }

    def value(self, name: str) -> float:
        if name in ("detection", "fuzzing"):
            return self._judged(name)
        predicted, true = self._places(self.splits.score)
        if name == "correlation":
            return float(np.asarray(stats.pearsonr(predicted, true))[0])
        if name == "auc":
            active = true > QUIET * self.splits.peak
            found = stats.mannwhitneyu(predicted[active], predicted[~active])
            return float(found.statistic / (active.sum() * (~active).sum()))
        slope, offset = np.polyfit(*self._places(self.splits.calibrate), 1)
        off = offset + slope * predicted - true
        if name == "r2":
            return 1 - float((off**2).mean() / (true**2).mean())
        return 1 - float(np.abs(off).mean() / np.abs(true).mean())

    def _places(self, held: Sequence[Held]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What was predicted and what is true, at every token of the sequences that were asked about."""
        of = [each.example for each in held if self._spelled(each) in self.asked]
        said = [predicted(self.text, self.tokenizer.text(token)) for each in of for token in each.tokens]
        return np.array(said, np.float64), np.concatenate([each.activations for each in of]).astype(
            np.float64
        )

    def _spelled(self, held: Held) -> str:
        return "".join(self.tokenizer.text(token) for token in held.example.tokens)

    def _judged(self, name: str) -> float:
        """Balanced accuracy of the answers that this model gives, from the questions that were put."""
        named_here = named(self.text)
        right: dict[bool, list[bool]] = {True: [], False: []}
        for body in self._questions(name):
            text = body["messages"][1]["content"].split("\n\n", 1)[1]
            plain = text.replace("<<", "").replace(">>", "")
            example = next(each.example for each in self.splits.score if self._spelled(each) == plain)
            if name == "detection":
                true, said = (
                    example.value > QUIET * self.splits.peak,
                    any(word in plain for word in named_here),
                )
            else:
                parts = text.split("<<")
                marked = [part.split(">>")[0] for part in parts[1:]]
                first = len(self.tokenizer.encode(parts[0]))
                true, said = (
                    bool(example.activations[first] >= 0.5 * example.value),
                    all(each in named_here for each in marked),
                )
            right[true].append(said == true)
        return float(np.mean([np.mean(each) for each in right.values()]))

    def _questions(self, name: str) -> list[dict[str, Any]]:
        marked = name == "fuzzing"
        return [
            body
            for body in self.server.bodies
            if ("Answer 1 for yes" in body["messages"][0]["content"])
            and ("<<so>>" in body["messages"][0]["content"]) == marked
            and body["messages"][1]["content"].startswith(f"The neuron looks for: {self.text}\n\n")
            and any(
                self._spelled(each)
                == body["messages"][1]["content"].split("\n\n", 1)[1].replace("<<", "").replace(">>", "")
                for each in self.splits.score
            )
        ]
