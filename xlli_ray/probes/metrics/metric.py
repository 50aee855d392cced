"""Metrics of `restore`: scores of one output, with or without a target.

Those of `psnr_ssim` are in every `restore` table, in the convention of the literature (`restore`). Others are requested by a recipe,
`metrics: [lpips]`, and come from the registry, from an entry point of the group `xlli_ray.metrics`, or from code beside the recipe,
`metrics: [sharp.py:Sharp]`.

To add one: a subclass of `Metric` with a `COLUMN` and `score`. A worker creates one instance, which scores one image at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import RecipeError
from xlli_ray.probes.measurement import Column
from xlli_ray.registry import METRICS
from xlli_ray.stats.fidelity import luma_studio

ALWAYS = ("psnr_y", "ssim_y", "psnr_rgb")
"""Columns of every `restore` table, which analyses rely on."""


@dataclass(frozen=True)
class Pair:
    """One output and its target, without the border."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB, or (H, W, 1): the luma that a one-channel network works on, full range."""
    target: NDArray[np.float32] | None
    """(H, W, 3) RGB in 0..1; None only for metrics that need none."""

    @property
    def grey(self) -> bool:
        """Whether the network works on luma only."""
        return self.image.shape[2] == 1

    @cached_property
    def eight_bit(self) -> NDArray[np.uint8]:
        """The target rounded half up to uint8 (H, W, 3)."""
        assert self.target is not None
        return np.floor(self.target.astype(np.float64) * 255 + 0.5).astype(np.uint8)

    @cached_property
    def luma(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(output, target), (H, W) each: BT.601 Y in 16..235; of a one-channel network full-range luma, the target's unrounded."""
        if self.grey:
            assert self.target is not None
            wanted = self.target.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) * 255.0
            return self.image[:, :, 0].astype(np.float64), wanted
        return luma_studio(self.image), luma_studio(self.eight_bit)


class Metric:
    """See the module docstring."""

    COLUMN: ClassVar[Column]
    """The column of the table: its name is also its name in recipes if it is registered."""
    VERSION: ClassVar[int] = 1
    """Raised by hand when numbers change; part of the identity of the cells that have it."""
    NEEDS_TARGET: ClassVar[bool] = True
    """False: it needs the output only, so samples without a target are scored, too."""
    REFERENCE: ClassVar[str] = ""

    @classmethod
    def check(cls) -> None:
        """Raise RecipeError if it cannot be computed here, e.g. for a missing package or missing weights."""

    def score(self, pair: Pair) -> float:
        """The score of one output; NaN if undefined."""
        raise NotImplementedError


def metric_class(name: str) -> type[Metric]:
    """The metric with that name or location. Raises RecipeError with the nearest names, or if it is not a metric."""
    cls = METRICS.load(name)
    if not (isinstance(cls, type) and issubclass(cls, Metric) and isinstance(getattr(cls, "COLUMN", None), Column)):
        raise RecipeError(f"metric {name!r}: expected a subclass of xlli_ray.probes.metrics.Metric with a COLUMN, got {cls!r:.80}")
    if cls.COLUMN.dtype != "float64":
        raise RecipeError(f"metric {name!r}: the dtype of COLUMN is {cls.COLUMN.dtype}, expected float64")
    return cls


def metric_classes(names: Sequence[str]) -> dict[str, type[Metric]]:
    """Column → metric: those of every table, then `names`. Raises RecipeError, also if two of them have the same column."""
    out: dict[str, type[Metric]] = {}
    for name in dict.fromkeys([*ALWAYS, *names]):
        cls = metric_class(name)
        if out.setdefault(cls.COLUMN.name, cls) is not cls:
            raise RecipeError(f"metrics: {name} has the column {cls.COLUMN.name}, as another metric of this stage does; rename one")
    return out
