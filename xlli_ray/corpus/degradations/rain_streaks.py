"""The rain layer: random seed pixels, each drawn as one streak; the procedure of the image restoration literature, in whole numbers.

    noise      uniform in 0..256 at each pixel; kept where it is in the highest share `amount`, else 0
    spots      3 x 3 filter: centre 8, the four neighbours 0.1, corners 0
    streak     diagonal of a square of `length` pixels, turned to `angle` by bilinear interpolation, then a Gaussian of `width` x `width`
    layer      noise, spots and streak correlated; the image's minimum and maximum become 0 and 255, truncated to 8 bits

The recipe is in many public scripts, all on OpenCV (`filter2D`, `warpAffine`, `GaussianBlur`, `normalize`). Where we differ, on purpose:

- every number is a whole number or a multiple of a fixed power of two, so that a layer has the same bytes on any machine: positions are
  rounded to 1/32 pixel (as OpenCV does), noise to 1/8 grey level, Gaussians to 1/256;
- noise reaches half a streak beyond the image, where the scripts mirror the border: streaks enter and leave;
- only seed pixels are worked on, so the cost is that of the streaks' pixels, and linear in the image's.

Minimum and maximum are those of the image or crop: the larger it is, the more streaks cross somewhere, and the paler is each. Coverage
depends on the size, and is only compared at one. Whatever changes bytes here raises `rain.Rain.VERSION`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.degradations.blur import reflect101

AMOUNT_UNIT = 1 << 32
"""`amount` is given in these."""
WEIGHT_UNIT = 1 << 16
_TRIG = 16  # bits of a sine
_FINE = 5  # bits of a position: 1/32 pixel
_NOISE = 11  # bits of a seed's value, 0..256
_SPOT = {(0, 0): 80, (-1, 0): 1, (1, 0): 1, (0, -1): 1, (0, 1): 1}  # ten times the filter
_GAUSSIANS = {1: (1,), 3: (1, 2, 1), 5: (1, 4, 6, 4, 1), 7: (2, 7, 14, 18, 14, 7, 2), 9: (4, 13, 30, 51, 60, 51, 30, 13, 4)}
"""OpenCV's weights where the standard deviation is left to it, up to 9 pixels."""
_CHUNK = 1 << 18  # streak pixels worked on at a time


@dataclass(frozen=True)
class Streak:
    """The pixels of one streak, in a square of `side` pixels: row, column and value of each that is not 0."""

    side: int
    y: NDArray[np.intp]
    x: NDArray[np.intp]
    values: NDArray[np.float64]


