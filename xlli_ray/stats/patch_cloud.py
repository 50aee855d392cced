"""The cloud of an image set's patches: along how many directions do they vary?

A patch of 8 × 8 pixels without its mean is a point in 63 dimensions. A set whose patches are alike up to a few patterns, as streaks of one
width and direction, lies along few of them, however irregular each of its images looks; so this measures the set's variety, which the size
of compressed images does not. It measures sharpness, too: one-pixel streaks need more directions than soft ones (docs/deraining.md). With
λ the eigenvalues of the patches' covariance:

- *effective rank*, O. Roy, M. Vetterli, EUSIPCO 2007: exp of the entropy of λ / Σ λ; 1 … 63.
- *k95*: how many principal components hold 95 % of the variance. Here the cumulated share is taken as linear between whole numbers, so that
  small changes of the set change it a little; rounded up it is the usual count.

*Contrast-normalised* patches have standard deviation 1: each counts for its pattern, not for its strength. Patches with a standard
deviation below one grey level are left out of both clouds: they would be rounding alone.

Means and covariance come from sums over patches (`Moments`), which add up over images exactly; a set without one photograph is the sum
without its part.

>>> import numpy as np
>>> effective_rank(np.array([1.0, 1.0, 0.0])).round(12), k95(np.array([90.0, 10.0])), k95(np.ones(100)).round(9)
(np.float64(2.0), np.float64(1.5), np.float64(95.0))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAINTEST = 1.0
"""Standard deviation of a patch, grey levels, below which it says nothing."""
SHARE = 0.95


def centred(patches: np.ndarray, *, normalise: bool = False) -> np.ndarray:
    """Patches without their means, of standard deviation 1 with `normalise`: float (n, …) → float64 (n, D)."""
    points = patches.reshape(len(patches), -1).astype(np.float64)
    points -= points.mean(axis=1, keepdims=True)
    return points / points.std(axis=1, keepdims=True) if normalise else points


def told(patches: np.ndarray) -> np.ndarray:
    """bool (n,): patches that are there (no NaN) and not flat, see the module."""
    points = patches.reshape(len(patches), -1).astype(np.float64)
    there = np.asarray(np.isfinite(points).all(axis=1))
    return np.asarray(there & (np.where(there[:, None], points, 0.0).std(axis=1) >= FAINTEST))


@dataclass(frozen=True)
class Moments:
    """Sums over the points of each group. They add up over groups."""

    count: np.ndarray
    """float64 (groups,)."""
    sums: np.ndarray
    """float64 (groups, D)."""
    products: np.ndarray
    """float64 (groups, D, D)."""

    def covariance(self, weights: np.ndarray) -> np.ndarray:
        """Covariance of the points of all groups, each counted by `weights`, float (…, groups): float64 (…, D, D); NaN without points."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = (weights @ self.count)[..., None]
            mean = weights @ self.sums / count
            square = np.tensordot(weights, self.products, 1) / count[..., None]
            return np.asarray(square - mean[..., :, None] * mean[..., None, :])


def moments(points: np.ndarray, group: np.ndarray, groups: int) -> Moments:
    """Moments of float (n, D) by `group`, int (n,), 0 … groups − 1."""
    width = points.shape[1]
    sums, products = np.zeros((groups, width)), np.zeros((groups, width, width))
    for one in range(groups):
        mine = points[group == one].astype(np.float64)
        sums[one], products[one] = mine.sum(axis=0), mine.T @ mine
    return Moments(np.bincount(group, minlength=groups).astype(np.float64), sums, products)


def spectra(covariances: np.ndarray) -> np.ndarray:
    """Eigenvalues of (…, D, D), falling, not below 0: float64 (…, D); NaN where there is none."""
    known = np.isfinite(covariances).all(axis=(-1, -2))
    values = np.linalg.eigvalsh(np.where(known[..., None, None], covariances, 0.0))[..., ::-1]
    return np.where(known[..., None], np.maximum(values, 0.0), np.nan)


def effective_rank(eigenvalues: np.ndarray) -> np.ndarray:
    """exp of the entropy of the shares of eigenvalues (…, D); NaN where all are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = eigenvalues / eigenvalues.sum(axis=-1, keepdims=True)
        return np.asarray(np.exp(-np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), share).sum(axis=-1)))


def k95(eigenvalues: np.ndarray, share: float = SHARE) -> np.ndarray:
    """How many of eigenvalues (…, D), falling, hold `share` of their sum, between whole numbers; rounded up: the usual count.

    NaN where all are 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        held = np.cumsum(eigenvalues, axis=-1) / eigenvalues.sum(axis=-1, keepdims=True)
        first = np.argmax(held >= share * (1 - 1e-12), axis=-1)[..., None]
        above = np.take_along_axis(held, first, -1)[..., 0]
        below = np.where(first[..., 0] > 0, np.take_along_axis(held, np.maximum(first - 1, 0), -1)[..., 0], 0.0)
        return np.asarray(first[..., 0] + np.where(np.isfinite(above), (share - below) / (above - below), np.nan))
