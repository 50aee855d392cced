"""Values as colours: the ends of a scale, its colour map, and the 8-bit levels in which a view keeps the values of a layer.

A value v has the share u = (v − low) / (high − low), cut to 0..1. The colour map takes u; the level that is kept is u to the power `power`,
in 255 steps. A power below 1 keeps steps for small shares, of which an attribution map has most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.checks import check_choice, check_range
from xlli_ray.plots.pixels import Pixels

COLOUR_MAPS = ("RdBu_r", "cividis", "effects", "gray", "magma", "reds")
"""matplotlib's; `reds`: the stronger half of its Reds, so that the smallest value is not white; `effects`: RdBu_r of the distance from the
middle to the power 1/1.2, so that small values of either sign are seen."""
EFFECTS = 1 / 1.2


@cache
def lut(name: str) -> Pixels:
    """uint8 (256, 3): the colours of a colour map, from low to high. Raises ValueError for one that is not in COLOUR_MAPS."""
    import matplotlib

    check_choice("colours", name, COLOUR_MAPS)
    shares = np.arange(256)
    if name == "reds":
        name, shares = "Reds", (128 + shares / 255 * 127 + 0.5).astype(np.int64)
    if name == "effects":
        away = shares / 127.5 - 1
        name, shares = "RdBu_r", ((np.sign(away) * np.abs(away) ** EFFECTS + 1) * 127.5 + 0.5).astype(np.int64)
    table: Pixels = (matplotlib.colormaps[name](shares)[:, :3] * 255 + 0.5).astype(np.uint8)
    return table


@dataclass(frozen=True)
class ColourScale:
    """How values become colours. See the module docstring."""

    low: float
    high: float
    colours: str
    """One of COLOUR_MAPS."""
    power: float = 1.0

    def __post_init__(self) -> None:
        check_choice("colours", self.colours, COLOUR_MAPS)
        check_range("power", self.power, 0.05, 20)
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a scale goes from a number to a larger one, got {self.low} to {self.high}")

    @classmethod
    def of(cls, values: Sequence[NDArray], *, share: float = 99.7) -> ColourScale:
        """A scale for all of `values`: blue–white–red and symmetric about 0 where some are negative, else dark to bright from 0 upwards.

        The most extreme 100 − `share` % do not stretch it.
        """
        flat = np.concatenate([np.asarray(value, np.float64).ravel() for value in values]) if values else np.zeros(0)
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return cls(0.0, 1.0, "cividis")
        top = float(np.percentile(np.abs(flat), share)) or float(np.abs(flat).max()) or 1.0
        # A layer that is positive but for rounding is not signed.
        return cls(-top, top, "RdBu_r") if flat.min() < -1e-6 * top else cls(0.0, top, "cividis")

    def levels(self, values: NDArray) -> Pixels:
        """uint8, of the shape of `values`: what is kept of them. NaN counts as `low`."""
        shares = np.nan_to_num(np.asarray(values, np.float64), nan=self.low)
        shares = np.clip((shares - self.low) / (self.high - self.low), 0, 1)
        return (shares**self.power * 255 + 0.5).astype(np.uint8)

    def palette(self) -> Pixels:
        """uint8 (256, 3): the colour of each level."""
        shares = (np.arange(256) / 255) ** (1 / self.power)
        return lut(self.colours)[(shares * 255 + 0.5).astype(np.uint8)]
