"""Means over photographs with their intervals: one method for the report and for every analysis that averages.

The photograph is the unit. Its patches, windows and degraded copies are correlated (0.3–0.6 within a photograph is usual), so they count
once: the mean of each photograph's values is taken first, photographs have equal weight, and the spread of these means tells what another
choice of photographs would have given. N values of n photographs are n, not N.

**Means.** P. Hall, "On the removal of skewness by transformation", Journal of the Royal Statistical Society B 54, 1992. Of n photographs
with mean m, standard error e and sample skewness γ, with k = γ/√n,

    g(T) = T + k T²/3 + k² T³/27 + k/6,   T = (m − μ)/e

has no skewness to the order 1/n; ends are m − e·g⁻¹(±t), t of Student with n − 1 degrees of freedom. Diffusion indices, extents and shares
are skewed, and a plain t interval of them misses on one side in 10 to 16 %. A sample's γ is too small for skewed distributions and mostly
noise for five photographs, so it is weighted by 1 + 6 (n − 5)/n², which is 0 near n = 3 (plain t), 1 at 5, 1.2 at 20 and 1 for many.
Where k T = −3, g is flat, and its inverse steep: the longer end goes from twice t's at |k| t = 0.95 to four times at 1.125, by a change
of γ that is chance. One outlying photograph does that: a mean PSNR of seven had an end of 55 dB, the best of them had 47. So no end is
further from the mean than twice t's (`LONGEST`); from seven photographs on, an outlier further out than the others' spread then pulls no
end beyond itself (far from n − 1 equal ones it is n − 1 errors from the mean).

**Differences** of two networks on the same photographs: Student's t of the photographs' mean differences, without the correction. Two
equal networks differ symmetrically, however skewed the quantity is; skewness of the sample is then chance in heavy tails, and correcting
it claims false differences in 7 to 12 %, where t claims 2 to 6 %.

Range: ends stay within the range of the quantity (a diffusion index 0…100, a share 0…1); a share that is 0, or 1, on every photograph has
C. Clopper and E. Pearson's exact end (Biometrika 26, 1934), not an interval of length zero. Fewer than three photographs have no interval:
with two, t has one degree of freedom and reaches nine standard deviations to each side.

Coverage of these intervals and of other methods: `tests/benchmarks/coverage.py`, `docs/decisions/009-intervals.md`.

>>> import numpy as np
>>> interval, = intervals(np.arange(8.0)[:, None])
>>> interval.mean, interval.low < 3.5 < interval.high, interval.photographs, interval.values
(3.5, True, 8, 8)
>>> intervals(np.array([[3.0], [4.0]]))[0].reason
'2 photographs: an interval takes 3'
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST = 3
"""Fewer photographs than this have no interval."""
FEW = 20
"""From this many on, coverage is 0.93–0.97 at a nominal 0.95; for fewer, see the docs."""
WEIGHT = 6.0
"""Weight of the sample skewness, see the module; determined by simulation."""
LONGEST = 2.0
"""Largest distance of an end from the mean, as a multiple of Student's t, see the module."""

Limits = tuple[float | None, float | None]
"""Range of a quantity: lowest and highest value, None where unbounded."""
UNLIMITED: Limits = (None, None)
SHARE: Limits = (0.0, 1.0)


@dataclass(frozen=True)
class Interval:
    """A mean over photographs with its interval; `low` and `high` are NaN if `reason` is not empty."""

    mean: float
    low: float
    high: float
    photographs: int
    """Number of photographs averaged."""
    values: int = 0
    """Number of values averaged: patches, windows."""
    reason: str = ""


