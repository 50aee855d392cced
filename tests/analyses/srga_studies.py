"""Studies with a `gram` or `features` stage made by hand: sets whose features, and so whose index, are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from toy_studies import Recipe, Stage

from xlli_ray.stats.gram import gram

PICTURES = 24
WIDTH = 72
SHAPE = (2, 6, 6)
LABELS = ("clean", "blur1", "blur2", "noise20")
DEGRADATIONS = ("clean", {"blur": 1}, {"blur": 2}, {"noise": 20})
HARM = {"clean": 0.0, "blur1": 0.15, "blur2": 0.4, "noise20": -0.2}
"""What a degradation takes of the features of model 0; others lose less."""
LAYER = "tail.in"


@cache
def contents(samples: int) -> np.ndarray:
    """float64 (samples, WIDTH): what the contents say to every network."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(samples, WIDTH)) * np.arange(1, WIDTH + 1) ** -0.7 + 3.0


@cache
def features_of(model: int, label: str, samples: int) -> np.ndarray:
    """float32 (samples, WIDTH) of one set: each model a rotation of its own, each degradation a scale and some unrest."""
    rotation, _ = np.linalg.qr(np.random.default_rng(model).normal(size=(WIDTH, WIDTH)))
    harm = HARM[label] / (1 + model)
    unrest = 1 + 0.05 * harm * np.random.default_rng((model, LABELS.index(label))).normal(size=(samples, 1))
    return ((contents(samples) * (1 - harm) * unrest) @ rotation).astype(np.float32)


def psnr(model: int, row: int, label: str) -> dict[str, Any]:
    """Models a tenth of a dB apart."""
    return {"psnr_y": 30.0 + 0.1 * model + row % 3}


@dataclass
class Srga:
    """What the measuring stage of a study holds."""

    kind: str = "gram"
    samples: int = PICTURES
    """Samples of a set: the study's pictures."""
    features: Callable[[int, str, int], np.ndarray] = features_of
    """(model, label, samples) → float32 (samples, WIDTH)."""
    labels: Sequence[str] = LABELS
    failed: frozenset[int] = frozenset()
    """Rows of the sample table that failed: their columns in the others are NaN."""
    restore: Callable[[int, int, str], dict[str, Any]] | None = psnr
    dtype: str = "float32"

    def stages(self) -> list[Stage]:
        if self.kind == "gram":
            array = {"name": "gram", "dims": ("other",), "shape": (self.samples,), "dtype": "float64", "array": self._gram_row}
        else:
            array = {"name": "features", "shape": SHAPE, "dtype": self.dtype, "array": self._features_row}
        out = [Stage(f"srga-{self.kind}", self.kind, columns=(), whats=(LAYER,), **array)]
        return out + ([Stage("restore", value=self.restore)] if self.restore is not None else [])

    def _gram_row(self, model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        label, place = self.labels[row // self.samples], row % self.samples
        matrix = gram(self.features(model, label, self.samples))[place].copy()
        first = row - place
        matrix[[bad - first for bad in self.failed if 0 <= bad - first < self.samples]] = np.nan
        return matrix

    def _features_row(self, model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.features(model, self.labels[row // self.samples], self.samples)[row % self.samples].reshape(shape)


def srga_recipe(srga: Srga | None = None, *, params: dict[str, Any] | None = None, **fields: Any) -> Recipe:
    """A study's recipe with the stage and `srga`."""
    srga = srga or Srga()
    asked = {"kind": "srga", "id": "srga", "models": "all",
             "params": {"components": 8, "resamples": 6, "of": f"srga-{srga.kind}", **(params or {})}}  # fmt: skip
    fields = {"models": 3, "pictures": srga.samples, "degradations": DEGRADATIONS, "failed": sorted(srga.failed), **fields}
    return Recipe(srga.stages(), analyses=[asked], **fields)
