"""Separability of labelled samples: the Calinski–Harabasz index, its interval and its null, from sums that merge.

T. Caliński, J. Harabasz, "A dendrite method for cluster analysis", Communications in Statistics 3, 1974. Of n samples in K classes of
n_k samples with means μ_k:

    BD  = Σ_k n_k ‖μ_k − μ‖²           scatter between the classes
    WD  = Σ_k Σ_{i in k} ‖x_i − μ_k‖²    scatter within them
    CHI = (BD / (K − 1)) / (WD / (n − K))

BD and WD are these sums, not divided by their degrees of freedom. CHI grows with n at a given BD / WD, so n must be given with it, and so
must the space: noise dimensions dilute it. Equal to scikit-learn's `calinski_harabasz_score`, except for WD = 0, which is 1 there: here it
is infinite, or NaN where all samples are equal.

Merging. A *unit* is the samples of one class in one cluster (all patches of one photograph under one degradation, say). CHI needs the
count, sum and sum of squares of each unit, about any fixed point c; these add up over rows in any order. BD and WD then need only the
inner products of the units' sums, so they come from a Gram matrix (`units_of_gram`) or from a stream (`Sums`, `units_of_sums`) alike.

Interval. Samples of one cluster are not independent, so each cluster is left out once (`left_out`): weights on the units, nothing is
recomputed. The logarithms of these CHIs give the jackknife's standard error (B. Efron, C. Stein, "The jackknife estimate of variance",
Annals of Statistics 9, 1981), and the interval is t over clusters, about the value: the factor within which CHI would be on as many other
clusters of this kind. Ratios of two CHI leave out the same cluster on both sides, so they are paired. A bootstrap over clusters is worse
here: a resample holds copies, which count the noise of the class means twice; re-centred, its intervals of ratios told equal networks
apart in 4 to 11 % of simulated studies, these in 3 to 7 %. Classes inside one cluster (contents of a photograph) go with it.

Null. CHI if labels were meaningless: `relabelled` exchanges the units of each cluster (the copies of a photograph under the
degradations, as a whole), or, where each cluster has one unit, redistributes the classes among the clusters; `shuffled` permutes single
samples within strata, for classes inside clusters.

>>> import numpy as np
>>> x = np.array([[0.0], [2.0], [10.0], [12.0]])
>>> result = separation(units_of_gram(x @ x.T, np.array([0, 0, 1, 1])))
>>> float(result.between), float(result.within), float(result.chi)
(100.0, 4.0, 50.0)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xlli_ray.errors import counted
from xlli_ray.stats.gram import blocks
from xlli_ray.stats.intervals import FEWEST, Interval, refusal

NOTHING = 1e-13
"""Scatter below this share of the squares that it is a difference of is rounding, and taken as zero."""
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Separation:
    """CHI and its terms."""

    chi: float
    """inf: no scatter within the classes; NaN: none at all."""
    between: float
    within: float
    samples: int
    classes: int
    smallest: int
    """Samples of the smallest class. 1: a class whose within-class scatter is 0 by definition."""

    @property
    def share(self) -> float:
        """BD / (BD + WD), 0…1: share of the scatter that the classes explain. Does not grow with n."""
        total = self.between + self.within
        return self.between / total if total > 0 else math.nan


@dataclass(frozen=True)
class Units:
    """Samples summed by class and cluster, sorted by (class, cluster)."""

    label: np.ndarray
    """int64 (u,): class of each unit, 0…K−1, each present."""
    cluster: np.ndarray
    """int64 (u,): cluster of each unit, as numbered by the caller: a column of `draws`. Some may have no samples here."""
    count: np.ndarray
    """float64 (u,): samples."""
    square: np.ndarray
    """float64 (u,): Σ ‖x − c‖²."""
    product: np.ndarray
    """float64 (u, u): inner products of the sums Σ (x − c)."""

    @property
    def classes(self) -> int:
        return int(self.label.max()) + 1

    @property
    def clusters(self) -> int:
        """Number of clusters with samples here."""
        return len(np.unique(self.cluster))

    @property
    def nested(self) -> bool:
        """Each class is inside one cluster, and there are several clusters."""
        return self.clusters > 1 and len(self.label) == self.classes

    def starts(self) -> np.ndarray:
        """Where each class begins among the units."""
        return np.flatnonzero(np.diff(self.label, prepend=-1))

    def by_cluster(self) -> np.ndarray:
        """float64 (C, C): inner products of the sums of the clusters that have samples here, in the order of their numbers."""
        order = np.argsort(self.cluster, kind="stable")
        starts = np.flatnonzero(np.diff(self.cluster[order], prepend=-1))
        rows = np.add.reduceat(self.product[order], starts, axis=0)
        return np.add.reduceat(rows[:, order], starts, axis=1)


def number(label: np.ndarray, cluster: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit of each sample, and class and cluster of each unit; arrays of int64.

    `label`: (n,) of any kind; classes are numbered in sorted order. `cluster`: int (n,), kept unchanged; without it each sample is its
    own cluster.
    """
    _, classes = np.unique(label, return_inverse=True)
    groups = np.arange(len(label)) if cluster is None else cluster
    pairs, unit = np.unique(np.stack([classes.reshape(-1), groups], axis=1), axis=0, return_inverse=True)
    return unit.reshape(-1), pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def units_of_gram(gram: np.ndarray, label: np.ndarray, cluster: np.ndarray | None = None) -> Units:
    """Units from the Gram matrix of all samples, float64 (n, n), about any point. `label`, `cluster`: as in `number`."""
    unit, classes, groups = number(label, cluster)
    count = np.bincount(unit, minlength=len(classes)).astype(np.float64)
    square = np.bincount(unit, np.diagonal(gram), len(classes))
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.diff(unit[order], prepend=-1))
    if len(starts) == len(order):
        product = gram[np.ix_(order, order)]
    else:
        rows = np.add.reduceat(gram[order], starts, axis=0)
        product = np.add.reduceat(rows[:, order], starts, axis=1)
    return Units(classes, groups, count, square, product)


