"""Draws of clusters: paired, keyed, and percentiles that are widened for few of them."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from xlli_ray.stats import bootstrap
from xlli_ray.stats.bootstrap import bounds, deal, generator, resample, resampled_means


def test_the_docstrings_example() -> None:
    assert doctest.testmod(bootstrap).failed == 0


def test_a_constant_shift_between_two_columns_stays_exact_through_the_shared_draws() -> None:
    base = np.random.default_rng(1).normal(0, 10, (25, 1))
    draws = resample(25, 1000, generator(0))
    pair = resampled_means(np.hstack([base, base + 0.25]), np.ones((25, 2)), draws)
    assert np.allclose(pair[:, 1] - pair[:, 0], 0.25, atol=1e-13)


def test_draws_are_keyed_by_seed_and_purpose_alone() -> None:
    assert np.array_equal(generator(3, "a").random(4), generator(3, "a").random(4))
    assert not np.array_equal(generator(3, "a").random(4), generator(3, "b").random(4))
    assert not np.array_equal(generator(3, "a").random(4), generator(4, "a").random(4))
    assert resample(5, 7, generator(0)).sum(axis=1).tolist() == [5] * 7


def test_expanded_percentiles_are_those_of_t_and_become_plain_ones() -> None:
    from scipy.stats import norm, t

    resampled = np.random.default_rng(0).normal(size=(200000, 1))
    low, high = bounds(resampled, clusters=np.array([6]))
    assert high[0] == pytest.approx(np.sqrt(6 / 5) * t.ppf(0.975, 5), rel=0.03)
    assert low[0] == pytest.approx(-high[0], rel=0.03)
    assert bounds(resampled, clusters=np.array([10**6]))[1][0] == pytest.approx(norm.ppf(0.975), rel=0.02)


def test_dealing_many_clusters_into_groups_keeps_mean_and_spread() -> None:
    values = np.random.default_rng(9).normal(size=(6000, 1))
    grouped, counts = deal(values, 500), deal(np.ones_like(values), 500)
    assert grouped.shape == (500, 1)
    assert counts.sum() == 6000
    low, high = bounds(resampled_means(grouped, counts, resample(500, 2000, generator(1))))
    assert float(high[0] - low[0]) / (2 * 1.96 / np.sqrt(6000)) == pytest.approx(1, abs=0.1)
