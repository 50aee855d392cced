"""Isotropic Gaussian blur of the whole high-resolution image; `blur: 2.0` is a standard deviation of 2 of its pixels.

As in the literature on the generalization of super-resolution: blur first, then the antialiased bicubic, and only then the crop, so that
patches have no borders of their own. There are two deliberate differences from the authors' scripts: the window extends to ceil(4 sigma)
(theirs is 15 x 15 or 21 x 21 and truncates the tails from sigma 3.5 on), and nothing is rounded. The border is mirrored without repeating
the edge pixel (reflect-101, OpenCV's default).

Arithmetic: float64 sums of element-wise products, taps added in pairs in a fixed order; no BLAS, so the bytes depend on
neither threads nor processor. The weights are rounded to float32: exp() may differ in its last bit between C libraries,
the rounded weight does not.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from xlli_ray.corpus.degradations.degradation import PLAIN, Degradation, Degraded, Domain, number

_BAND = 64  # rows processed at a time
_BLOCK = 1 << 14  # elements summed at a time: two buffers of 128 KiB
_MAX_SIGMA = 64.0
_MAX_WINDOW = 511


class BlurParams(BaseModel):
    """Parameters of `blur`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sigma: Annotated[float, BeforeValidator(number)] = Field(description="standard deviation in pixels of the target")
    window: int | None = Field(default=None, description="side of the window in pixels; null: extends to ceil(4 sigma)")

    @field_validator("sigma")
    @classmethod
    def _usable(cls, value: float) -> float:
        if not 0.0 < value <= _MAX_SIGMA:
            raise ValueError(
                f"{value:g} is not a valid sigma; expected pixels of the target, above 0 and at most {_MAX_SIGMA:g}."
                " For no blur use clean."
            )
        return value

    @field_validator("window")
    @classmethod
    def _odd(cls, value: int | None) -> int | None:
        if value is not None and (value % 2 == 0 or not 3 <= value <= _MAX_WINDOW):
            raise ValueError(f"window must be an odd number of pixels from 3 to {_MAX_WINDOW}, or null, got {value}")
        return value


class Blur(Degradation):
    """Degradation `blur`; the level is the standard deviation in pixels of the target, above 0 and at most 64.

    `window`: side of the window, an odd number from 3 to 511; None: extends to ceil(4 sigma). It is the same for all levels, as in OpenCV's
    `GaussianBlur` with a given size. It changes the pixels, so it is part of the label: `blur2w15`.
    """

    NAME: ClassVar[str] = "blur"
    VERSION: ClassVar[int] = 1
    ORDER: ClassVar[int] = 10
    DOMAIN: ClassVar[Domain] = "target"
    Params: ClassVar[type[BaseModel]] = BlurParams
    LEVEL: ClassVar[str] = "sigma"
    AXIS: ClassVar[str] = "blur, σ in target pixels"
    COLOUR: ClassVar[str | None] = "#0072B2"
    params: BlurParams

    @property
    def label(self) -> str:
        return f"blur{self.params.sigma:g}" + ("" if self.params.window is None else f"w{self.params.window}")

    @property
    def plain(self) -> bool:
        return True

    @classmethod
    def from_label(cls, text: str) -> Self:
        match = re.fullmatch(rf"({PLAIN.pattern})(?:w([0-9]+))?", text)
        if match is None:
            raise ValueError(text)
        return cls.of({"sigma": float(match[1]), "window": None if match[2] is None else int(match[2])})

    def apply(self, array: NDArray[Any], *, key: str) -> Degraded:
        """Blur `array`, float32 or float64, (H, W, C), any range; same shape and dtype. `key` is not used."""
        del key  # nothing is drawn
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(f"blur expects a float image, got {array.dtype}")
        weights = gaussian(self.params.sigma, self.params.window)
        radius = len(weights) - 1
        height, width, channels = array.shape
        result = np.empty_like(array)
        above, beside = reflect101(height, radius), reflect101(width, radius)
        # Band by band, so that the float64 arrays stay small for large images; bands do not change a bit of the
        # result. Both passes are one-dimensional: in a flattened band a neighbour is `step` elements away.
        for top in range(0, height, _BAND):
            bottom = min(top + _BAND, height)
            rows = array.take(above[top : bottom + 2 * radius], axis=0).astype(np.float64)
            work = _symmetric(rows.ravel(), weights, step=width * channels).reshape(-1, width, channels)
            padded = work.take(beside, axis=1)
            # Across columns the last 2 * radius sums of a row run into the next row: they are computed and discarded.
            flat = np.empty(padded.size)
            flat[: padded.size - 2 * radius * channels] = _symmetric(padded.ravel(), weights, step=channels)
            result[top:bottom] = flat.reshape(padded.shape)[:, :width]
        return Degraded(result)


def gaussian(sigma: float, window: int | None = None) -> NDArray[np.float64]:
    """Half of the kernel: weights at distance 0, 1, ... ceil(4 sigma), or ... (window - 1) / 2. All of it sums to 1 within 1e-7."""
    radius = math.ceil(4.0 * sigma) if window is None else window // 2
    half = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)]
    total = half[0] + 2.0 * math.fsum(half[1:])
    return np.array([w / total for w in half], dtype=np.float32).astype(np.float64)


def reflect101(n: int, radius: int) -> NDArray[np.intp]:
    """Source index of positions -radius to n - 1 + radius.

    Mirrored without repeating the edge, as often as necessary.
    """
    if n == 1:
        return np.zeros(2 * radius + 1, dtype=np.intp)
    position = np.arange(-radius, n + radius) % (2 * n - 2)
    return np.where(position < n, position, 2 * n - 2 - position)


def _symmetric(flat: NDArray[np.float64], half: NDArray[np.float64], *, step: int) -> NDArray[np.float64]:
    """Correlate `flat` with the symmetric kernel, neighbours `step` elements apart; valid part only."""
    radius = len(half) - 1
    size = flat.size - 2 * radius * step
    result = np.empty(size)
    buffer = np.empty(min(_BLOCK, size))
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        total, term = result[start:stop], buffer[: stop - start]
        middle = radius * step
        np.multiply(flat[start + middle : stop + middle], half[0], out=total)
        for k in range(1, radius + 1):
            before, after = middle - k * step, middle + k * step
            np.add(flat[start + before : stop + before], flat[start + after : stop + after], out=term)
            np.multiply(term, half[k], out=term)
            np.add(total, term, out=total)
    return result

