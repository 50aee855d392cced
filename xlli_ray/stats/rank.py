"""Rank correlation: Spearman's ρ, the same within strata, and its permutation test.

C. Spearman, "The proof and measurement of association between two things", American Journal of Psychology 15, 1904: the product-moment
correlation of ranks, ties given the mean of their ranks; −1 … 1, 1 for any increasing relation. Undefined (NaN) for fewer than three pairs
or where one side is constant.

Within strata: ranks are taken over all pairs, the mean rank of each stratum is subtracted on both sides, and the rest is correlated. It
tests whether two quantities are related beyond what the stratum explains, as partial correlation does, without assuming a form for the
stratum's effect. NaN where nothing remains.

>>> spearman([1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 27.0, 64.0])
1.0
>>> permutation_p([1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 27.0, 64.0]) == 2 / 24   # this order and its reverse
True
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

EXACT = 8
"""Up to this many pairs all permutations are enumerated (40,320)."""
_NOTHING = 1e-12


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """ρ of two vectors of equal length; see the module. Values must be finite."""
    a, b = _ranks(x), _ranks(y)
    return float("nan") if len(a) < 3 else _correlation(a, b)


def spearman_within(x: ArrayLike, y: ArrayLike, strata: ArrayLike) -> float:
    """ρ of what the stratum does not explain. `strata`: int (n,), small integers from 0."""
    a, b = _ranks(x), _ranks(y)
    where = np.asarray(strata)
    sizes = np.bincount(where)
    left = [ranks - (np.bincount(where, ranks) / np.maximum(sizes, 1))[where] for ranks in (a, b)]
    return float("nan") if len(a) < 3 else _correlation(*left)


def permutation_p(x: ArrayLike, y: ArrayLike, rng: np.random.Generator | None = None, *, resamples: int = 9999) -> float:
    """Two-sided p of Spearman's ρ under exchange of the pairs: the share of orders with |ρ| at least as large.

    All orders for up to EXACT pairs; beyond, `resamples` random ones drawn from `rng`, counting the given one (Phipson and Smyth,
    2010: a p of 0 does not exist). NaN where ρ is undefined.
    """
    a, b = _ranks(x), _ranks(y)
    observed = spearman(a, b)
    if not np.isfinite(observed):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    if len(a) <= EXACT:
        orders = np.array(list(permutations(range(len(b)))))
        reached = np.abs(b[orders] @ a) >= abs(a @ b) * (1 - _NOTHING)
        return float(reached.mean())
    assert rng is not None, f"more than {EXACT} pairs: a generator is required"
    orders = rng.permuted(np.tile(np.arange(len(b)), (resamples, 1)), axis=1)
    reached = np.abs(b[orders] @ a) >= abs(a @ b) * (1 - _NOTHING)
    return float((reached.sum() + 1) / (resamples + 1))


def spearman_rows(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ρ of each row of two float64 (n, k); NaN for rows with a NaN, with k < 3, or constant on one side. Returns float64 (n,)."""
    out = np.full(len(x), np.nan)
    whole = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    if x.shape[1] < 3 or not whole.any():
        return out
    a, b = (_ranks(values[whole], axis=1) for values in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    out[whole] = np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > _NOTHING)
    return out


def _ranks(values: ArrayLike, axis: int | None = None) -> np.ndarray:
    from scipy.stats import rankdata

    array: Any = np.asarray(values, dtype=np.float64)
    return np.asarray(rankdata(array, axis=axis))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    if size <= _NOTHING * len(a) ** 3:
        return float("nan")
    return float(np.clip((a @ b) / size, -1.0, 1.0))
