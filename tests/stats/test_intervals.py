"""Means over photographs: the photograph is the unit, ends respect the range, and few photographs are refused."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import t

from xlli_ray.stats import intervals as module
from xlli_ray.stats.intervals import FEWEST, SHARE, ends, intervals, kind, photograph_means

PERCENT = (0.0, 100.0)


def test_the_docstrings_example() -> None:
    assert doctest.testmod(module).failed == 0


def test_the_mean_is_the_mean_and_lies_within_its_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, (40, 3))
    for column, item in zip(values.T, intervals(values)):
        assert item.mean == pytest.approx(column.mean(), abs=1e-12)
        assert item.low < item.mean < item.high
        assert (item.photographs, item.values, item.reason) == (40, 40, "")


def test_a_constant_has_an_interval_of_length_zero_exactly() -> None:
    for constant in (0.1, -3.7, 1e-9, 12345.678):
        (item,) = intervals(np.full((11, 1), constant))
        assert (item.mean, item.low, item.high) == (constant, constant, constant)


def test_ten_windows_of_a_photograph_that_say_the_same_add_nothing() -> None:
    values = np.random.default_rng(5).normal(size=(12, 1))
    once = photograph_means(values, np.arange(12), 12)
    often = photograph_means(np.repeat(values, 10, axis=0), np.repeat(np.arange(12), 10), 12)
    (one,), (ten,) = intervals(*once), intervals(*often)
    assert (ten.low, ten.high, ten.photographs) == pytest.approx((one.low, one.high, one.photographs))
    assert (one.values, ten.values) == (12, 120), "how many numbers were averaged is said"


def test_a_photograph_with_many_patches_weighs_no_more_than_one_with_few() -> None:
    means, counts = photograph_means(np.array([[1.0], [1.0], [1.0], [5.0], [9.0]]), np.array([0, 0, 0, 1, 2]), 3)
    (item,) = intervals(means, counts)
    assert (item.mean, item.photographs, item.values) == (5.0, 3, 5)


def test_what_was_not_measured_counts_nowhere() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [8.0, np.nan], [np.nan, 7.0]])
    first, second = intervals(*photograph_means(values, np.arange(4), 4))
    assert (first.mean, first.photographs) == (4.0, 3)
    assert (second.mean, second.photographs, second.reason) == (7.0, 1, "1 photograph: an interval takes 3")
    assert np.isnan([second.low, second.high]).all()
    (nothing,) = intervals(np.full((3, 1), np.nan))
    assert np.isnan(nothing.mean)
    assert nothing.photographs == 0


def test_a_diffusion_index_of_two_photographs_has_no_interval_from_minus_14_to_20() -> None:
    (two,) = intervals(np.array([[1.8], [4.6]]), limits=PERCENT)
    assert np.isnan([two.low, two.high]).all()
    assert two.reason == "2 photographs: an interval takes 3"
    for count in range(FEWEST, 12):
        (item,) = intervals(np.random.default_rng(count).lognormal(1, 1.5, (count, 1)), limits=PERCENT)
        assert 0 <= item.low < item.mean < item.high <= 100


def test_differences_are_plain_t_and_means_lean_towards_the_long_tail() -> None:
    values = np.random.default_rng(1).lognormal(0, 0.8, (20, 1))
    (mean,), (difference,) = intervals(values), intervals(values, difference=True)
    half = t.ppf(0.975, 19) * values.std(ddof=1) / np.sqrt(20)
    assert (difference.low, difference.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert mean.high - mean.mean > mean.mean - mean.low, "what is skewed to the right reaches further to the right"
    (mirrored,) = intervals(-values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-mean.high, -mean.low))


@pytest.mark.parametrize("photographs", [7, 8, 12, 15, 20, 40, 100])
def test_one_outlying_photograph_makes_no_interval_that_reaches_beyond_it(photographs: int) -> None:
    """Seven photographs, six of 24 to 34 dB and a nearly flat one of 47, had a mean of 33 dB with an interval up to 55."""
    rng = np.random.default_rng(photographs)
    usual = rng.normal(29, 3, (photographs - 1, 1000))
    outlying = usual.max(axis=0) + rng.uniform(1, 50, 1000) * np.ptp(usual, axis=0)
    values = np.vstack([usual, outlying])
    for largest, above, below in zip(outlying, intervals(values), intervals(-values)):
        assert above.mean < above.high <= largest
        assert -largest <= below.low < below.mean


@pytest.mark.parametrize("photographs", range(FEWEST, 25))
def test_no_end_is_further_from_the_mean_than_twice_students(photographs: int) -> None:
    """Where the transformation is flat, the end lay four times as far: of some among 2,000 skewed samples it is now twice exactly."""
    values = np.random.default_rng(photographs).lognormal(0, 1.5, (photographs, 2000))
    found = (intervals(values, difference=which) for which in (False, True))
    mean, plain = (np.array([(item.mean, item.low, item.high) for item in one]).T for one in found)
    reach = plain[2] - plain[0]
    for away in (mean[0] - mean[1], mean[2] - mean[0]):
        assert (away > 0).all()
        assert (away / reach).max() < 2 + 1e-9
    assert np.isclose((mean[2] - mean[0]) / reach, 2).any()


def test_of_many_photographs_both_are_the_normal_interval() -> None:
    values = np.random.default_rng(2).exponential(size=(4000, 1))
    (mean,), (difference,) = intervals(values), intervals(values, difference=True)
    for item in (mean, difference):
        assert item.high - item.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(4000), rel=0.01)


def test_units_and_shifts_carry_over() -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(15, 1))
    (one,), (other,) = intervals(values), intervals(1e4 + 1000 * values)
    assert (other.low, other.high) == pytest.approx((1e4 + 1000 * one.low, 1e4 + 1000 * one.high), rel=1e-9)


def test_a_share_that_never_varied_still_has_an_interval() -> None:
    """0 of 20 is compatible with up to 17 %: Clopper and Pearson."""
    (none,), (every,) = intervals(np.zeros((20, 1)), limits=SHARE), intervals(np.ones((20, 1)), limits=SHARE)
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert (every.low, every.high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    (same,) = intervals(np.zeros((20, 1)), limits=SHARE, difference=True)
    assert (same.low, same.high) == (0.0, 0.0)


def test_moments_from_elsewhere_give_the_same_ends() -> None:
    values = np.random.default_rng(4).gamma(1.5, size=(9, 2))
    away = values - values.mean(axis=0)
    low, high = ends(values.mean(axis=0), values.std(axis=0, ddof=1), (away**3).mean(axis=0), np.array([9, 9]))
    assert [(item.low, item.high) for item in intervals(values)] == [pytest.approx(pair) for pair in zip(low, high)]


def test_the_kind_of_interval_has_words() -> None:
    assert kind(0.95, 20, difference=True) == "95 %, t over 20 photographs"
    assert kind(0.9) == "90 %, skewness-corrected t over photographs"
