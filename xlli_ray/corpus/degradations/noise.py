"""Additive white Gaussian noise on the 8-bit low-resolution patch; `noise: 20` is a standard deviation of 20 of 255
grey levels.

The draw is keyed (`keyed_random`) by (seed, content, noise, level). So it is the same on any worker, in any order, and
in any mixture with the same level: `noise20` and `blur2+noise20` of one patch share it, and differ only in what the
paper varies.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from xlli_ray.corpus.degradations.degradation import Degradation, Degraded, Domain, number
from xlli_ray.corpus.degradations.keyed_random import generator


class NoiseParams(BaseModel):
    """Parameters of `noise`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sigma: Annotated[float, BeforeValidator(number)] = Field(description="standard deviation in grey levels of 255")

    @field_validator("sigma")
    @classmethod
    def _usable(cls, value: float) -> float:
        if not 0.0 < value <= 255.0:
            raise ValueError(
                f"{value:g} is not a valid level; expected a standard deviation in grey levels of 255, above 0 and at most 255."
                " For no noise use clean."
            )
        return value


class Noise(Degradation):
    """Degradation `noise`; the level is the standard deviation in grey levels of 255, above 0 and at most 255."""

    NAME: ClassVar[str] = "noise"
    VERSION: ClassVar[int] = 1
    ORDER: ClassVar[int] = 20
    DOMAIN: ClassVar[Domain] = "input"
    Params: ClassVar[type[BaseModel]] = NoiseParams
    LEVEL: ClassVar[str] = "sigma"
    AXIS: ClassVar[str] = "noise, σ in grey levels"
    COLOUR: ClassVar[str | None] = "#D55E00"

    def apply(self, array: NDArray[Any], *, key: str) -> Degraded:
        """Add noise to `array`, uint8 (h, w, C); clipped and rounded half up to uint8. `key` is `seed|content`."""
        if array.dtype != np.uint8:
            raise TypeError(f"noise expects a uint8 patch, got {array.dtype}")
        draw = generator(f"{key}|noise|{self.level:g}").standard_normal(array.shape)
        noisy = array + self.level * draw
        return Degraded(np.floor(np.clip(noisy, 0.0, 255.0) + 0.5).astype(np.uint8))