def photograph_means(values: np.ndarray, photograph: np.ndarray, photographs: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each photograph's finite values, and their number.

    `values`: float64 (rows, columns), NaN where nothing was measured. `photograph`: int (rows,), 0…photographs − 1. Returns float64
    (photographs, columns), NaN where there are none, and int64 of the same shape.
    """
    finite = np.isfinite(values)
    sums = np.zeros((photographs, values.shape[1]))
    counts = np.zeros(sums.shape, np.int64)
    np.add.at(sums, photograph, np.where(finite, values, 0.0))
    np.add.at(counts, photograph, finite)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0), counts


def intervals(
    means: np.ndarray, counts: np.ndarray | None = None, *, level: float = 0.95, limits: Limits = UNLIMITED, difference: bool = False
) -> list[Interval]:
    """Mean over photographs of each column with its interval.

    `means`: float64 (photographs, columns), NaN where a photograph has no value. `counts`: int, the same shape, values behind each;
    None: one each. `limits`: range of the quantity. `difference`: of two networks on the same photographs, see the module.
    """
    seen = np.isfinite(means)
    number = seen.sum(axis=0)
    values = number if counts is None else np.where(seen, counts, 0).sum(axis=0)
    # in units of the column's first value: both ends of a constant column are then exactly its constant
    first = seen.argmax(axis=0)
    origin = np.where(number > 0, means[first, np.arange(means.shape[1])], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        shifted = np.where(seen, means - origin, 0.0)
        middle = shifted.sum(axis=0) / number
        away = np.where(seen, shifted - middle, 0.0)
        spread = np.sqrt((away**2).sum(axis=0) / (number - 1))
        third = (away**3).sum(axis=0) / number
    low, high = ends(middle + origin, spread, third, number, level=level, limits=limits, difference=difference)
    return [Interval(float(m), float(a), float(b), int(n), int(v), refusal(int(n)))
            for m, a, b, n, v in zip(middle + origin, low, high, number, values)]  # fmt: skip


def ends(
    mean: np.ndarray, spread: np.ndarray, third: np.ndarray, photographs: np.ndarray, *,
    level: float = 0.95, limits: Limits = UNLIMITED, difference: bool = False,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Ends of intervals from moments over photographs, all float64 of one shape (columns,).

    `spread`: standard deviation, n − 1 in its denominator. `third`: third central moment, n in its denominator. `photographs`: n. NaN for
    fewer than FEWEST.
    """
    from scipy.special import stdtrit

    n = photographs.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = spread / np.sqrt(n)
        reach = stdtrit(np.maximum(n - 1, 1), (1 + level) / 2)  # Student's t; scipy.stats takes half a second to load
        skewness = third / (spread**2 * (n - 1) / n) ** 1.5 * np.sqrt(n * (n - 1)) / (n - 2)
        k = np.zeros(n.shape) if difference else np.nan_to_num(skewness * (1 + WEIGHT * (n - 5) / n**2) / np.sqrt(n))
        low, high = mean - error * _untransformed(reach, k), mean - error * _untransformed(-reach, k)
        low, high = np.where(spread > 0, low, mean), np.where(spread > 0, high, mean)
        if limits == SHARE and not difference:
            exact = ((1 - level) / 2) ** (1 / n)
            high = np.where((spread == 0) & (mean == 0), 1 - exact, high)
            low = np.where((spread == 0) & (mean == 1), exact, low)
    least, most = limits
    low = low if least is None else np.maximum(low, least)
    high = high if most is None else np.minimum(high, most)
    few = ~(photographs >= FEWEST)
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def _untransformed(reach: np.ndarray, k: np.ndarray) -> np.ndarray:
    """g⁻¹ of Hall's transformation, at most LONGEST times as far as `reach`; `reach` itself where k is 0."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        inverse = 3 * (np.cbrt(1 + k * (reach - k / 6)) - 1) / k
    furthest = LONGEST * np.abs(reach)
    return np.where(np.abs(k) < 1e-9, reach, np.clip(inverse, -furthest, furthest))


def refusal(photographs: int) -> str:
    """Why there is no interval; empty where there is one."""
    if photographs >= FEWEST:
        return ""
    return f"{photographs} photograph{'' if photographs == 1 else 's'}: an interval takes {FEWEST}"


def kind(level: float, photographs: int | None = None, *, difference: bool = False) -> str:
    """Label of an interval: `95 %, t over 20 photographs`."""
    over = f" over {photographs} photographs" if photographs is not None else " over photographs"
    return f"{100 * level:g} %, {'t' if difference else 'skewness-corrected t'}{over}"
