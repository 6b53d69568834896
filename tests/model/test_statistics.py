"""Summaries against values worked out by hand and against distributions that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sets import statistics
from model.sets.statistics import Summary, summary

FIELDS = ("mean", "sd", "low", "high", "sign")
numbers = st.floats(-1e6, 1e6, allow_nan=False)


def fields(of: Summary) -> list[np.ndarray]:
    return [getattr(of, name) for name in FIELDS]


def test_mean_spread_and_sign_by_hand() -> None:
    found = summary([1.0, 2.0, 6.0, -1.0])
    assert float(found.mean) == 2.0
    assert float(found.sd) == pytest.approx(np.sqrt((1 + 0 + 16 + 9) / 4))
    assert float(found.sign) == 0.75
    assert int(found.n) == 4


def test_the_sign_that_counts_is_the_means() -> None:
    assert float(summary([-9.0, 1.0, 1.0, 1.0]).sign) == 0.25
    assert float(summary([0.0, 0.0]).sign) == 1.0
    assert float(summary([1.0, -1.0]).sign) == 0.0


def test_one_example_is_its_own_mean_and_interval_without_spread() -> None:
    values = np.array([[3.5, -0.1, 0.0]])
    found = summary(values)
    for column in (found.mean, found.low, found.high):
        assert np.array_equal(column, values[0])
    assert np.array_equal(found.sd, np.zeros(3))
    assert np.array_equal(found.sign, np.ones(3))


def test_the_interval_of_two_examples_is_worked_out_by_hand() -> None:
    # Two draws of two: both low 1/4, one of each 1/2, both high 1/4.
    found = summary([0.0, 10.0], resamples=4000)
    assert (float(found.low), float(found.high)) == (0.0, 10.0)
    inner = summary([0.0, 10.0], resamples=4000, level=0.4)  # from the 30th to the 70th percentile
    assert (float(inner.low), float(inner.high)) == (5.0, 5.0)


def test_the_interval_is_the_normal_one_where_there_are_many_examples() -> None:
    values = np.random.default_rng(5).normal(3.0, 2.0, size=(400, 3))
    found = summary(values, resamples=4000, seed=1)
    half = 1.959964 * values.std(0) / np.sqrt(400)
    assert found.low == pytest.approx(values.mean(0) - half, abs=0.1 * half.max())
    assert found.high == pytest.approx(values.mean(0) + half, abs=0.1 * half.max())


def test_the_interval_of_a_skewed_set_is_not_symmetrical() -> None:
    values = np.random.default_rng(6).exponential(size=40)
    found = summary(values, resamples=4000)
    assert found.high - found.mean > 1.02 * (found.mean - found.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    sets = np.random.default_rng(7).normal(0.0, 1.0, size=(40, 600))  # 600 sets of 40
    found = summary(sets, resamples=600, level=0.9)
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    assert 0.85 < covered < 0.93


def test_a_wider_level_holds_a_narrower_one() -> None:
    values = np.random.default_rng(8).normal(size=(30, 5))
    narrow, wide = summary(values, level=0.5), summary(values, level=0.99)
    assert np.all(wide.low < narrow.low)
    assert np.all(narrow.high < wide.high)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.random.default_rng(9).normal(size=50)
    assert fields(summary(values, seed=1)) == fields(summary(values, seed=1))
    assert summary(values, seed=1).low != summary(values, seed=2).low


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9))
def test_trailing_axes_are_summed_up_one_by_one(rows: list[tuple[float, float]]) -> None:
    values = np.array(rows)[:, None, :] * np.array([1.0, -0.5, 2.0])[None, :, None]  # [example, 3, 2]
    together = summary(values, resamples=50)
    assert together.mean.shape == together.n.shape == (3, 2)
    for at in np.ndindex(3, 2):
        alone = summary(values[:, *at], resamples=50)
        for whole, part in zip(fields(together), fields(alone), strict=True):
            assert whole[at] == pytest.approx(float(part), rel=1e-9, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=8), st.integers(2, 4))
def test_examples_that_are_there_twice_change_only_n_and_the_interval(
    values: list[float], times: int
) -> None:
    once, often = summary(values, resamples=50), summary(values * times, resamples=50)
    assert int(often.n) == times * int(once.n)
    assert float(often.mean) == pytest.approx(float(once.mean), rel=1e-12, abs=1e-9)
    assert float(often.sd) == pytest.approx(float(once.sd), rel=1e-9, abs=1e-6)
    if abs(float(once.mean)) > 1e-6:
        assert float(often.sign) == pytest.approx(float(once.sign))


def test_an_example_alone_changes_nothing_but_n_however_often_it_is_there() -> None:
    found = summary(np.full((7, 2), 0.1))
    for column in (found.mean, found.low, found.high):
        assert column == pytest.approx([0.1, 0.1], rel=1e-12)
    assert found.sd == pytest.approx([0, 0], abs=1e-15)
    assert found.n.tolist() == [7, 7]


def test_scaling_the_values_scales_all_but_the_sign() -> None:
    values = np.random.default_rng(10).normal(0.5, 1.0, size=20)
    plain, scaled = summary(values), summary(-3 * values)
    assert float(scaled.mean) == pytest.approx(-3 * float(plain.mean))
    assert float(scaled.sd) == pytest.approx(3 * float(plain.sd))
    assert (float(scaled.low), float(scaled.high)) == pytest.approx(
        (-3 * float(plain.high), -3 * float(plain.low))
    )
    assert float(scaled.sign) == float(plain.sign)


def test_columns_beyond_one_chunk_get_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(11).normal(size=(12, 23))
    whole = summary(values)
    monkeypatch.setattr(statistics, "CHUNK", 5)
    for column, other in zip(fields(whole), fields(summary(values)), strict=True):
        assert other == pytest.approx(column, rel=1e-12)


def test_no_columns_are_no_mistake_but_no_examples_are() -> None:
    assert summary(np.empty((4, 0))).mean.shape == (0,)
    for values in (np.empty((0, 3)), [], 3.0):
        with pytest.raises(ValueError, match="at least one example"):
            summary(values)
    for resamples, level in ((0, 0.95), (10, 0.0), (10, 1.0)):
        with pytest.raises(ValueError, match=f"{resamples} resamples at level {level}"):
            summary([1.0], resamples=resamples, level=level)
