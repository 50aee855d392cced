"""Squared errors by motion, pooled over the pixels of each clip, as trainings × clips of each group of networks.

Groups are compared on the same pixels: a bin of fast pixels has other content than one of slow ones, so a difference of two bins says
little of motion, a difference of two networks within a bin says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.shared.replicates import Group
from xlli_ray.stats import crossed
from xlli_ray.stats.crossed import Crossed
from xlli_ray.stats.intervals import FEWEST
from xlli_ray.stats.pooled import DECIBELS, effective, pseudo_values

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Pixels:
    """Some pixels: a stratum, and consecutive bins of motion."""

    stratum: int
    first: int
    last: int
    """Exclusive."""


@dataclass(frozen=True)
class PooledErrors:
    """`squared`: float64 (models, strata, bins, clips), sums of squared errors, white being 1. `count`: float64 (strata, bins, clips),
    the values (pixels × channels) that they are of, the same for all models."""

    models: tuple[str, ...]
    strata: tuple[str, ...]
    edges: tuple[float, ...]
    """Lower ends of the bins; the last one is open."""
    squared: Values
    count: Values
    motion: tuple[float, ...]
    """Mean motion of the values of each bin; NaN where there are none."""
    level: float

    def ranges(self, stratum: int) -> list[Pixels]:
        """All pixels of a stratum, then every bin that has some."""
        found = [Pixels(stratum, i, i + 1) for i in range(len(self.edges)) if self.count[stratum, i].any()]
        return [Pixels(stratum, 0, len(self.edges)), *found]

    def ends(self, pixels: Pixels) -> tuple[float, float]:
        """Least motion of these pixels, and the largest; NaN: unlimited."""
        return self.edges[pixels.first], self.edges[pixels.last] if pixels.last < len(self.edges) else float("nan")

    def pixels(self, pixels: Pixels) -> Values:
        """Their number in each clip, float64 (clips,)."""
        counts: Values = self.count[pixels.stratum, pixels.first : pixels.last].sum(axis=0)
        return counts

    def about(self, pixels: Pixels, found: Crossed) -> dict[str, Any]:
        """The columns that say what a number is of."""
        counts = self.pixels(pixels)
        over = "trainings and clips" if found.over == crossed.BOTH else "clips"
        return {"values": int(counts.sum()), "clips": int((counts > 0).sum()), "effective_clips": effective(counts),
                "trainings": found.trainings, "over": over, "reason": said(found.reason)}  # fmt: skip

    # -- numbers ----------------------------------------------------------------------------------------------------

    def mean(self, group: Group, pixels: Pixels) -> Crossed:
        """PSNR of the pooled error in dB, the mean over trainings."""
        _, values = self.trainings(group, pixels)
        return crossed.mean(values, level=self.level)

    def difference(self, one: Group, other: Group, pixels: Pixels) -> tuple[Crossed, bool]:
        """PSNR of `one` minus that of `other`, and whether over partners."""
        a, b, paired = self._pair(one, other, pixels)
        a, b = crossed.complete(a, b)
        return crossed.difference(a, b, common_trainings=paired, level=self.level), paired

    def change(self, one: Group, other: Group, pixels: Pixels, beyond: Pixels) -> Crossed:
        """How much the difference changes from `pixels` to those `beyond`. A clip that lacks either has no part in that side's error."""
        near, far = self._pair(one, other, pixels), self._pair(one, other, beyond)
        if not all(np.isfinite(values).any(axis=1).all() for side in (near, far) for values in side[:2]):
            return crossed.mean(np.full((len(near[0]), 0), np.nan))
        known = (self.pixels(pixels) > 0) | (self.pixels(beyond) > 0)
        one_change = _filled(far[0])[:, known] - _filled(near[0])[:, known]
        other_change = _filled(far[1])[:, known] - _filled(near[1])[:, known]
        return crossed.difference(one_change, other_change, common_trainings=near[2], level=self.level)

    def trainings(self, group: Group, pixels: Pixels) -> tuple[list[Any], Values]:
        """Values of `replicate` of the group's trainings, and (trainings, clips) whose mean over clips is the pooled PSNR in dB."""
        number = {model: i for i, model in enumerate(self.models)}
        members: dict[Any, list[int]] = {}
        for model, replicate in group.members:
            if model in number:
                members.setdefault(replicate, []).append(number[model])
        sums = self.squared[:, pixels.stratum, pixels.first : pixels.last].sum(axis=1)
        if not members:
            return [], np.full((0, sums.shape[1]), np.nan)
        own = np.stack([sums[some].mean(axis=0) for some in members.values()])
        return list(members), -DECIBELS * pseudo_values(own, self.pixels(pixels), level=self.level)

    def by_clip(self, group: Group, stratum: int) -> Values:
        """Sums of squared errors, the mean over the group's networks: float64 (clips, bins)."""
        number = {model: i for i, model in enumerate(self.models)}
        found: Values = self.squared[[number[model] for model, _ in group.members if model in number], stratum].mean(axis=0).T
        return found

    def _pair(self, one: Group, other: Group, pixels: Pixels) -> tuple[Values, Values, bool]:
        (names, a), (others, b) = (self.trainings(group, pixels) for group in (one, other))
        partners = [name for name in names if name in others]
        paired = len(partners) >= FEWEST or len(names) == len(others) == 1
        if len(partners) >= FEWEST:
            a, b = a[[names.index(name) for name in partners]], b[[others.index(name) for name in partners]]
        return a, b, paired


def _filled(values: Values) -> Values:
    """Without influence where a clip has no such pixels: (trainings, clips)."""
    filled: Values = np.where(np.isfinite(values), values, np.nanmean(values, axis=1, keepdims=True))
    return filled


def said(reason: str) -> str:
    """A reason of the statistics of photographs, of clips."""
    return reason.replace("photograph", "clip")


def all_of(strata: Sequence[str]) -> int:
    """Number of the stratum of all pixels."""
    return list(strata).index("all")
