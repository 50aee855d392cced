"""Intervals by subsampling without replacement, for statistics that a copy of a sample would spoil.

A bootstrap draws with replacement; samples that are drawn twice lower the rank of a Gram matrix and lift its leading eigenvalues. So b =
3/4 of N samples are drawn without replacement, and the spread of the statistic over such draws is scaled to what N samples have:

    var(θ_N) ≈ b / (N − b) · var(θ_b)            factor 3 in the variance for b = 3N/4

D. Politis, J. Romano, "Large sample confidence regions based on subsamples under minimal assumptions", Annals of Statistics 22, 1994: the
spread at size b tells that at size N. The factor is theirs, b/N, with the correction for a finite population, 1/(1 − b/N), that draws
without replacement need when b is not small; for the mean it is exact, and it makes this the delete-d jackknife of J. Shao, C. F. J. Wu
(Annals of Statistics 17, 1989). The interval is θ ± t(R − 1) · standard error: with the few draws that a costly statistic can have (40),
percentiles would be the draws themselves, and the t quantile pays for the uncertain spread.

Samples that are not independent (patches of one picture) are drawn together: an order of the groups is drawn, samples of a group stay
together, and the first b are taken, so that b is the same in each draw; one group may be cut.

Halves. The same orders cut in two give two disjoint halves of other groups. If θ is not biased, the difference of the halves has twice the
variance that θ has at N/2, four times that at N: half of its root mean square is an error of θ_N that does not lean on the factor above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

SHARE = 0.75
"""b / N."""


def orders(groups: Sequence[object] | np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Random orders of samples in which a group stays together: int (draws, N).

    `groups`: the group of each of N samples, anything that can be compared for equality and hashed. Groups are shuffled, and samples within
    their group, too.
    """
    numbers: dict[object, int] = {}
    group = np.array([numbers.setdefault(item, len(numbers)) for item in np.asarray(groups, object).tolist()], np.int64)
    out = np.empty((draws, len(group)), np.int64)
    for row in out:
        place = rng.permutation(len(numbers))[group]
        row[:] = np.lexsort((rng.random(len(group)), place))
    return out


def subsample(order: np.ndarray, share: float = SHARE) -> np.ndarray:
    """The first ⌊share · N⌋ samples of an order, ascending: int (b,)."""
    return np.sort(order[: int(share * len(order))])


def halves(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of an order, equal in size (an odd one out is left), each ascending: int (N // 2,) twice."""
    half = len(order) // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


def standard_error(draws: np.ndarray, samples: int, share: float = SHARE) -> np.ndarray:
    """Standard error at N = `samples` from the statistic of subsamples.

    `draws`: float (R, ...), one row a draw; NaN rows are left out. Returns float64 (...); NaN with fewer than two draws.
    """
    taken = int(share * samples)
    values = np.asarray(draws, np.float64)
    count = np.isfinite(values).sum(axis=0)
    mean = np.where(np.isfinite(values), values, 0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(np.isfinite(values), (values - mean) ** 2, 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(count > 1, square / (count - 1), np.nan)
    return np.sqrt(variance * taken / (samples - taken)) if samples > taken > 0 else np.full(variance.shape, np.nan)


def quantile(draws: int, level: float) -> float:
    """Standard errors on each side of an interval of `level` from so many draws: Student's t; NaN below two."""
    return float(t.ppf((1 + level) / 2, draws - 1)) if draws > 1 else math.nan