class Sums:
    """Running sums of units over rows in the full space: one pass, any order, merges by addition.

    State: `units` × `width` float64. Features are taken about the first row added, so that an offset of the features costs no digits.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(6, 4)) + 1000
    >>> sums, other = Sums(2, 4), Sums(2, 4)
    >>> sums.add(x[:2], np.array([0, 1])), other.add(x[2:], np.array([0, 1, 0, 1]))
    (None, None)
    >>> sums.merge(other)
    >>> whole = units_of_gram(x @ x.T, np.array([0, 1] * 3), np.zeros(6))
    >>> abs(separation(units_of_sums(sums, np.array([0, 1]), np.zeros(2, int))).chi - separation(whole).chi) < 1e-6
    True
    """

    def __init__(self, units: int, width: int) -> None:
        self.origin: np.ndarray | None = None
        self.count = np.zeros(units)
        self.square = np.zeros(units)
        self.total = np.zeros((units, width))

    def add(self, features: np.ndarray, unit: np.ndarray) -> None:
        """Add rows: float (n, …), flattened; `unit`: int (n,), the unit of each. Rows must be finite."""
        width = int(np.prod(features.shape[1:]))
        if width != self.total.shape[1] or len(features) != len(unit):
            raise ValueError(f"rows of {width} features and {len(unit)} units; expected {self.total.shape[1]} and {len(features)}")
        if not len(features):
            return
        flat = features.reshape(len(features), width)
        if self.origin is None:
            self.origin = flat[0].astype(np.float64)
        present, place = np.unique(unit, return_inverse=True)
        member = np.zeros((len(present), len(flat)))
        member[place.reshape(-1), np.arange(len(flat))] = 1.0
        squares = np.zeros(len(flat))
        for start, stop in blocks(flat.shape[1]):
            piece = flat[:, start:stop].astype(np.float64)
            piece -= self.origin[start:stop]
            squares += np.einsum("ij,ij->i", piece, piece)
            self.total[present, start:stop] += member @ piece
        self.square[present] += member @ squares
        self.count[present] += member.sum(axis=1)

    def merge(self, other: Sums) -> None:
        """Add the rows of `other`, which is not changed."""
        if other.origin is None:
            return
        if self.origin is None:
            self.origin = other.origin.copy()
        shift = other.origin - self.origin
        self.square += other.square + 2 * (other.total @ shift) + other.count * (shift @ shift)
        self.total += other.total + other.count[:, None] * shift
        self.count += other.count


