"""Intervals by split halves, for statistics that duplicated samples would bias.

A bootstrap draws with replacement; duplicates lower the rank of a Gram matrix and raise its leading eigenvalues. So the samples are split
at random into two halves, without replacement, and the statistic is computed on each. If its bias is the same on both, the
difference of the halves has twice the variance that the statistic has at N/2, four times that at N:

    var(θ_N) ≈ E (θ_one − θ_other)² / 4

P. McCarthy, "Pseudo-replication: half samples", Review of the International Statistical Institute 37, 1969. For the mean it is exact.
Leaving out less is worse: leaving out a quarter and scaling by b/(N − b) (D. Politis, J. Romano, Annals of Statistics 22, 1994) gives an
index of SRGA 1.3–1.5 times its error, and a paired difference 1.7–2.2 times; leaving out one group in twenty (the jackknife) 1.5–2.5 and
2.8–4 times. What a small cut changes is mostly not what other samples would change (J. Shao, C. F. J. Wu, Annals of Statistics 17, 1989:
the jackknife of what is not smooth needs large cuts), and the scaling amplifies this. Halves give 1.0–1.1 of both; on disjoint subsets of
real patches 0.7–1.4, where three quarters give 0.9–1.6 (`tests/benchmarks/coverage.py srga`, `docs/decisions/009-intervals.md`).

Samples that are not independent (patches of one photograph) stay together: an order of the groups is drawn, samples of a group are
consecutive, and the order is cut in the middle. A group that is cut is in both halves and cancels in their difference: of a mean of
G groups of shares p and effects of variance τ², the difference of halves with shares a and b shows τ² Σ (a − b)² / 4, where τ² Σ p² is the
truth. The error is divided by the root of the ratio, `shown`, averaged over the splits: 1 for an even number of equal groups, 1 − 1/G for
an odd one, and 0.77 for 8 photographs with 2 to 34 patches each, whose errors were 0.88 of the true ones. Where samples of a group are not
correlated the interval is too long rather than too short.

The interval is θ ± t(G' − 1) · standard error with G' = 1 / Σ p² groups, the number of equal groups that would carry as much information
(the effective number of L. Kish, Survey Sampling, 1965, for clusters): with few groups, or one that dominates, the error itself is
uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from xlli_ray.stats.intervals import FEWEST


@dataclass(frozen=True)
class Dealt:
    """How a set was split into halves."""

    groups: int
    """Number of photographs, or samples."""
    effective: float
    """Effective number of groups: 1 / Σ p², at most `groups`."""
    shown: float
    """Share of the variance between groups that the halves show; 1 without splits."""

    def least(self, other: Dealt) -> Dealt:
        """The weaker of two sets that were split separately."""
        return Dealt(min(self.groups, other.groups), min(self.effective, other.effective), min(self.shown, other.shown))


def _numbered(groups: Sequence[object] | np.ndarray) -> np.ndarray:
    """Groups by number in order of first appearance: int64 (N,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(item, len(numbers)) for item in np.asarray(groups, object).tolist()], np.int64)


def dealt(groups: Sequence[object] | np.ndarray, drawn: np.ndarray) -> Dealt:
    """How `drawn`, int (draws, N), from `orders(groups, …)`, splits N samples into halves."""
    group = _numbered(groups)
    sizes = np.bincount(group)
    equal = float(np.sum((sizes / len(group)) ** 2))
    visible = []
    for order in drawn:
        first, second = (np.bincount(group[half], minlength=len(sizes)) / len(half) for half in halves(order))
        visible.append(float(np.sum((first - second) ** 2)) / 4)
    return Dealt(len(sizes), 1 / equal, float(np.mean(visible)) / equal if visible else 1.0)


def orders(groups: Sequence[object] | np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Random orders of samples in which a group stays together: int (draws, N).

    `groups`: the group of each of N samples, anything that can be compared for equality and hashed. Groups are shuffled, and samples within
    their group, too.
    """
    group = _numbered(groups)
    out = np.empty((draws, len(group)), np.int64)
    for row in out:
        place = rng.permutation(int(group.max(initial=-1)) + 1)[group]
        row[:] = np.lexsort((rng.random(len(group)), place))
    return out


def halves(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of an order, equal in size (the last of an odd number is dropped), each ascending: int (N // 2,) twice."""
    half = len(order) // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])


def standard_error(differences: np.ndarray, shown: float = 1.0) -> float:
    """Standard error of a statistic at N samples from its differences between halves, float (splits,); NaN left out, NaN below two.

    `shown`: from `Dealt`; 0 (the halves never differ) gives NaN.
    """
    finite = differences[np.isfinite(differences)]
    return math.sqrt(float(np.mean(finite**2)) / shown) / 2 if len(finite) > 1 and shown > 0 else math.nan


def freedom(about: Dealt) -> float:
    """Degrees of freedom of an error over these groups, at least 1; NaN below FEWEST groups."""
    return max(1.0, about.effective - 1) if about.groups >= FEWEST else math.nan


def quantile(about: Dealt, level: float) -> float:
    """Standard errors on each side of an interval of `level` over these groups: Student's t; NaN below FEWEST."""
    return float(stdtrit(freedom(about), (1 + level) / 2))
