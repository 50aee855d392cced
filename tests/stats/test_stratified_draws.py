"""Draws along an order: one in each part at every power of two, unbiased, an error that covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from xlli_ray.stats.stratified_draws import mean_and_error, places, randoms_for, ranks

RANDOMS = np.random.default_rng(0).random((4000, randoms_for(64)))


def test_the_first_draws_have_one_in_each_part_at_every_power_of_two_and_never_depend_on_their_number() -> None:
    for count in (1, 2, 4, 8, 64):
        at = places(RANDOMS, count)
        assert np.array_equal(np.sort((at * count).astype(int), axis=-1), np.broadcast_to(np.arange(count), at.shape))
        assert np.array_equal(places(RANDOMS, 64)[:, :count], at)
    assert places(np.full(randoms_for(50), np.nextafter(1.0, 0.0)), 50).max() < 1
    assert randoms_for(50) == randoms_for(64) == 128


def test_each_draw_is_uniform_and_parts_are_independent() -> None:
    at = places(RANDOMS, 16)
    for k in range(16):
        counts = np.histogram(at[:, k], bins=20, range=(0, 1))[0]
        assert ((counts - 200) ** 2 / 200).sum() < 50, "χ² of 19 degrees of freedom"
    within = np.sort(at, axis=-1) * 16 % 1
    assert np.abs(np.corrcoef(within.T) - np.eye(16)).max() < 0.07


def test_the_mean_is_unbiased_for_any_number_of_draws() -> None:
    population = np.sort(np.random.default_rng(0).gamma(0.5, size=1000))
    for count in (3, 4, 13):
        at = places(RANDOMS, count)
        mean, _ = mean_and_error(population[ranks(at, 1000)], at)
        assert abs(mean.mean() - population.mean()) < 4 * mean.std() / np.sqrt(len(mean))


@pytest.mark.parametrize("shape", ["trend", "bend", "noise"])
def test_the_interval_covers_and_draws_along_a_trend_are_worth_many_independent_ones(shape: str) -> None:
    noise = 0.3 * np.random.default_rng(1).standard_normal(10_000)
    order = np.linspace(-1, 1, 10_000)
    population = {"trend": order + noise, "bend": order**2 + 0.3 * noise, "noise": noise}[shape]
    for count in (4, 16, 64):
        at = places(RANDOMS, count)
        mean, error = mean_and_error(population[ranks(at, 10_000)], at)
        covered = (np.abs(mean - population.mean()) <= student.ppf(0.975, count - 1) * error).mean()
        assert covered > 0.93, (shape, count, covered)
        if shape != "noise" and count > 4:
            assert mean.var() < population.var() / count / 2


def test_one_draw_has_no_error_and_no_sequence_goes_on_for_ever() -> None:
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        mean_and_error(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="65 draws of a sequence of at most 64"):
        places(RANDOMS, 65)