def units_of_sums(sums: Sums, label: np.ndarray, cluster: np.ndarray) -> Units:
    """Units from a stream. `label`, `cluster`: int (u,), of each unit of `sums`, as in `number`; units without samples are left out."""
    filled = np.flatnonzero(sums.count)
    _, classes = np.unique(label[filled], return_inverse=True)
    order = np.lexsort((cluster[filled], classes.reshape(-1)))
    kept = filled[order]
    total = sums.total[kept]
    return Units(classes.reshape(-1)[order], cluster[kept].astype(np.int64), sums.count[kept], sums.square[kept], total @ total.T)


def regroup(units: Units, classes: np.ndarray) -> Units:
    """The same samples in other classes, unions of old ones. `classes`: int (K,), the new class of each old one; −1 leaves it out."""
    new = classes[units.label]
    kept = np.flatnonzero(new >= 0)
    if not len(kept):
        raise ValueError("no class is left")
    place, label, cluster = number(new[kept], units.cluster[kept])
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    rows = np.add.reduceat(units.product[np.ix_(kept[order], kept[order])], starts, axis=0)
    count, square = (np.bincount(place, weight[kept], len(label)) for weight in (units.count, units.square))
    return Units(label, cluster, count, square, np.add.reduceat(rows, starts, axis=1))


def separation(units: Units) -> Separation:
    """CHI of the classes. Raises ValueError for one class, and where every sample is a class of its own."""
    sizes = np.bincount(units.label, units.count)
    n, classes = int(sizes.sum()), len(sizes)
    if classes < 2:
        raise ValueError(f"one class: all {n} samples have the same label, and CHI compares two or more")
    if n <= classes:
        raise ValueError(f"{counted(n, 'sample')} in {counted(classes, 'class', 'classes')}: CHI needs a class of two, or more")
    starts = units.starts()
    own = np.array([units.product[a:b, a:b].sum() for a, b in zip(starts, [*starts[1:], len(units.label)])])
    explained = float((own / sizes).sum())
    everything, squares = float(units.product.sum()) / n, float(units.square.sum())
    between, within = _positive(explained - everything, squares), _positive(squares - explained, squares)
    return Separation(float(_chi(between, within, n, classes)), between, within, n, classes, int(sizes.min()))


def _positive(difference: float, of: float) -> float:
    return difference if difference > NOTHING * of else 0.0


