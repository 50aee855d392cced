"""The spectrum of a cloud of patches: naive PCA, closed forms, and that its sums add up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xlli_ray.stats.patch_cloud import centred, effective_rank, k95, moments, spectra, told


def patches(count: int = 200, seed: int = 0) -> np.ndarray:
    """Patches of falling variance along fixed directions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(9).standard_normal((64, 64)))[0]
    return (rng.standard_normal((count, 64)) * 40 * 0.9 ** np.arange(64) @ basis + 128).reshape(count, 8, 8)


def test_rank_and_k95_are_those_of_a_plain_pca() -> None:
    points = centred(patches())
    eigenvalues = np.sort(np.linalg.svd(points - points.mean(axis=0), compute_uv=False) ** 2)[::-1]
    share = eigenvalues[eigenvalues > 1e-9] / eigenvalues.sum()
    found = spectra(moments(points, np.zeros(200, int), 1).covariance(np.ones(1)))
    assert float(effective_rank(found)) == pytest.approx(math.exp(-sum(p * math.log(p) for p in share)), rel=1e-9)
    count = next(k for k in range(1, 65) if share[:k].sum() >= 0.95)
    assert count - 1 < float(k95(found)) <= count


def test_equal_eigenvalues_have_full_rank_and_a_single_one_rank_one() -> None:
    assert float(effective_rank(np.ones(63))) == pytest.approx(63)
    assert float(effective_rank(np.eye(1, 63)[0])) == pytest.approx(1)
    assert float(k95(np.ones(20))) == pytest.approx(19)
    assert float(k95(np.eye(1, 63)[0])) == pytest.approx(0.95)
    assert math.isnan(float(k95(np.zeros(63))))
    assert math.isnan(float(effective_rank(np.zeros(63))))


def test_moments_without_a_group_are_those_of_the_others() -> None:
    points, group = centred(patches()), np.arange(200) % 5
    sums = moments(points, group, 5)
    rest = moments(points[group != 3], np.zeros(160, int), 1)
    np.testing.assert_allclose(sums.covariance(1.0 - np.eye(5)[3]), rest.covariance(np.ones(1)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rest.covariance(np.ones(1)), np.cov(points[group != 3].T, bias=True), rtol=1e-9, atol=1e-9)
    assert np.isnan(moments(points[:0], group[:0], 1).covariance(np.ones(1))).all()
    assert np.isnan(spectra(np.full((64, 64), np.nan))).all()


def test_normalised_patches_have_no_mean_and_one_contrast() -> None:
    points = centred(patches() * np.linspace(0.1, 3, 200)[:, None, None], normalise=True)
    np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(points.std(axis=1), 1)


def test_flat_and_missing_patches_are_left_out() -> None:
    some = patches(4)
    some[1] = 7.0
    some[2] = np.nan
    some[3] = 100 + 0.9 * np.sign(some[3] - some[3].mean())
    assert told(some).tolist() == [True, False, False, False]
