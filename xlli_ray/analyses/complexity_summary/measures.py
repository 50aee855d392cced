"""A cloud of points from photographs → its complexity by each measure, and how much each photograph has to do with it.

Intervals leave out each photograph once (`stats.separability`: jackknife, t in logarithms). A bootstrap would not do: a photograph that is
drawn twice brings its points twice, which makes every other nearest neighbour a copy, and a set with copies has a lower rank. For TwoNN
and MLE the neighbours stay those of the whole cloud, and each photograph is left out of the mean over points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xlli_ray.stats.intrinsic_dimension import NEIGHBOURS, dimension, distinct_neighbours, mle_inverse, twonn_inverse
from xlli_ray.stats.patch_cloud import effective_rank, k95, moments, spectra
from xlli_ray.stats.separability import shifts

GROUPS = 256
"""More photographs than this are dealt into so many groups that are left out whole: number them modulo this."""
_NAN = float("nan")


@dataclass(frozen=True)
class Measured:
    """A value, log(value without each photograph / value), and the value of half of the points."""

    value: float
    shift: np.ndarray
    half: float


def measured(points: np.ndarray, group: np.ndarray, groups: int, rng: np.random.Generator) -> dict[str, Measured]:
    """eff_rank, k95, id_twonn, id_mle of float64 (n, D).

    `group`: int (n,), 0 … `groups` − 1: what is left out together. `rng` draws the half.
    """
    half = np.sort(rng.permutation(len(points))[: len(points) // 2])
    sums = moments(points, group, groups)
    whole = np.ones(groups)
    spectrum, without = spectra(sums.covariance(whole)), spectra(sums.covariance(whole - np.eye(groups)))
    without[sums.count == 0] = np.nan
    other = spectra(moments(points[half], np.zeros(len(half), np.int64), 1).covariance(np.ones(1)))
    out = {}
    for name, statistic in (("eff_rank", effective_rank), ("k95", k95)):
        value = float(statistic(spectrum))
        out[name] = Measured(value, shifts(value, statistic(without)), float(statistic(other)))
    inverses, halves = _inverses(points), _inverses(points[half])
    for name, (values, places) in inverses.items():
        out[name] = Measured(dimension(values), _shifts_of_mean(values, group[places], groups), dimension(halves[name][0]))
    return out


def _inverses(points: np.ndarray) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Of each estimator the inverse dimension at each distinct point, and which point that is; empty where there are too few."""
    places, distances = distinct_neighbours(points)
    if len(places) <= 2 * NEIGHBOURS:
        return {name: (np.empty(0), places[:0]) for name in ("id_twonn", "id_mle")}
    return {"id_twonn": (twonn_inverse(distances), places), "id_mle": (mle_inverse(distances), places)}


def _shifts_of_mean(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """log of the dimension without each group over that of all: (groups,)."""
    counts, sums = np.bincount(group, minlength=groups), np.bincount(group, values, minlength=groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (len(values) - counts) / (values.sum() - sums)
    left[counts == 0] = np.nan
    return shifts(dimension(values), left)
