"""Intervals by split halves, for statistics that a copy of a sample would spoil.

A bootstrap draws with replacement; samples that are drawn twice lower the rank of a Gram matrix and lift its leading eigenvalues. So the
samples are cut at random into two halves, without replacement, and the statistic is taken on each. If its bias is the same on both, the
difference of the halves has twice the variance that the statistic has at N/2, four times that at N:

    var(θ_N) ≈ E (θ_one − θ_other)² / 4

P. McCarthy, "Pseudo-replication: half samples", Review of the International Statistical Institute 37, 1969. For the mean it is exact.
Smaller cuts are worse: leaving out a quarter and scaling by b/(N − b) (D. Politis, J. Romano, Annals of Statistics 22, 1994) gives an
index of SRGA 1.3–1.5 times its error, and a paired difference 1.7–2.2 times; leaving out one group in twenty (the jackknife) 1.5–2.5 and
2.8–4 times. What a small cut changes is mostly not what other samples would change (J. Shao, C. F. J. Wu, Annals of Statistics 17, 1989:
the jackknife of what is not smooth needs large cuts), and the scaling multiplies it. Halves give 1.0–1.1 of both; on disjoint subsets of
real patches 0.7–1.4, where three quarters give 0.9–1.6 (`tests/benchmarks/coverage.py srga`, `docs/decisions/009-intervals.md`).

The interval is θ ± t(G − 1) · standard error, G the number of groups: with few of them the error itself is uncertain.

Samples that are not independent (patches of one photograph) stay together: an order of the groups is drawn, samples of a group follow each
other, and the order is cut in the middle; one group may be cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t

from xlli_ray.stats.intervals import FEWEST


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


def halves(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of an order, equal in size (an odd one out is left), each ascending: int (N // 2,) twice."""
    half = len(order) // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


def standard_error(differences: np.ndarray) -> float:
    """Standard error of a statistic at N samples from its differences between halves, float (splits,); NaN left out, NaN below two."""
    finite = differences[np.isfinite(differences)]
    return math.sqrt(float(np.mean(finite**2))) / 2 if len(finite) > 1 else math.nan


def quantile(groups: int, level: float) -> float:
    """Standard errors on each side of an interval of `level` over so many groups: Student's t; NaN below FEWEST."""
    return float(t.ppf((1 + level) / 2, groups - 1)) if groups >= FEWEST else math.nan
