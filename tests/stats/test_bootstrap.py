"""The bootstrap against populations whose mean is known, and against what pairing and clusters must do."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from xlli_ray.stats import bootstrap
from xlli_ray.stats.bootstrap import bounds, cluster_means, deal, generator, mean_intervals, resample, resampled_means


def intervals(values: np.ndarray, seed: int = 0, **how: object) -> list[bootstrap.Interval]:
    """One value a cluster in each column."""
    draws = resample(len(values), 2000, generator(seed, "test"))
    return mean_intervals(values, np.ones_like(values), draws, **how)  # type: ignore[arg-type]


def test_the_docstrings_example() -> None:
    assert doctest.testmod(bootstrap).failed == 0


def test_the_mean_is_the_mean_and_lies_within_its_interval() -> None:
    values = np.random.default_rng(0).normal(5, 2, (40, 3))
    for column, item in zip(values.T, intervals(values)):
        assert item.mean == pytest.approx(column.mean(), abs=1e-12)
        assert item.low < item.mean < item.high
        assert item.contents == 40


def test_a_constant_has_an_interval_of_length_zero_exactly() -> None:
    for constant in (0.1, -3.7, 1e-9, 12345.678):
        (item,) = intervals(np.full((11, 1), constant))
        assert (item.mean, item.low, item.high) == (constant, constant, constant)


def test_a_constant_shift_between_two_columns_stays_exact_through_the_shared_draws() -> None:
    base = np.random.default_rng(1).normal(0, 10, (25, 1))
    draws = resample(25, 1000, generator(0))
    pair = resampled_means(np.hstack([base, base + 0.25]), np.ones((25, 2)), draws)
    assert np.allclose(pair[:, 1] - pair[:, 0], 0.25, atol=1e-13)


@pytest.mark.parametrize(("draw", "mean", "least"), [("normal", 0.0, 0.925), ("exponential", 1.0, 0.87)])
@pytest.mark.parametrize("size", [3, 8, 30])
def test_it_covers_the_truth_about_as_often_as_it_says(draw: str, mean: float, least: float, size: int) -> None:
    rng = np.random.default_rng(3)
    values = getattr(rng, draw)(size=(size, 1500))  # 1,500 studies at once: one column each
    covered = {
        expanded: np.mean([item.low <= mean <= item.high for item in intervals(values, expanded=expanded)])
        for expanded in (True, False)
    }
    assert (least if size > 3 else 0.85) <= covered[True] <= 0.975
    assert covered[True] > covered[False], "the plain percentile interval is too short"


def test_clusters_are_what_is_drawn_so_ten_copies_of_a_window_add_nothing() -> None:
    values = np.random.default_rng(5).normal(size=(12, 1))
    once = cluster_means(values, np.arange(12), 12)
    often = cluster_means(np.repeat(values, 10, axis=0), np.repeat(np.arange(12), 10), 12)
    draws = resample(12, 500, generator(0))
    (one,), (ten,) = mean_intervals(*once, draws), mean_intervals(*often, draws)
    assert (ten.low, ten.high, ten.contents) == pytest.approx((one.low, one.high, one.contents))


def test_what_was_not_measured_counts_nowhere() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 7.0]])
    sums, counts = cluster_means(values, np.array([0, 1, 2]), 3)
    assert counts.tolist() == [[1, 0], [1, 0], [0, 1]]
    first, second = mean_intervals(sums, counts, resample(3, 400, generator(0)))
    assert (first.mean, first.contents) == (2.0, 2)
    assert (second.mean, second.contents) == (7.0, 1)
    assert np.isnan([second.low, second.high]).all(), "one picture says nothing about others"
    (nothing,) = mean_intervals(np.zeros((3, 1)), np.zeros((3, 1)), resample(3, 10, generator(0)))
    assert np.isnan(nothing.mean)
    assert nothing.contents == 0


def test_the_order_of_windows_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    values, cluster, order = rng.normal(size=(30, 2)), rng.integers(0, 6, 30), rng.permutation(30)
    for a, b in zip(cluster_means(values, cluster, 6), cluster_means(values[order], cluster[order], 6)):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_dealing_many_clusters_into_groups_keeps_mean_and_spread() -> None:
    values = np.random.default_rng(9).normal(size=(6000, 1))
    grouped, counts = deal(values, 500), deal(np.ones_like(values), 500)
    assert grouped.shape == (500, 1)
    assert counts.sum() == 6000
    (item,) = mean_intervals(grouped, counts, resample(500, 2000, generator(1)))
    assert item.mean == pytest.approx(values.mean())
    assert (item.high - item.low) / (2 * 1.96 / np.sqrt(6000)) == pytest.approx(1, abs=0.1)


def test_draws_are_keyed_by_seed_and_purpose_alone() -> None:
    assert np.array_equal(generator(3, "a").random(4), generator(3, "a").random(4))
    assert not np.array_equal(generator(3, "a").random(4), generator(3, "b").random(4))
    assert not np.array_equal(generator(3, "a").random(4), generator(4, "a").random(4))
    assert resample(5, 7, generator(0)).sum(axis=1).tolist() == [5] * 7


def test_few_clusters_on_one_side_do_not_exclude_what_lies_beside_them() -> None:
    values = np.array([[1.0], [1.2], [2.0]])
    (item,) = intervals(values)
    assert item.low < 0.5, "the bootstrap alone could not leave 1…2"
    from scipy.stats import t

    half = t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert (item.low, item.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert intervals(np.full((3, 1), 0.1))[0].low == 0.1
    two = np.hstack([values, values + 0.25])
    draws = resample(3, 200, generator(0))
    first, second = mean_intervals(two, np.ones_like(two), draws)
    assert second.high - first.high == pytest.approx(0.25)


def test_expanded_percentiles_are_those_of_t_and_become_plain_ones() -> None:
    from scipy.stats import norm, t

    resampled = np.random.default_rng(0).normal(size=(200000, 1))
    low, high = bounds(resampled, clusters=np.array([6]))
    assert high[0] == pytest.approx(np.sqrt(6 / 5) * t.ppf(0.975, 5), rel=0.03)
    assert low[0] == pytest.approx(-high[0], rel=0.03)
    assert bounds(resampled, clusters=np.array([10**6]))[1][0] == pytest.approx(norm.ppf(0.975), rel=0.02)
