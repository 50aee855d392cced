"""Images against what a degradation added to them: the complexity of both, and κ with its verdict.

Both sides are seen at the same places of the same photographs, and equally many patches of each are taken: complexity grows with the
number of patches. κ is paired: a photograph that is left out is left out on both sides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from xlli_ray.analyses.complexity_summary.clouds import Stored, Subset
from xlli_ray.analyses.complexity_summary.measures import GROUPS, Measured, measured
from xlli_ray.analyses.complexity_summary.params import Params
from xlli_ray.analyses.complexity_summary.tables import FITS, IMAGE, LEARNS, RESIDUAL, UNDECIDED
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.code_length import bpp_lzma
from xlli_ray.stats.image_complexity import eight_bit
from xlli_ray.stats.patch_cloud import centred, told
from xlli_ray.stats.separability import error, interval

SIDES = (IMAGE, RESIDUAL)
"""In the order of the stored arrays."""
FEW = 20
"""Patches fewer than this on a side: nothing is measured."""
_Row = dict[str, Any]


class Pair:
    """One subset of the photographs under one degradation."""

    def __init__(self, stored: Stored, label: str, subset: Subset, params: Params, seed: int) -> None:
        self.label, self.subset, self._params, self._seed = label, subset, params, seed
        values, photograph = stored.of(label, subset.photographs)
        group = np.searchsorted(subset.photographs, photograph)
        self.clouds: dict[str, np.ndarray] = {}
        self.groups: dict[str, np.ndarray] = {}
        self.flat: dict[str, float] = {}
        for side, name in enumerate(SIDES):
            patches = values[:, side].reshape(-1, *values.shape[3:])
            there = ~np.isnan(patches[:, 0, 0])
            kept = told(patches)
            self.clouds[name] = patches[kept]
            self.groups[name] = np.repeat(group, values.shape[2])[kept]
            self.flat[name] = 1 - kept.sum() / there.sum() if there.any() else math.nan
        self._match()
        self.found: dict[tuple[str, str], Measured] = {}

    @property
    def whole(self) -> bool:
        """Whether there is something to compare: a residual, and enough patches of both."""
        return self.points >= FEW

    @property
    def points(self) -> int:
        """Patches of each side."""
        return len(self.clouds[IMAGE])

    def _match(self) -> None:
        """Equally many patches of both sides, at most `points`, at random; all of the images where there is no residual."""
        sizes = [len(cloud) for cloud in self.clouds.values() if len(cloud)]
        count = min(sizes, default=0) if len(sizes) == len(SIDES) or not self.clouds[RESIDUAL].size else 0
        count = min(count, self._params.points)
        for name in SIDES:
            rng = generator(self._seed, "patches", self.label, self.subset.name, name)
            chosen = np.sort(rng.permutation(len(self.clouds[name]))[:count])
            self.clouds[name], self.groups[name] = self.clouds[name][chosen], self.groups[name][chosen]

    def measure(self) -> None:
        """Fill `found`, by (side, measure)."""
        groups = min(len(self.subset.photographs), GROUPS)
        for name in SIDES:
            if len(self.clouds[name]) < FEW:
                continue
            for suffix, normalise in (("", False), ("_normalised", True)):
                rng = generator(self._seed, "half", self.label, self.subset.name, name)  # the same half raw and normalised
                points = centred(self.clouds[name], normalise=normalise)
                for measure, item in measured(points, self.groups[name] % GROUPS, groups, rng).items():
                    self.found[name, measure + suffix] = item

    def set_rows(self) -> Iterator[_Row]:
        """Rows of `complexity_sets`."""
        for (side, measure), item in self.found.items():
            ends = interval(item.value, item.shift, level=self._params.level)
            yield {**self.about(side), "measure": measure, "value": item.value, "low": ends.low, "high": ends.high, "half": item.half}
        for side, patches in self.clouds.items():
            if len(patches) >= FEW:
                images = np.stack([eight_bit(patch.astype(np.int64)) for patch in patches])
                value, half = bpp_lzma(images), bpp_lzma(images[: len(images) // 2])
                yield {**self.about(side), "measure": "set_bpp", "value": value, "half": half}

    def kappa_rows(self) -> Iterator[_Row]:
        """Rows of `complexity_kappa`."""
        for (side, measure), item in self.found.items():
            image = self.found.get((IMAGE, measure))
            if side != RESIDUAL or image is None:
                continue
            kappa, low, high, n = kappa_of(item, image, level=self._params.level)
            yield {**self.set_name(), "measure": measure, "kappa": kappa, "kappa_low": low, "kappa_high": high,
                   "verdict": verdict(low, high), "n": n}  # fmt: skip

    def set_name(self) -> _Row:
        """The columns that say which images and which degradation."""
        return {"degradation": self.label, "set": self.subset.name, "count": self.subset.count, "seed": self.subset.seed}

    def about(self, side: str) -> _Row:
        """Which side, of how much."""
        return {**self.set_name(), "side": side, "images": len(np.unique(self.groups[side])), "points": len(self.clouds[side]),
                "flat": self.flat[side]}  # fmt: skip


def kappa_of(residual: Measured, image: Measured, *, level: float) -> tuple[float, float, float, int]:
    """(κ, low, high, photographs): log of the ratio, with t over photographs left out on both sides."""
    from scipy.special import stdtrit

    if not (residual.value > 0 and image.value > 0):
        return math.nan, math.nan, math.nan, 0
    kappa = math.log(residual.value / image.value)
    some = np.isfinite(residual.shift) | np.isfinite(image.shift)  # a photograph that one side lacks moves the other side only
    shift = np.where(some, np.nan_to_num(residual.shift) - np.nan_to_num(image.shift), np.nan)
    deviation, n = error(shift)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * deviation if math.isfinite(deviation) else math.nan
    return kappa, kappa - half, kappa + half, n


def verdict(low: float, high: float) -> str:
    """What an interval of κ predicts."""
    return FITS if high < 0 else LEARNS if low > 0 else UNDECIDED


def by_measure(rows: list[_Row]) -> Mapping[str, list[_Row]]:
    """Rows by their measure, in order of first appearance."""
    out: dict[str, list[_Row]] = {}
    for row in rows:
        out.setdefault(row["measure"], []).append(row)
    return out
