"""Means over trainings *and* photographs: what another training, looked at through other photographs, would show.

Every network of a group is measured on the same photographs, so a value has two luck-of-the-draw parts that are crossed, not nested:
y = μ + training + photograph + rest. An interval over photographs alone takes the seeds for the truth, one over trainings alone takes the
photographs for it. Here each part has its own interval about the mean of all values: that of the trainings' means r (S of them) is
Student's t with S − 1 degrees of freedom, that of the photographs' means c is the one of `stats.intervals`, skewness-corrected, t for
differences. The distances of their ends are added in squares (G. Zou and A. Donner, "Construction of confidence limits about effect
measures", Statistics in Medicine 27, 2008): with 3 trainings t is 4.3, and a variance of both parts pooled would be too sure of it.

The rest is counted twice, in r and in c: taking it away once, as a two-way analysis of variance does, is unbiased and gives negative
variances with three trainings. A. Owen ("The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007) shows that resampling both
factors overstates the error in the same way, and why no bootstrap of crossed data is exact.

A difference of two such means takes the differences of r where trainings are common (seen and unseen rain), or share a seed, and both
variances where not; the same goes for photographs and c. A ratio is a difference of scaled means (the delta method). How often the
intervals hold the truth: `tests/benchmarks/coverage.py crossed`, short in `tests/stats/test_crossed.py`.

Fewer than FEWEST trainings: the interval is over photographs alone, for these trainings, and `over` says so.

>>> import numpy as np
>>> found = mean(np.add.outer([0.0, 1.0, 2.0], np.arange(8.0)))
>>> found.mean, found.trainings, found.photographs, found.over
(4.5, 3, 8, 'trainings and photographs')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.intervals import FEWEST, UNLIMITED, Interval, Limits, intervals, refusal

BOTH, ALONE = "trainings and photographs", "photographs"
_NAN = float("nan")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Crossed:
    """A mean, a difference or a ratio with its interval; `low` and `high` are NaN where `reason` says why.

    `over`: what the interval speaks of, BOTH or ALONE.
    """

    mean: float
    low: float
    high: float
    trainings: int
    photographs: int
    over: str
    reason: str = ""

    @property
    def interval(self) -> Interval:
        """For figures."""
        return Interval(self.mean, self.low, self.high, self.photographs, self.photographs, self.reason)

def complete(*values: Values) -> list[Values]:
    """The columns that are finite in all rows of all of `values`, (trainings, photographs) over the same photographs."""
    kept = np.all([np.isfinite(some).all(axis=0) for some in values], axis=0)
    return [some[:, kept] for some in values]


def mean(values: Values, *, level: float = 0.95, limits: Limits = UNLIMITED) -> Crossed:
    """Mean of (trainings, photographs), NaN where nothing was measured: photographs that a training lacks are left out.

    Of fewer than FEWEST trainings the skewness-corrected interval over photographs (`stats.intervals`). `limits`: range of the quantity.
    """
    (kept,) = complete(values)
    trainings, photographs = kept.shape
    if not kept.size:
        return _nothing(trainings)
    if trainings < FEWEST or photographs < FEWEST:
        (alone,) = intervals(kept.mean(axis=0)[:, None], level=level, limits=limits)
        return Crossed(alone.mean, alone.low, alone.high, trainings, photographs, ALONE, alone.reason)
    found = _around(float(kept.mean()), [kept.mean(axis=1)], [kept.mean(axis=0)], level, skewed=True)
    least, most = limits
    low = found.low if least is None else max(found.low, least)
    high = found.high if most is None else min(found.high, most)
    return Crossed(found.mean, low, high, trainings, photographs, BOTH)


def difference(
    one: Values, other: Values, *, common_trainings: bool = True, common_photographs: bool = True, level: float = 0.95
) -> Crossed:
    """Mean of `one` minus mean of `other`, both finite (trainings, photographs), see `complete`.

    `common_trainings`: row i is the same training in both, or two that share a seed. `common_photographs`: column j is the same photograph.
    """
    if not one.size or not other.size:
        return _nothing(min(len(one), len(other)))
    rows, columns = ([some.mean(axis=axis) for some in (one, other)] for axis in (1, 0))
    if common_trainings:
        rows = [rows[0] - rows[1]]
    if common_photographs:
        columns = [columns[0] - columns[1]]
    return _around(float(one.mean() - other.mean()), rows, columns, level)


def ratio(numerator: Values, denominator: Values, *, common_photographs: bool = True, level: float = 0.95) -> Crossed:
    """Mean of `numerator` over mean of `denominator`, finite, rows the same trainings; by the delta method.

    NaN where the denominator's mean is not above 0: there is nothing to compare with.
    """
    below = float(denominator.mean()) if denominator.size else _NAN
    if not (below > 0 and numerator.size):
        return Crossed(_NAN, _NAN, _NAN, len(numerator), 0, ALONE, "the mean that is divided by is not above 0")
    value = float(numerator.mean()) / below
    found = difference(numerator / below, value / below * denominator, common_photographs=common_photographs, level=level)
    return Crossed(value, value + found.low, value + found.high, found.trainings, found.photographs, found.over, found.reason)


def _nothing(trainings: int) -> Crossed:
    return Crossed(_NAN, _NAN, _NAN, trainings, 0, ALONE, "nothing was measured")


def _around(
    centre: float, rows: Sequence[Values], columns: Sequence[Values], level: float, *, skewed: bool = False
) -> Crossed:
    """The interval about `centre` from means of independent trainings and of independent photographs. `skewed`: see the module."""
    trainings, photographs = min(map(len, rows)), min(map(len, columns))
    over = BOTH if trainings >= FEWEST else ALONE
    if why := refusal(photographs):
        return Crossed(centre, _NAN, _NAN, trainings, photographs, over, why)
    parts = [(part, not skewed) for part in columns] + [(part, True) for part in (rows if over == BOTH else ())]
    below = above = 0.0
    for part, plain in parts:
        (own,) = intervals(part[:, None], level=level, difference=plain)
        below, above = below + (own.mean - own.low) ** 2, above + (own.high - own.mean) ** 2
    return Crossed(centre, centre - float(np.sqrt(below)), centre + float(np.sqrt(above)), trainings, photographs, over)
