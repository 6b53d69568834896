"""Scores against scipy, by hand, and the laws that they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from explanations.calibration import Calibration, fitted
from explanations.records import Score
from explanations.scoring import Judged, Simulated, auc_score, judged_score, simulation_scores

SEQUENCES = st.lists(
    st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=9),
    min_size=1,
    max_size=6,
)


def simulated(pairs: list[list[tuple[int, int]]], kind: str = "top") -> list[Simulated]:
    return [
        Simulated(
            np.array([p for p, _ in each], np.float32), np.array([t for _, t in each], np.float32), kind
        )
        for each in pairs
    ]


@given(SEQUENCES)
def test_the_correlation_is_that_of_all_places_at_once(pairs: list[list[tuple[int, int]]]) -> None:
    found = simulation_scores(simulated(pairs))[0]
    predicted, true = np.array([place for each in pairs for place in each], dtype=float).T
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        assert found.value == 0
    else:
        assert found.value == pytest.approx(stats.pearsonr(predicted, true)[0], abs=1e-9)


def test_the_other_measures_by_hand() -> None:
    scores = {each.name: each for each in simulation_scores(simulated([[(1, 2), (0, 0)], [(3, 1)]]))}
    assert scores["r2"].value == pytest.approx(1 - (1 + 0 + 4) / (4 + 0 + 1))
    assert scores["absolute deviation"].value == pytest.approx(1 - (1 + 0 + 2) / (2 + 0 + 1))
    assert dict(scores["r2"].samples) == {"top": 2}


def test_a_prediction_that_is_right_scores_one_and_nothing_scores_zero() -> None:
    right = simulation_scores(simulated([[(1, 1), (5, 5)], [(0, 0), (2, 2)]]))
    assert [each.value for each in right] == pytest.approx([1, 1, 1])
    nothing = simulation_scores(simulated([[(0, 1), (0, 5)], [(0, 0), (0, 2)]]))
    assert [each.value for each in nothing] == pytest.approx([0, 0, 0])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_the_share_of_pairs_in_order(places: list[tuple[int, bool]]) -> None:
    yes, no = ([p for p, true in places if true is side] for side in (True, False))
    found = auc_score(simulated([[(p, int(true)) for p, true in places]]), active=0.5)
    if not yes or not no:
        assert found is None
    else:
        assert found is not None
        by_scipy = stats.mannwhitneyu(yes, no).statistic / (len(yes) * len(no))
        assert found.value == pytest.approx(by_scipy, abs=1e-12)


def test_the_area_over_sequences_is_that_of_all_places() -> None:
    scores = auc_score(simulated([[(3, 9), (1, 0)], [(2, 0), (2, 7), (0, 0)]]), active=1.0)
    assert scores is not None
    assert scores.value == pytest.approx(stats.mannwhitneyu([3, 2], [1, 2, 0]).statistic / 6)
    assert auc_score(simulated([[(1, 0)], [(2, 0)]]), active=1.0) is None


def width(score: Score) -> float:
    assert score.low is not None and score.high is not None
    return score.high - score.low


def test_intervals_hold_the_value_shrink_with_more_sequences_and_repeat_with_their_seed() -> None:
    random = np.random.default_rng(0)

    def noisy(count: int) -> list[Simulated]:
        true = random.normal(size=(count, 20)).astype(np.float32)
        return [Simulated(t + random.normal(size=20).astype(np.float32), t, "top") for t in true]

    few, many = simulation_scores(noisy(8))[0], simulation_scores(noisy(200))[0]
    for each in (few, many):
        assert each.low is not None and each.high is not None and each.low < each.value < each.high
    assert width(many) < 0.5 * width(few)
    assert abs(math.sqrt(0.5) - many.value) < width(many)  # the truth: as much signal as noise
    same = noisy(5)
    assert simulation_scores(same, seed=3) == simulation_scores(same, seed=3)
    assert simulation_scores(same, seed=3)[0].low != simulation_scores(same, seed=4)[0].low


def test_balanced_accuracy_by_hand() -> None:
    answers = [Judged(True, True, "top")] * 3 + [Judged(False, True, "top")]
    found = judged_score(
        "detection", [*answers, Judged(True, False, "random"), Judged(False, False, "random")]
    )
    assert found is not None and found.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert judged_score("detection", answers) is None


def test_a_calibrated_line_is_that_of_least_squares() -> None:
    seen = simulated([[(0, 1), (2, 3)], [(7, 4), (10, 20)]])
    slope, offset = np.polyfit([0, 2, 7, 10], [1, 3, 4, 20], 1)
    given_ = np.array([0, 5, 10], np.float32)
    assert fitted(Calibration.LINEAR, seen)(given_) == pytest.approx(offset + slope * given_, rel=1e-5)
    assert fitted(Calibration.NONE, seen)(given_) is given_
    assert fitted(Calibration.LINEAR, [])(given_) is given_


def test_a_prediction_of_the_opposite_is_not_turned_round() -> None:
    seen = simulated([[(10, 0), (0, 4)], [(9, 1), (1, 5)]])
    scaled = fitted(Calibration.LINEAR, seen)
    held = [Simulated(scaled(each.predicted), each.true, each.kind) for each in seen]
    assert simulation_scores(held)[0].value == 0
    found = auc_score(held, active=2.0)
    assert found is not None and found.value == 0.5


def test_calibration_by_percentiles_gives_back_the_distribution_and_keeps_ties() -> None:
    seen = simulated([[(0, 0), (0, 2), (5, 3), (9, 50)]])
    assert fitted(Calibration.PERCENTILE, seen)(np.array([0, 5, 9], np.float32)).tolist() == [1, 3, 50]
