"""Intrinsic dimension of a cloud of points: on how many dimensions do they lie, whatever the number of their coordinates?

*TwoNN*, E. Facco, M. d'Errico, A. Rodriguez, A. Laio, Scientific Reports 7, 2017: where the density is constant over two neighbours,
log(r₂/r₁), of the distances of a point to its nearest and second nearest neighbour, is exponentially distributed with rate d. Here the
maximum-likelihood form, d = 1 / mean, not the fit that discards the largest tenth: a mean over points has its interval from what each
photograph adds to it.

*MLE*, E. Levina, P. Bickel, NIPS 2004, of K = 20 neighbours: 1/(K−1) Σ log(T_K/T_j) is the inverse of a dimension at each point. D. MacKay
and Z. Ghahramani (comments on that paper, 2005): average the inverses, not the dimensions, which are biased upwards.

Both fall with the noise of the data at the scale of their neighbours and grow with the number of points where the dimension is high: they
are compared at equal numbers, and `analyses.complexity_summary` gives them for half of the points, too. Points that occur twice, as in
images of 8 bits, count once: r₁ = 0 says nothing about a dimension.

>>> import numpy as np
>>> plane = np.random.default_rng(0).normal(size=(2000, 2)) @ np.random.default_rng(1).normal(size=(2, 10))
>>> r = neighbours(plane)
>>> round(dimension(twonn_inverse(r))), round(dimension(mle_inverse(r)))
(2, 2)
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 20
"""K of the maximum-likelihood estimator."""
_COPY = 1e-5
"""Share of the usual distance to the nearest neighbour below which a point is a copy of it, but for rounding."""


def neighbours(points: np.ndarray, count: int = NEIGHBOURS) -> np.ndarray:
    """Distances to the nearest `count` other points, rising: float64 (n, count). `points`: float (n, D), n > `count`."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points.astype(np.float64)).kneighbors()[0]
    return np.asarray(found, np.float64)


def distinct_neighbours(points: np.ndarray, count: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Of the distinct points of float (n, D): which they are, int64 (m,), ascending, and their distances, (m, count).

    Of equal rows the first is kept; what is left of a pair that differs by rounding alone, as patches of one pattern scaled to one contrast
    do, is left out. Both are empty where there are no more than `count` points.
    """
    places = np.sort(np.unique(points, axis=0, return_index=True)[1])
    if len(places) <= count:
        return places[:0], np.empty((0, count))
    distances = neighbours(points[places], count)
    kept = distances[:, 0] > _COPY * np.median(distances[:, 0])
    return places[kept], distances[kept]


def twonn_inverse(distances: np.ndarray) -> np.ndarray:
    """log(r₂/r₁) of each point, whose mean is the inverse of the dimension: float64 (n,)."""
    return np.asarray(np.log(distances[:, 1] / distances[:, 0]))


def mle_inverse(distances: np.ndarray) -> np.ndarray:
    """The inverse of Levina and Bickel's estimate at each point, from all columns: float64 (n,)."""
    return np.asarray(np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1))


def dimension(inverse: np.ndarray) -> float:
    """The dimension from the inverses of points; NaN without points, or where all neighbours are equally far."""
    mean = float(inverse.mean()) if len(inverse) else 0.0
    return 1 / mean if mean > 0 else float("nan")
