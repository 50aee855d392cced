"""Rank correlation against scipy, closed forms and invariances."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy import stats

from xlli_ray.stats import rank
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.rank import permutation_p, spearman, spearman_rows, spearman_within


def test_the_docstrings_examples() -> None:
    assert doctest.testmod(rank).failed == 0


def test_it_is_scipys_with_ties_and_without() -> None:
    rng = np.random.default_rng(0)
    for x, y in ((rng.normal(size=50), rng.normal(size=50)), (rng.integers(0, 4, 60), rng.integers(0, 3, 60))):
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_increasing_is_one_decreasing_is_minus_one() -> None:
    x = np.random.default_rng(1).normal(size=20)
    assert spearman(x, np.exp(3 * x)) == 1.0
    assert spearman(x, -(x**3)) == -1.0
    assert spearman(x, x + 1e9) == pytest.approx(1.0)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])])
def test_too_few_or_constant_is_undefined(x: list[float], y: list[float]) -> None:
    assert np.isnan(spearman(x, y))
    assert np.isnan(permutation_p(x, y))


def test_rows_are_one_by_one() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    x[2, 1], x[4] = np.nan, 3.0
    rho = spearman_rows(x, y)
    assert np.isnan(rho[[2, 4]]).all()
    assert rho[[0, 1, 3, 5]] == pytest.approx([spearman(x[i], y[i]) for i in (0, 1, 3, 5)])
    assert np.isnan(spearman_rows(x[:, :2], y[:, :2])).all()


def test_exact_and_drawn_p_agree_and_are_uniform_for_nothing() -> None:
    rng = np.random.default_rng(4)
    x, y = np.arange(8.0), np.array([2.0, 1, 4, 3, 6, 5, 8, 7])
    exact = permutation_p(x, y)

    def products(b: np.ndarray, axis: int) -> np.ndarray:
        """Rises with Spearman's ρ over the orders of one sample, whose p it therefore has; of all 40,320 at once."""
        return (stats.rankdata(b, axis=axis) * stats.rankdata(x)).sum(axis)

    assert exact == pytest.approx(
        stats.permutation_test((y,), products, permutation_type="pairings", n_resamples=np.inf, vectorized=True).pvalue
    )
    assert permutation_p(np.r_[x, 8], np.r_[y, 9], generator(0)) < 0.01
    drawn = [permutation_p(rng.normal(size=12), rng.normal(size=12), generator(i), resamples=199) for i in range(200)]
    assert 0.4 < np.mean(drawn) < 0.6
    assert min(drawn) >= 1 / 200


def test_within_strata_leaves_out_what_the_strata_explain() -> None:
    rng = np.random.default_rng(5)
    strata = np.repeat(np.arange(10), 200)
    x, y = strata + 0.1 * rng.random(2000), strata + 0.1 * rng.random(2000)
    assert spearman(x, y) > 0.98
    assert abs(spearman_within(x, y, strata)) < 0.1
    assert spearman_within(x, x, strata) == pytest.approx(1.0)
    assert np.isnan(spearman_within(strata, y, strata)), "nothing is left"
    assert spearman_within(x, y, np.zeros(2000, int)) == pytest.approx(spearman(x, y))
