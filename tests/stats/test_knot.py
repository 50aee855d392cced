"""Two lines that meet at a knot: found exactly without noise, and their change has an interval that holds it."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.knot import best_knot, coefficients, fit, knot_over_clips

X = np.array([0.25, 0.75, 1.5, 3, 5, 7, 10, 14, 20, 28, 36])


def bent(knot: float, before: float, change: float) -> np.ndarray:
    return 0.3 + before * X + change * np.maximum(0, X - knot)


@pytest.mark.parametrize("knot", [8.0, 16.0])
def test_lines_without_noise_are_found_whatever_the_weights(knot: float) -> None:
    weights = np.random.default_rng(0).uniform(1, 9, len(X))
    for given in (None, weights):
        assert fit(X, bent(knot, 0.01, -0.2), knot, given) == pytest.approx([0.3, 0.01, -0.2], abs=1e-10)
        assert best_knot(X, bent(knot, 0.01, -0.2), np.array([4.0, 8.0, 12.0, 16.0]), given) == knot


def test_the_fit_is_that_of_weighted_least_squares() -> None:
    rng = np.random.default_rng(1)
    y, weights = bent(8, 0.02, -0.1) + rng.normal(0, 0.1, len(X)), rng.uniform(0.5, 4, len(X))
    a, b, c = fit(X, y, 8.0, weights)
    residual = y - a - b * X - c * np.maximum(0, X - 8)
    for column in (np.ones(len(X)), X, np.maximum(0, X - 8)):
        assert abs((weights * residual * column).sum()) < 1e-9, "what is left is orthogonal to each column"


def test_points_that_do_not_determine_two_lines_give_none() -> None:
    assert np.isnan(coefficients(np.array([1.0, 2.0, 3.0]), 8.0)).all()
    assert np.isnan(coefficients(np.array([1.0, 9.0, 12.0]), 8.0)).all()
    y = bent(8, 0.02, -0.1)
    y[X > 8] = np.nan
    assert np.isnan(fit(X, y, 8.0)).all()
    assert np.isnan(best_knot(X, y, np.array([8.0, 16.0])))


def clips(rng: np.random.Generator, count: int, change: float) -> tuple[np.ndarray, ...]:
    """Sums of two networks whose ΔPSNR has a knot at 8; each clip has a level and a slope of its own."""
    pixels = rng.integers(1000, 5000, (count, len(X))).astype(np.float64)
    delta = bent(8, 0.0, change) + rng.normal(0, 0.1, (count, 1)) + rng.normal(0, 0.004, (count, 1)) * np.maximum(0, X - 8)
    other = pixels * 40
    return other / 10 ** (delta / 10), other, pixels


def test_the_change_at_the_window_has_an_interval_that_holds_it_and_shrinks_with_more_clips() -> None:
    rng = np.random.default_rng(2)
    knots = np.arange(4.0, 22.0, 2.0)
    lengths = []
    for count in (8, 32):
        found = knot_over_clips(*clips(rng, count, -0.05), X, 8.0, knots, rng=np.random.default_rng(0), resamples=100)
        assert found.change_low < -0.05 < found.change_high < 0
        assert found.best_low <= found.best <= found.best_high
        assert found.best == pytest.approx(8, abs=2)
        assert found.before == pytest.approx(0, abs=0.02)
        lengths.append(found.change_high - found.change_low)
    assert lengths[1] < lengths[0]


def test_one_clip_has_no_interval() -> None:
    found = knot_over_clips(*clips(np.random.default_rng(3), 1, -0.05), X, 8.0, np.array([8.0]), rng=np.random.default_rng(0), resamples=10)
    assert np.isfinite(found.change)
    assert np.isnan([found.change_low, found.change_high, found.best_low]).all()
