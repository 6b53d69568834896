"""Planted truth: a component made by hand is explained as it was made; a shuffled one is not explained at all."""

from collections.abc import Sequence

import numpy as np
import pytest

from explanations.hypotheses.features import relation
from explanations.hypotheses.guessing import guess, hypotheses
from explanations.records import Explanation, Floats, Sampling
from explanations.splits import Splits, split
from tests.explanations.held import Does, collated, example, spell, texts

NAMES = (7, 11)


def on_names(tokens: Sequence[int]) -> Floats:
    return np.isin(tokens, NAMES).astype(np.float32) * 3


def after_name(tokens: Sequence[int]) -> Floats:
    return np.concatenate([[0], on_names(tokens)[:-1]]).astype(np.float32)


def before_name(tokens: Sequence[int]) -> Floats:
    return np.concatenate([on_names(tokens)[1:], [0]]).astype(np.float32)


def on_pair(tokens: Sequence[int]) -> Floats:
    return after_name(tokens) * (np.array(tokens) % 2 == 0)


def at_start(tokens: Sequence[int]) -> Floats:
    return (np.arange(len(tokens)) == 2).astype(np.float32)


def on_repeats(tokens: Sequence[int]) -> Floats:
    return np.array([token in tokens[:at] for at, token in enumerate(tokens)], dtype=np.float32)


def shuffled(does: Does) -> Does:
    """The same values, anywhere else: seeded by the text."""

    def moved(tokens: Sequence[int]) -> Floats:
        return np.random.default_rng(sum(tokens) * 7919 + tokens[0]).permutation(does(tokens))

    return moved


def best(does: Does, promoted: tuple[int, ...] = ()) -> Explanation:
    return guess("N0.0", split(collated(does)), spell, promoted)[0]


def score(found: Explanation, name: str) -> float:
    return next(each.value for each in found.scores if each.name == name)


@pytest.mark.parametrize(
    ("does", "method", "text"),
    [
        (on_names, "token", "active on ' t7', ' t11'"),
        (after_name, "preceding token", "active right after ' t7', ' t11'"),
        (before_name, "following token", "active right before ' t7', ' t11'"),
        (at_start, "position", "active at position 2"),
        (on_repeats, "repeated token", "active on a token that came before in the text"),
    ],
)
def test_a_planted_component_gets_the_sentence_it_was_made_by(does: Does, method: str, text: str) -> None:
    found = best(does)
    assert found.method == method
    assert set(found.text.replace(",", "").split()) == set(text.replace(",", "").split())
    assert found.scores[0].name == "correlation"
    assert found.scores[0].value > 0.97
    assert score(found, "r2") > 0.9
    assert score(found, "fuzzing") == 1


def test_the_score_of_a_shuffled_component_is_near_zero() -> None:
    assert abs(best(shuffled(on_names)).scores[0].value) < 0.2


def test_an_explanation_of_one_component_does_not_fit_another() -> None:
    from explanations.judging import judge

    right = hypotheses(split(collated(on_names)))[0]
    other = split(collated(at_start))
    assert abs(judge(right.predict, other)[0].value) < 0.2


def test_bigrams_are_found_where_neither_token_tells() -> None:
    by_method = {
        each.method: each.scores[0].value for each in guess("N0.0", split(collated(on_pair)), spell, count=9)
    }
    assert max(by_method, key=lambda method: by_method[method]) in ("bigram", "preceding token")
    assert by_method["preceding token"] < 0.9


def test_promoted_tokens_explain_what_fires_before_many_of_them() -> None:
    names = tuple(range(0, 50, 3))

    def before_many(tokens: Sequence[int]) -> Floats:
        return np.concatenate([np.isin(tokens[1:], names), [False]]).astype(np.float32)

    texts_ = {
        each.method: each for each in guess("N0.0", split(collated(before_many)), spell, names, count=9)
    }
    assert texts_["promoted tokens"].scores[0].value == pytest.approx(1, abs=1e-5)
    assert texts_["promoted tokens"].text.startswith(
        "active where one of what it promotes comes next (' t0', ' t3'"
    )


def previous(tokens: Sequence[int]) -> Floats:
    return np.eye(len(tokens), k=-1, dtype=np.float32)


def duplicate(tokens: Sequence[int]) -> Floats:
    ids = np.array(tokens)
    return np.tril(ids[:, None] == ids[None, :], -1).astype(np.float32)


def induction(tokens: Sequence[int]) -> Floats:
    found = np.zeros((len(tokens), len(tokens)), dtype=np.float32)
    found[:, 1:] = duplicate(tokens)[:, :-1]
    return found


def reads_names(tokens: Sequence[int]) -> Floats:
    return np.tril(np.broadcast_to(np.isin(tokens, NAMES), (len(tokens),) * 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("does", "text"),
    [
        (previous, "attends to the token before"),
        (duplicate, "attends to an earlier copy of the token"),
        (induction, "attends to the token after an earlier copy"),
        (reads_names, "attends to ' t7', ' t11'"),
    ],
)
def test_a_planted_head_gets_the_sentence_it_was_made_by(does: Does, text: str) -> None:
    found = best(does)
    assert set(found.text.replace(",", "").split()) == set(text.replace(",", "").split())
    assert found.scores[0].name == "auc"
    assert found.scores[0].value > 0.99


def test_relations_are_counted_pair_by_pair() -> None:
    #         keys: 5 6 5
    # query 5: itself; 6: the first, itself; 5: an earlier copy, the token after one, itself
    assert relation((5, 6, 5)).tolist() == [2, 3, 2, 4, 5, 2]


def test_no_sequence_is_on_two_sides_and_hard_ones_are_named() -> None:
    parts = split(collated(on_pair))
    sides = [[held.example.tokens for held in part] for part in (parts.explain, parts.calibrate, parts.score)]
    together = [tokens for side in sides for tokens in side]
    assert len(set(together)) == len(together)
    assert all(sides)
    found = [example(tokens, on_pair, Sampling.RANDOM) for tokens in texts(40, 9)]
    hard = split({**collated(on_pair), Sampling.RANDOM: found})
    negatives = [held for held in hard.score if held.kind == "negative"]
    assert negatives
    tops = {held.example.tokens[held.example.peak] for held in hard.explain if held.kind == "top"}
    assert all(held.example.value < 0.3 and tops & set(held.example.tokens) for held in negatives)


def test_what_is_never_active_or_was_not_collated_has_no_explanation() -> None:
    nothing = split(collated(lambda tokens: np.zeros(len(tokens), np.float32)))
    assert guess("N0.0", nothing, spell) == ()
    assert guess("N0.0", Splits((), (), (), 0.0), spell) == ()