def layer(height: int, width: int, amount: int, streak: Streak, bits: np.random.BitGenerator) -> NDArray[np.uint8]:
    """A rain layer (height, width), 0..255; 0 everywhere where no streak falls.

    `amount`: share of seed pixels in units of `AMOUNT_UNIT`, above 0 and at most 1. `bits`: 32 of them a pixel are taken, row by row,
    beginning half a streak outside of the image.
    """
    reach = streak.side - 1
    rows, columns = height + reach, width + reach
    words = bits.random_raw((rows * columns + 1) // 2).astype("<u8").view("<u4")[: rows * columns]
    seeds = np.flatnonzero(words >= np.uint32(AMOUNT_UNIT - amount))
    values = (words[seeds] >> np.uint32(32 - _NOISE)).astype(np.float64)
    stride = columns + reach
    places = seeds // columns * stride + seeds % columns
    # A correlation: a tap above the kernel's middle is drawn below the seed.
    offsets = (reach - streak.y) * stride + (reach - streak.x)
    total = np.zeros((rows + reach) * stride)
    step = max(1, _CHUNK // len(offsets))
    for start in range(0, len(seeds), step):
        first = places[start]
        where = (places[start : start + step, None] - first) + offsets
        # Sums of whole numbers below 2^53 are exact in float64, whatever their order.
        part = np.bincount(where.ravel(), (values[start : start + step, None] * streak.values).ravel())
        total[first : first + len(part)] += part
    drawn = total.reshape(rows + reach, stride)[reach : reach + height, reach : reach + width].astype(np.int64)
    low, high = int(drawn.min()), int(drawn.max())
    if low == high:
        return np.zeros((height, width), np.uint8)
    drawn -= low
    drawn *= 255
    drawn //= high - low
    return drawn.astype(np.uint8)


def add(image: NDArray[np.uint8], rain: NDArray[np.uint8], weight: int) -> NDArray[np.uint8]:
    """`image` (H, W, C) + weight · `rain` (H, W), rounded half up; what exceeds 255 is 255. `weight`: in units of `WEIGHT_UNIT`."""
    levels = (np.arange(256) * weight + WEIGHT_UNIT // 2) // WEIGHT_UNIT
    weighted = levels.astype(np.uint8)[rain][..., None]
    return np.minimum(image, 255 - weighted) + weighted


@lru_cache(maxsize=512)
def make_streak(length: int, angle: int, width: int, *, scaled: bool = False) -> Streak:
    """A streak as it is drawn for one seed: `kernel`, after the 3 x 3 filter."""
    square = kernel(length, angle, width, scaled=scaled)
    large = np.zeros((length + 2, length + 2), np.int64)
    for (dy, dx), weight in _SPOT.items():
        large[1 + dy : 1 + dy + length, 1 + dx : 1 + dx + length] += weight * square
    y, x = np.nonzero(large)
    return Streak(length + 2, y, x, large[y, x].astype(np.float64))


def kernel(length: int, angle: int, width: int, *, scaled: bool = False) -> NDArray[np.int64]:
    """The shape of a streak, (length, length), ≥ 0, in no particular unit: layers are normalised.

    `angle`: whole degrees from the vertical, counter-clockwise. `width`: odd, of the Gaussian. `scaled`: the older version, shrunk by
    1 - length / 100 about a centre half a pixel further; its streaks are longest, 35 pixels, at a length of 50.
    """
    made = _line(length, angle, scaled)
    mirrored = reflect101(length, width // 2)
    for _ in range(2):  # columns, then rows
        made = sum((weight * made[mirrored[i : i + length]] for i, weight in enumerate(gaussian(width))), np.zeros_like(made)).T
    return made


def gaussian(width: int) -> tuple[int, ...]:
    """Weights of a Gaussian over `width` pixels, an odd number; their common factor has no meaning.

    Beyond OpenCV's fixed ones its rule: a standard deviation of 0.3 ((width - 1) / 2 - 1) + 0.8.
    """
    if width in _GAUSSIANS:
        return _GAUSSIANS[width]
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    shape = [math.exp(-0.5 * ((i - width // 2) / sigma) ** 2) for i in range(width)]
    return tuple(round(256 * value / math.fsum(shape)) for value in shape)


def _line(length: int, angle: int, scaled: bool) -> NDArray[np.int64]:
    """The diagonal of a square, turned by `angle` - 45 degrees about its centre; 1024 where a pixel is on the line."""
    zoom = 100 / (100 - length) if scaled else 1.0
    turn = math.radians(angle - 45)
    cosine, sine = (round(part * zoom * (1 << _TRIG)) for part in (math.cos(turn), math.sin(turn)))
    double = length if scaled else length - 1  # twice the centre
    from_centre = 2 * np.arange(length, dtype=np.int64) - double
    across, down = from_centre[None, :], from_centre[:, None]
    shift = _TRIG + 1 - _FINE
    turned = (cosine * across - sine * down, sine * across + cosine * down)
    source_x, source_y = ((part + (1 << (shift - 1)) >> shift) + (double << (_FINE - 1)) for part in turned)
    unit = 1 << _FINE
    x, right = source_x >> _FINE, source_x & (unit - 1)
    y, below = source_y >> _FINE, source_y & (unit - 1)
    line = np.zeros((length, length), np.int64)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        on = (x + dx == y + dy) & (x + dx >= 0) & (x + dx < length)
        line += on * (right if dx else unit - right) * (below if dy else unit - below)
    return line
