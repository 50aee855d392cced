"""Which frames a map of a clip lies on, and where in each: from attribution |A| (T, H, W) to a few numbers.

    share of frame k      S_k = Σ|A_k| / Σ|A|
    effective frames      exp(−Σ S_k ln S_k): 1 if one frame has everything, T if all have the same
    centroid of frame k   Σ p·w / Σ w over its pixels p (y, x), with w = |A| where |A_k| is in its top half, else 0

**Why a top half.** The plain centroid, Σ p·|A| / Σ|A|, is drawn towards the middle of the image by the weak attribution that a network
spreads over everything it sees: with 30 % of a frame's attribution spread evenly, an object 16 pixels off the middle appears 5 pixels
nearer to it, and by more the larger the image is. So only the strongest pixels count that together have TOP of the frame's attribution: a
spread below 1 − TOP, wherever it lies, then moves the centroid little. TOP = 1 is the plain centroid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
TOP = 0.5
"""Share of a frame's attribution that its centroid is made of."""


def frame_shares(maps: Array) -> NDArray[np.float64]:
    """(T, H, W), not negative → (T,), sum 1; NaN if it is zero everywhere or not finite."""
    sums = np.asarray(maps, np.float64).sum(axis=(-2, -1))
    total = sums.sum()
    return sums / total if np.isfinite(total) and total > 0 else np.full(len(sums), np.nan)


def effective_frames(shares: Array) -> float:
    """exp(entropy) of shares (T,) that sum to 1: 1 … T. NaN if they are."""
    if not np.isfinite(shares).all():
        return float("nan")
    some = np.asarray(shares, np.float64)[np.asarray(shares) > 0]
    return float(np.exp(-(some * np.log(some)).sum()))


def centroids(maps: Array, top: float = TOP) -> NDArray[np.float64]:
    """(T, H, W), not negative → (T, 2): y and x in pixels (a pixel's centre is an integer). NaN for a frame without attribution."""
    return np.stack([_centroid(np.asarray(frame, np.float64), top) for frame in maps])


def _centroid(frame: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    total = frame.sum()
    if not np.isfinite(total) or total <= 0:
        return np.full(2, np.nan)
    if top < 1:
        falling = np.sort(frame, axis=None)[::-1]
        last = falling[min(falling.size - 1, int(np.searchsorted(np.cumsum(falling), top * total)))]
        frame = np.where(frame >= last, frame, 0.0)  # pixels as strong as the last one count, too: no order among equals
        total = frame.sum()
    rows, columns = frame.sum(axis=1), frame.sum(axis=0)
    return np.array([rows @ np.arange(len(rows)), columns @ np.arange(len(columns))]) / total
