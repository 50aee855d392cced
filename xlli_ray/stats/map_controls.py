"""Similarity of two attribution maps of one image that should differ: the arithmetic of sanity checks.

J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: an explanation that does not change when the network's weights are
randomized does not explain the network. They compare by rank correlation of absolute values, as here. Maps of restoration networks need
one more step. Whatever its weights, a convolutional network mostly uses pixels near the window, and both maps are zero far from it, so the
rank correlation over all pixels is high for any two networks. `alike_beyond_place` removes what the position relative to the window
explains: ranks over all pixels, minus the mean rank of the pixels that are mirror images of each other about the window. Any symmetric
fall-off, round or square, is removed with it. 1: the same map; 0: nothing in common but the position.

Typical values of LAM at ×4 on 64×64 pixels, randomized weights (two photographs, one window of 16; `docs/log.md`): over all pixels ρ is
0.6–1.0 for each of RLFN, RFDN, IMDN, CARN-M and SRResNet, so it says little. Beyond position it is 0.15–0.6, because all maps of an
image share the detail that the path brings to each pixel, and 0.85–0.9 for SRResNet with a global skip, which passes the image through
whatever its weights. Moving the window by its own size leaves ρ at 0.7–0.96, while the map's centre moves 0.4–1.1 of the way: hence
`followed`.

Maps are float (H, W) ≥ 0 in network-input pixels, windows (top, left, size) in output pixels, `scale` output pixels an input pixel.
"""

from __future__ import annotations

import numpy as np

from xlli_ray.stats.rank import spearman, spearman_within

Window = tuple[int, int, int]


def places(shape: tuple[int, int], window: Window, scale: int) -> np.ndarray:
    """Index of each input pixel's position relative to the window, int64 (H, W): mirror images of each other share one.

    A position is the pair of distances along y and x, in pixels, rounded up, smaller first; 0 beside or inside the window.
    """
    top, left, size = (value / scale for value in window)
    away = []
    for length, start in zip(shape, (top, left)):
        centres = np.arange(length) + 0.5
        away.append(np.ceil(np.maximum(np.maximum(start - centres, centres - (start + size)), 0.0)).astype(np.int64))
    near, far = (side(away[0][:, None], away[1][None, :]) for side in (np.minimum, np.maximum))
    return near * (max(shape) + 1) + far


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's ρ of all pixels; NaN where a map is undefined (NaN, constant)."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    return spearman(first.ravel(), second.ravel())


def alike_beyond_place(first: np.ndarray, second: np.ndarray, window: Window, scale: int) -> float:
    """Spearman's ρ beyond what the position relative to the window explains (see the module); NaN where a map is undefined."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    height, width = first.shape
    return spearman_within(first.ravel(), second.ravel(), places((height, width), window, scale).ravel())


def followed(first: np.ndarray, second: np.ndarray, window: Window, moved: Window, scale: int) -> float:
    """How far the map's centre of mass moved with its window: 1 all the way, 0 not at all; negative: the opposite direction.

    `first` is the map of `window`, `second` that of `moved`. NaN where a map is undefined or the window did not move.
    """
    step = np.array([moved[0] - window[0], moved[1] - window[1]], np.float64) / scale
    if not step.any() or not (np.isfinite(first).all() and np.isfinite(second).all()) or not (first.any() and second.any()):
        return float("nan")
    movement = _centre(second) - _centre(first)
    return float(movement @ step / (step @ step))


def _centre(values: np.ndarray) -> np.ndarray:
    weights = values.astype(np.float64)
    y, x = np.indices(weights.shape)
    return np.array([(weights * y).sum(), (weights * x).sum()]) / weights.sum()
