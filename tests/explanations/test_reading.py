"""A person's sentence read as a prediction: it says what the sentences of the hypotheses say."""

from collections.abc import Callable

import numpy as np
import pytest

from explanations.hypotheses.features import RELATIONS
from explanations.hypotheses.guessing import guess, hypotheses
from explanations.hypotheses.reading import read
from explanations.hypotheses.shapes import occurrences, shapes
from explanations.judging import judge
from explanations.splits import split
from tests.explanations.held import collated, spell
from tests.explanations.test_hypotheses import NAMES, after_name, before_name, on_names

SPELLED = {1: "The", 2: " the", 3: " gave", 4: " Mary", 5: ",", 6: " drink", 7: "Mary", 8: "1"}
TEXT = (1, 4, 3, 2, 6, 5, 4, 3)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("active on ' the'", [1, 0, 0, 1, 0, 0, 0, 0]),
        ("the word Mary", [0, 1, 0, 0, 0, 0, 1, 0]),
        ("active right after ' gave'", [0, 0, 0, 1, 0, 0, 0, 0]),
        ("comes right before 'gave', ','", [0, 1, 0, 0, 1, 0, 1, 0]),
        ("active at position 1 to 2", [0, 1, 1, 0, 0, 0, 0, 0]),
        ("active at position 6 and up", [0, 0, 0, 0, 0, 0, 1, 1]),
        ("active on a token that came before in the text", [0, 0, 0, 0, 0, 0, 1, 1]),
        ("a token that is new in the text", [1, 1, 1, 1, 1, 1, 0, 0]),
        ("gifts: people who gave a drink", [0, 0, 1, 0, 1, 0, 0, 1]),
    ],
)
def test_a_sentence_predicts_what_it_says(said: str, expected: list[int]) -> None:
    assert read(said, False, SPELLED).predict(TEXT).tolist() == expected


@pytest.mark.parametrize(
    ("said", "pairs"),
    [
        (
            "attends to the first token",
            {(q, 0) for q in range(2, 8)},
        ),  # of 0 and 1 another relation holds last
        ("attends to an earlier copy of the token", {(6, 1), (7, 2)}),
        ("attends to the token after an earlier copy", {(6, 2), (7, 3)}),
        ("attends to ','", {(q, 5) for q in range(5, 8)}),
        ("attends back from ' drink'", {(4, k) for k in range(5)}),
        ("attends to what comes right after ' drink'", {(q, 5) for q in range(5, 8)}),
    ],
)
def test_a_sentence_about_a_head_predicts_pairs(said: str, pairs: set[tuple[int, int]]) -> None:
    predicted = read(said, True, SPELLED).predict(TEXT)
    queries, keys = np.tril_indices(len(TEXT))
    found = {(int(queries[at]), int(keys[at])) for at in predicted.nonzero()[0]}
    assert found == pairs


def test_a_sentence_without_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing in it is a token of this model"):
        read("verbs of movement", False, SPELLED)


@pytest.mark.parametrize("does", [on_names, after_name, before_name])
def test_what_a_hypothesis_says_is_read_as_it_was_meant(does: Callable[..., np.ndarray]) -> None:
    """A planted component's own sentence, typed by hand, scores as high as the hypothesis; another near 0."""
    splits = split(collated(does))
    [found] = guess("N0.0", splits, spell, count=1)
    spelled = {token: spell(token) for held in splits.explain for token in held.example.tokens}
    [score, *_] = judge(read(found.text, False, spelled).predict, splits)
    assert score.value == pytest.approx(1, abs=0.05)
    wrong = f"active on {spell(max(spelled) if max(spelled) not in NAMES else min(spelled))!r}"
    assert judge(read(wrong, False, spelled).predict, splits)[0].value < 0.3


def test_relations_are_told_apart_by_the_longest_that_a_sentence_has() -> None:
    for number, words in enumerate(RELATIONS[1:], start=1):
        assert read(f"attends to {words}", True, SPELLED).keys == {number}


def test_kinds_of_tokens_and_whether_they_are_new() -> None:
    kind, pair = shapes(SPELLED.__getitem__)
    words = [kind.word(int(key), SPELLED.__getitem__) for key in kind.of((4, 2, 4, 5, 8))]
    assert words == [
        "capitalised words that are new in the text",
        "words that are new in the text",
        "capitalised words that have come before",
        "punctuation that are new in the text",
        "numbers that are new in the text",
    ]
    last = [pair.word(int(key), SPELLED.__getitem__) for key in pair.of((4, 2, 4))][-3:]
    assert last == [
        "capitalised words that have come before",
        "words that occur once so far",
        "the token itself where it is one of capitalised words",
    ]
    assert occurrences((4, 2, 4)).tolist() == [[1, 0, 1], [1, 1, 1], [2, 1, 2]]


def test_of_hypotheses_that_are_about_as_good_the_simplest_comes_first() -> None:
    splits = split(collated(on_names))
    with_shapes = hypotheses(splits, spell=spell)
    assert {each.feature.name for each in with_shapes} >= {"kind of token", "token"}
    assert with_shapes[0].feature.name == "token"
