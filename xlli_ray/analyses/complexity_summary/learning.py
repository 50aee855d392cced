"""Prequential complexity of images and residuals, from stored crops: `stats.prequential` on each set and seed.

Images are predicted from images and white noise, residuals from residuals and textures, each with as much power as the component: a
network that is to keep the image knows nothing of the degradation, and one that is to remove it nothing of the images. The images of a
subset are learnt once, and compared with the residuals of every degradation, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from xlli_ray.analyses.complexity_summary.clouds import Stored, Subset
from xlli_ray.analyses.complexity_summary.pairs import verdict
from xlli_ray.analyses.complexity_summary.params import Prequential
from xlli_ray.analyses.complexity_summary.tables import IMAGE, RESIDUAL
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.intervals import intervals
from xlli_ray.stats.prequential import Learning, learn
from xlli_ray.stats.textures import dead_leaves

TEXTURES = 256
_Row = dict[str, Any]


class Learner:
    """Trains what it is asked for, each once."""

    def __init__(self, crops: Stored, params: Prequential, seed: int, level: float) -> None:
        self._crops, self._params, self._seed, self._level = crops, params, seed, level
        self._textures = dead_leaves(TEXTURES, crops.values.shape[-1], generator(seed, "textures"))
        self._images: dict[str, list[Learning]] = {}

    def rows(self, label: str, subset: Subset) -> tuple[list[_Row], list[_Row]]:
        """Rows of `complexity_sets` and of `complexity_kappa` of one degradation; none where it has no residuals."""
        crops, photograph = self._crops.of(label, subset.photographs)
        good = np.isfinite(crops).all(axis=(1, 2, 3))
        if not good.any():
            return [], []
        if subset.name not in self._images:
            self._images[subset.name] = list(self._learn(crops[:, 0], IMAGE, subset.name))
        sides = {IMAGE: self._images[subset.name], RESIDUAL: list(self._learn(crops[good, 1], RESIDUAL, f"{subset.name}|{label}"))}
        areas = {side: np.array([one.area for one in runs]) for side, runs in sides.items()}
        about = {"degradation": label, "set": subset.name, "count": subset.count, "seed": subset.seed, "measure": "preq"}
        images, rows = len(np.unique(photograph[good])), []
        for side, values in areas.items():
            (mean,) = intervals(np.log(values)[:, None], level=self._level, difference=True)
            rows.append({**about, "side": side, "value": math.exp(mean.mean), "low": math.exp(mean.low), "high": math.exp(mean.high),
                         "images": images, "points": len(values)})  # fmt: skip
        (kappa,) = intervals(np.log(areas[RESIDUAL] / areas[IMAGE])[:, None], level=self._level, difference=True)
        row = {**about, "kappa": kappa.mean, "kappa_low": kappa.low, "kappa_high": kappa.high, "verdict": verdict(kappa.low, kappa.high),
               "n": kappa.photographs}  # fmt: skip
        return rows, [row]

    def _learn(self, component: np.ndarray, side: str, name: str) -> Iterator[Learning]:
        for number in range(self._params.seeds):
            rng = generator(self._seed, "learn", side, name, number)
            yield learn(component.astype(np.float32), "noise" if side == IMAGE else "textures", self._textures, self._params.steps, rng)
