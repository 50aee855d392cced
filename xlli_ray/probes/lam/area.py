"""The contribution area: a map smoothed into the region that the network uses, as in the figures of the paper.

A Gaussian kernel density over the pixel positions, weighted by the map; bandwidth by Scott's rule from the effective number of pixels,
n_eff = (Σw)² / Σw², factor n_eff^(−1/6), times the weighted covariance of the positions. The authors evaluate it pixel by pixel
(scipy's `gaussian_kde`), which grows with the square of the number of pixels. On a grid the same sum is a convolution, so it is done by
FFT here: the same numbers to rounding, also for covariances not aligned with the axes, in milliseconds for large images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def contribution_area(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """A map (H, W) → (H, W) in 0..1. Zeros for an undefined map or one with fewer than three pixels, whose spread is meaningless."""
    weights = np.asarray(values, np.float64)
    height, width = weights.shape
    total = weights.sum()
    if not np.isfinite(total) or total <= 0 or np.count_nonzero(weights) < 3:
        return np.zeros((height, width))
    weights = weights / total
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    square = float((weights**2).sum())
    centred = np.stack([(columns - (weights * columns).sum()).ravel(), (rows - (weights * rows).sum()).ravel()])
    covariance = (centred * weights.ravel()) @ centred.T / (1 - square)
    bandwidth = covariance * (1 / square) ** (-2 / 6)
    if np.linalg.cond(bandwidth) > 1e12:  # all weight is on one line
        return np.zeros((height, width))
    down, across = np.arange(-(height - 1), height), np.arange(-(width - 1), width)
    offsets = np.stack(np.broadcast_arrays(across[None, :], down[:, None])).reshape(2, -1).astype(np.float64)
    kernel = np.exp(-0.5 * (offsets * np.linalg.solve(bandwidth, offsets)).sum(0)).reshape(len(down), len(across))
    shape = (3 * height - 2, 3 * width - 2)
    smoothed = np.fft.irfft2(np.fft.rfft2(weights, shape) * np.fft.rfft2(kernel, shape), shape)
    density = np.maximum(smoothed[height - 1 : 2 * height - 1, width - 1 : 2 * width - 1], 0.0)
    return density / density.max()
