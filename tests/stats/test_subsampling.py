"""Subsampling: orders that keep groups together, a factor that is exact for the mean, halves that do not overlap."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t

from xlli_ray.stats.subsampling import halves, orders, quantile, standard_error, subsample


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_order_is_a_permutation_in_which_groups_stay_together() -> None:
    groups = ["b", "a", "b", "c", "a", "b", "c"]
    drawn = orders(groups, 40, rng())
    assert drawn.shape == (40, 7)
    for order in drawn:
        assert sorted(order) == list(range(7))
        named = [groups[i] for i in order]
        assert sum(one != other for one, other in pairwise(named)) == 2, "three groups, two borders"
    assert len({tuple(groups[i] for i in order) for order in drawn}) == 6, "all orders of three groups occur"
    assert len({tuple(i for i in order if groups[i] == "b") for order in drawn}) == 6, "and inside a group, too"


def test_samples_of_their_own_are_shuffled_freely() -> None:
    drawn = orders(range(4), 600, rng(1))
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert counts.min() > 8


def test_subsamples_and_halves_have_equal_sizes_and_halves_share_nothing() -> None:
    order = rng(2).permutation(11)
    assert subsample(order).tolist() == sorted(order[:8].tolist())
    one, other = halves(order)
    assert (len(one), len(other)) == (5, 5)
    assert not set(one) & set(other)
    assert len(subsample(np.arange(800))) == 600


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """For a mean the factor is exact: over all subsamples, s/√N."""
    values = rng(3).normal(size=40)
    drawn = orders(range(40), 20_000, rng(4))
    means = np.array([values[subsample(order)].mean() for order in drawn])
    assert float(standard_error(means, 40)) == pytest.approx(values.std(ddof=1) / math.sqrt(40), rel=0.02)


def test_the_error_of_a_mean_of_groups_is_that_of_independent_groups() -> None:
    """Ten values that are copies of each other are one: an error that took them for ten would be three times too small."""
    values = rng(5).normal(size=24).repeat(10)
    drawn = orders(np.arange(24).repeat(10), 4000, rng(6))
    means = np.array([values[subsample(order)].mean() for order in drawn])
    assert float(standard_error(means, 240)) == pytest.approx(values[::10].std(ddof=1) / math.sqrt(24), rel=0.05)


def test_half_a_difference_of_halves_is_an_error_too() -> None:
    values = rng(7).normal(size=60)
    differences = [values[a].mean() - values[b].mean() for a, b in map(halves, orders(range(60), 4000, rng(8)))]
    assert math.sqrt(np.mean(np.square(differences))) / 2 == pytest.approx(values.std(ddof=1) / math.sqrt(60), rel=0.05)


def test_columns_nan_and_too_few_draws() -> None:
    draws = np.array([[1.0, 1.0, np.nan], [3.0, np.nan, np.nan], [5.0, 2.0, 4.0]])
    found = standard_error(draws, 8)  # b = 6: variance × 6 / 2
    assert found[:2] == pytest.approx([2 * math.sqrt(3), math.sqrt(0.5) * math.sqrt(3)])
    assert math.isnan(found[2])
    assert math.isnan(float(standard_error(np.zeros(0), 8)))
    assert math.isnan(quantile(1, 0.95))
    assert quantile(20, 0.95) == pytest.approx(float(t.ppf(0.975, 19)))