def _chi(between: np.ndarray | float, within: np.ndarray | float, n: np.ndarray | float, classes: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(between, within) * (np.asarray(n) - classes) / (np.asarray(classes) - 1)


def resampled(units: Units, draws: np.ndarray) -> np.ndarray:
    """CHI with weights on the clusters; float64 (resamples,), NaN where a class has no weight or nothing scatters.

    `draws`: float64 (resamples, clusters), weight of each cluster: one column per cluster number.
    """
    if draws.shape[1] <= units.cluster.max():
        raise ValueError(f"draws of {draws.shape[1]} clusters; the samples lie in clusters up to number {units.cluster.max()}")
    present = draws[:, np.unique(units.cluster)]
    weights = draws[:, units.cluster]
    n = weights @ units.count
    squares = weights @ units.square
    with np.errstate(divide="ignore", invalid="ignore"):
        everything = ((present @ units.by_cluster()) * present).sum(axis=1) / n
    if units.nested:
        explained = weights @ (np.diagonal(units.product) / units.count)
        classes = weights.sum(axis=1)
    else:
        explained, classes = np.zeros(len(draws)), np.full(len(draws), float(units.classes))
        starts = units.starts()
        with np.errstate(divide="ignore", invalid="ignore"):
            for a, b in zip(starts, [*starts[1:], len(units.label)]):
                weight = weights[:, a:b]
                explained += ((weight @ units.product[a:b, a:b]) * weight).sum(axis=1) / (weight @ units.count[a:b])
    out = _chi(explained - everything, squares - explained, n, classes)
    out[~np.isfinite(out) | (out <= 0)] = np.nan
    return out


def left_out(units: Units, clusters: int) -> np.ndarray:
    """CHI without each of `clusters` clusters: float64 (clusters,), NaN for those without samples here, or whose class goes with them."""
    present = np.unique(units.cluster)
    weights = np.ones((len(present), clusters))
    weights[np.arange(len(present)), present] = 0.0
    out = np.full(clusters, np.nan)
    out[present] = resampled(units, weights)
    return out


def shifts(value: float, left: np.ndarray) -> np.ndarray:
    """log(CHI without a cluster / CHI), NaN where undefined; those of a ratio are the difference of those of its terms."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(left / value) if math.isfinite(value) and value > 0 else np.full(left.shape, np.nan)


def error(shift: np.ndarray) -> tuple[float, int]:
    """Jackknife standard error of the logarithm and its number of clusters, from `shifts`; NaN below FEWEST."""
    finite = shift[np.isfinite(shift)]
    n = len(finite)
    return (math.sqrt((n - 1) / n * float(((finite - finite.mean()) ** 2).sum())) if n >= FEWEST else math.nan), n


def interval(value: float, shift: np.ndarray, *, level: float = 0.95) -> Interval:
    """Interval of a CHI, or of a ratio of two, from its `shifts`: t in logarithms (see the module)."""
    from scipy.special import stdtrit

    deviation, n = error(shift)
    if math.isnan(deviation) or not (math.isfinite(value) and value > 0):
        return Interval(value, math.nan, math.nan, n, n, refusal(n))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation
    return Interval(value, value * math.exp(-half), value * math.exp(min(half, 700.0)), n, n)


def above_one(value: float, shift: np.ndarray) -> float:
    """One-sided: probability mass of t about the logarithm of a ratio above 0; NaN where there is no interval."""
    from scipy.special import stdtr

    deviation, n = error(shift)
    if math.isnan(deviation) or not (math.isfinite(value) and value > 0):
        return math.nan
    away = math.log(value)
    return float(stdtr(n - 1, away / deviation)) if deviation > 0 else float(away > 0) + 0.5 * (away == 0)


def relabelled(units: Units, resamples: int, rng: np.random.Generator, *, joined: np.ndarray | None = None) -> np.ndarray:
    """CHI when the units of each cluster exchange their classes at random: float64 (resamples,).

    Every cluster keeps its number of units of each class, so contents stay balanced. Where each cluster has one unit, classes are
    redistributed among the clusters. `joined`: int (K,), classes exchanged separately and merged for CHI (levels of one type, say).
    """
    classes = units.label if joined is None else joined[units.label]
    _, cluster = np.unique(units.cluster, return_inverse=True)
    block = cluster if np.bincount(cluster).max() > 1 else np.zeros_like(cluster)
    place = np.argsort(block, kind="stable")
    squares, everything = float(units.square.sum()), float(units.product.sum()) / float(units.count.sum())
    explained, n, count = np.empty(resamples), float(units.count.sum()), len(np.unique(classes))
    step = max(1, _AT_ONCE // len(classes))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        label = np.empty((size, len(classes)), np.int64)
        label[:, place] = classes[np.argsort(block + rng.random((size, len(classes))), axis=1)]  # each stays in its block
        total = np.zeros(size)
        for merged in np.unique(classes):
            member = (label == merged).astype(np.float64)
            samples = member @ units.count
            total += np.divide(((member @ units.product) * member).sum(axis=1), samples, out=np.zeros(size), where=samples > 0)
        explained[start : start + size] = total
    return _chi(explained - everything, squares - explained, n, count)


def shuffled(gram: np.ndarray, label: np.ndarray, strata: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """CHI when labels are permuted among the samples of each stratum: float64 (resamples,).

    `gram`: float64 (n, n), about any point. `label`, `strata`: (n,) of any kind. Cost: resamples × Σ n_k², so for many small classes.
    """
    _, classes, sizes = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(classes.reshape(-1), kind="stable")
    n = len(order)
    ends = np.cumsum(sizes)
    first = np.concatenate([np.repeat(np.arange(end - size, end), size) for end, size in zip(ends, sizes)])
    second = np.concatenate([np.tile(np.arange(end - size, end), size) for end, size in zip(ends, sizes)])
    weight = np.repeat(1.0 / sizes, sizes**2)
    squares, everything = float(np.trace(gram)), float(gram.sum()) / n
    explained = np.empty(resamples)
    step = max(1, _AT_ONCE // len(first))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        permuted = _within_strata(strata, size, rng)[:, order]
        explained[start : start + size] = gram[permuted[:, first], permuted[:, second]] @ weight
    return _chi(explained - everything, squares - explained, n, len(sizes))


def _within_strata(strata: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (count, n): permutations of the samples that keep each in its stratum."""
    out = np.empty((count, len(strata)), np.int64)
    for places in _groups(strata):
        out[:, places] = rng.permuted(np.broadcast_to(places, (count, len(places))), axis=1)
    return out


def _groups(values: np.ndarray) -> Iterator[np.ndarray]:
    for value in np.unique(values):
        yield np.flatnonzero(values == value)
