"""Logarithms of pooled ratios, such as the mean squared error over all pixels of a bin, with what each clip contributes to them.

PSNR of a bin of pixels is −10 log₁₀ of Σ s / Σ n, squared errors over pixels, pooled over all clips: averaging the PSNR of clips instead
gives a clip with ten pixels in the bin as much weight as one with ten thousand, and an infinite value where one has no error. A pooled
ratio is no mean of clips, so its luck of the draw is taken from the jackknife: with C clips, L of all and L₋c without clip c, the
pseudo-values C L − (C − 1) L₋c behave like C independent values of which L is the mean (J. Tukey 1958; B. Efron and R. Tibshirani, "An
Introduction to the Bootstrap", 1993, ch. 11). They are moved here to have exactly L as their mean, and go where means over photographs go:
`stats.intervals` for one training, `stats.crossed` for several. The clip is the unit; its windows, frames and pixels are summed first.

A bootstrap over clips, which is what the literature does, takes the ends from resamples. With the three to eight clips of a test set of
videos these are too short: `tests/benchmarks/coverage.py pooled` has both.

A clip without pixels in a bin says nothing about it and is left out. If few clips hold nearly all of the pixels, the others say little
about the luck of the draw: `effective` is the number of clips of equal size that would be as good (L. Kish, "Survey Sampling", 1965), and
pseudo-values are spread by the ratio of Student's t of so many clips to that of all, so that an interval over them has the right length.

>>> import numpy as np
>>> found = pseudo_values(np.array([[2.0, 2.0, 2.0]]), np.array([1.0, 1.0, 1.0]))
>>> bool(np.allclose(found, np.log(2)))
True
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
DECIBELS = 10 / np.log(10)
"""A difference of natural logarithms of squared errors in dB."""


def pseudo_values(sums: Values, counts: Values, *, level: float = 0.95) -> Values:
    """What each clip contributes to log(Σ sums / Σ counts), whose mean over clips it is.

    `sums`: float64 (trainings, clips), ≥ 0. `counts`: float64 (clips,) ≥ 0, the same for all trainings, as on the same pixels. `level`: of
    the interval that they are for. Returns float64 (trainings, clips), NaN for clips without pixels; all NaN where a sum without one of the
    clips is 0, since its logarithm is not finite.
    """
    known = counts > 0
    out = np.full(sums.shape, np.nan)
    kept, pixels = sums[:, known], counts[known]
    clips = kept.shape[1]
    if clips == 0:
        return out
    total, number = kept.sum(axis=1, keepdims=True), pixels.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.log(total / number)
        if clips == 1:
            found = whole
        else:
            # summed anew without the clip: the difference of two large sums would leave only its rounding error
            left_out = np.stack([np.delete(kept, c, axis=1).sum(axis=1) / np.delete(pixels, c).sum() for c in range(clips)], axis=1)
            found = clips * whole - (clips - 1) * np.log(left_out)
            found = whole + _wider(effective(pixels), clips, level) * (found - found.mean(axis=1, keepdims=True))
    out[:, known] = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, np.nan)
    return out


def effective(counts: Values) -> float:
    """Number of clips of equal size that determine a pooled ratio as well as those of `counts`, float64 (clips,): (Σ n)² / Σ n²."""
    squares = float((counts**2).sum())
    return float(counts.sum()) ** 2 / squares if squares else 0.0


def _wider(effective_clips: float, clips: int, level: float) -> float:
    """Student's t of the effective number of clips over that of their number; at least that of two clips is taken."""
    from scipy.special import stdtrit

    share = (1 + level) / 2
    return float(stdtrit(max(effective_clips - 1, 1.0), share) / stdtrit(clips - 1, share))
