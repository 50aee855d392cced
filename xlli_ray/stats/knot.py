"""A bend in a curve: does the slope of ΔPSNR against motion change at the size of the attention's window?

y = a + b x + c max(0, x − k): two lines that meet at the knot k, by weighted least squares. b is the slope before the knot, c its change
there. For a fixed knot all three are linear in y (`coefficients`). Which knot fits best is found by trying a grid (D. Hinkley, "Inference
in Two-Phase Regression", JASA 66, 1971); its distribution is not normal, and it means nothing if the slope does not change, so read it
after the interval of the change.

The clip is the unit. The change of the slope has an interval by the jackknife: with C clips, c of all and c₋ᵢ without clip i, the
pseudo-values C c − (C − 1) c₋ᵢ go where means over clips go (`stats.pooled` says why: a bootstrap over few clips holds the truth too
rarely). The best knot jumps from one grid point to another, where no jackknife applies: its interval is a bootstrap's, whole clips drawn,
their sums pooled, the search repeated.

>>> import numpy as np
>>> x = np.arange(0.0, 32.0)
>>> a, b, c = fit(x, 1.0 + 0.5 * x - 0.75 * np.maximum(0, x - 8), 8.0)
>>> round(float(a), 9), round(float(b), 9), round(float(c), 9)
(1.0, 0.5, -0.75)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.bootstrap import bounds, resample
from xlli_ray.stats.intervals import Interval, intervals
from xlli_ray.stats.motion_error import delta_psnr

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Knot:
    """The change of the slope at a knot, and the best knot, each with its interval over clips; NaN where it is not determined (an
    interval takes three clips)."""

    before: float
    """Slope before the given knot, dB per pixel."""
    change: float
    """Change of the slope there."""
    change_low: float
    change_high: float
    best: float
    """The knot that fits best, in pixels."""
    best_low: float
    best_high: float


def coefficients(x: Values, knot: float, weights: Values | None = None) -> Values:
    """The matrix, float64 (3, n), that takes y (n,) to (a, b, c).

    `weights`: of the points, ≥ 0; None: 1 each. NaN if they do not determine two lines, which takes two different x up to the knot and one
    beyond it.
    """
    weights = np.ones(x.shape) if weights is None else weights
    used = x[weights > 0]
    if len(np.unique(used[used <= knot])) < 2 or not (used > knot).any():
        return np.full((3, len(x)), np.nan)
    columns = np.stack([np.ones(x.shape), x, np.maximum(0, x - knot)], axis=1)
    root = np.sqrt(weights)
    found: Values = np.linalg.pinv(root[:, None] * columns) * root
    return found


def fit(x: Values, y: Values, knot: float, weights: Values | None = None) -> Values:
    """(a, b, c) for a fixed knot, float64 (3,); points with NaN in `y` are left out."""
    known = np.isfinite(y)
    found: Values = coefficients(x[known], knot, None if weights is None else weights[known]) @ y[known]
    return found


def best_knot(x: Values, y: Values, knots: Values, weights: Values | None = None) -> float:
    """Of `knots` the one with the smallest weighted sum of squared residuals, the first of equals; NaN if none is determined."""
    known = np.isfinite(y)
    weights = np.ones(x.shape) if weights is None else weights
    x, y, weights = x[known], y[known], weights[known]
    left = np.full(len(knots), np.inf)
    for i, knot in enumerate(knots):
        a, b, c = coefficients(x, float(knot), weights) @ y
        if np.isfinite(c):
            left[i] = (weights * (y - a - b * x - c * np.maximum(0, x - knot)) ** 2).sum()
    return float(knots[int(left.argmin())]) if np.isfinite(left).any() else float("nan")


def knot_over_clips(
    squared: Values, other: Values, count: Values, x: Values, knot: float, knots: Values, *, rng: np.random.Generator,
    resamples: int = 1000, level: float = 0.95,
) -> Knot:  # fmt: skip
    """The knot in ΔPSNR of pooled sums against motion, with intervals over clips (see the module).

    `squared`, `other`: (clips, bins), Σ e² of two networks on the same values, of which a clip has `count` in a bin. `x`: motion of the
    bins. `knot`: the side of the window. `knots`: tried for the best one. Bins weigh by their values, of all clips used; those without
    values, or without error, are left out.
    """

    def curve(draw: Values) -> tuple[Values, Values]:
        values = draw @ count
        y = delta_psnr(draw @ squared, draw @ other, values)
        return np.where(np.isfinite(y), y, np.nan), values

    clips = len(squared)
    y, weights = curve(np.ones(clips))
    _, before, change = fit(x, y, knot, weights)
    pseudo, drawn = np.full((clips, 1), np.nan), np.full((resamples, 1), np.nan)
    if clips > 1:
        for i in range(clips):
            without, values = curve(np.where(np.arange(clips) == i, 0.0, 1.0))
            pseudo[i] = clips * change - (clips - 1) * fit(x, without, knot, values)[2]
        found_before: dict[bytes, float] = {}  # few clips are often drawn equally: four in 35 ways
        for i, draw in enumerate(resample(clips, resamples, rng)):
            key = draw.tobytes()
            if key not in found_before:
                again, values = curve(draw)
                found_before[key] = best_knot(x, again, knots, values)
            drawn[i] = found_before[key]
    (found,) = intervals(pseudo, level=level, difference=True) if np.isfinite(pseudo).all() else [Interval(change, np.nan, np.nan, clips)]
    half = (found.high - found.low) / 2
    low, high = bounds(drawn, level=level, clusters=np.array([clips]))
    best = best_knot(x, y, knots, weights)
    return Knot(float(before), float(change), float(change - half), float(change + half), best, float(low[0]), float(high[0]))
