"""Pooled ratios over clips: what each clip contributes, and how often a difference of two is held by its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from xlli_ray.stats import crossed
from xlli_ray.stats.pooled import DECIBELS, effective, pseudo_values


def test_the_mean_over_clips_is_the_logarithm_of_the_pooled_ratio() -> None:
    rng = np.random.default_rng(0)
    sums, counts = rng.uniform(1, 9, (3, 7)), rng.uniform(1, 50, 7)
    found = pseudo_values(sums, counts)
    assert found.mean(axis=1) == pytest.approx(np.log(sums.sum(axis=1) / counts.sum()))


def test_clips_of_one_size_are_spread_as_the_jackknife_has_it() -> None:
    sums, counts = np.array([[1.0, 2.0, 4.0, 3.0]]), np.full(4, 10.0)
    whole = np.log(10.0 / 40)
    naive = np.array([4 * whole - 3 * np.log((10.0 - s) / 30) for s in sums[0]])
    assert pseudo_values(sums, counts)[0] == pytest.approx(whole + naive - naive.mean())


def test_few_clips_with_nearly_all_pixels_widen_the_interval_to_that_of_so_few() -> None:
    counts = np.array([1000.0, 1000.0, 1.0, 1.0, 1.0, 1.0])
    assert effective(counts) == pytest.approx(2004**2 / 2_000_004)
    assert effective(np.full(5, 3.0)) == pytest.approx(5)
    assert effective(np.zeros(3)) == 0
    sums = np.array([[900.0, 2000.0, 1.0, 2.0, 1.0, 3.0]])
    whole = np.log(sums.sum() / counts.sum())
    plain = np.array([6 * whole - 5 * np.log((sums.sum() - s) / (counts.sum() - n)) for s, n in zip(sums[0], counts)])
    wide = t.ppf(0.975, effective(counts) - 1) / t.ppf(0.975, 5)
    assert pseudo_values(sums, counts)[0] == pytest.approx(whole + wide * (plain - plain.mean()))
    assert wide > 4


def test_a_clip_without_pixels_of_a_bin_has_no_part_in_it() -> None:
    sums, counts = np.array([[2.0, 0.0, 5.0, 3.0]]), np.array([4.0, 0.0, 6.0, 5.0])
    found = pseudo_values(sums, counts)
    assert np.isnan(found[0, 1])
    kept = counts > 0
    assert found[0, kept] == pytest.approx(pseudo_values(sums[:, kept], counts[kept])[0])
    assert np.isnan(pseudo_values(np.zeros((1, 3)), np.zeros(3))).all()


def test_a_bin_without_any_error_has_no_logarithm() -> None:
    assert np.isnan(pseudo_values(np.array([[0.0, 0.0, 0.0]]), np.ones(3))).all()
    assert np.isnan(pseudo_values(np.array([[1.0, 0.0, 0.0]]), np.ones(3))).all(), "without the first clip nothing is left"


def test_a_network_differs_from_itself_by_exactly_nothing() -> None:
    sums, counts = np.random.default_rng(1).uniform(1, 9, (1, 5)), np.arange(1.0, 6.0)
    found = crossed.difference(pseudo_values(sums, counts), pseudo_values(sums, counts))
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    twice = crossed.difference(pseudo_values(2 * sums, counts), pseudo_values(sums, counts))
    assert DECIBELS * twice.mean == pytest.approx(10 * np.log10(2))
    assert twice.high - twice.low == pytest.approx(0, abs=1e-12)


def test_the_interval_of_a_difference_holds_it_where_a_bootstrap_over_six_clips_does_not() -> None:
    rng, held, resampled = np.random.default_rng(2), 0, 0
    studies, clips = 400, 6
    for _ in range(studies):
        size = rng.normal(0, 1, clips)
        counts = np.exp(0.7 * size)
        hard = 0.35 * size + 0.6 * rng.normal(0, 1, clips)
        one, other = (counts * np.exp(level + hard + rng.normal(0, 0.15, clips)) for level in (0.2, 0.0))
        found = crossed.difference(*(pseudo_values(some[None], counts) for some in (one, other)))
        held += found.low <= 0.2 <= found.high
        draws = rng.multinomial(clips, np.full(clips, 1 / clips), size=300)
        low, high = np.percentile(np.log((draws @ one) / (draws @ other)), [2.5, 97.5])
        resampled += low <= 0.2 <= high
    assert held / studies > 0.92 > 0.9 > resampled / studies
