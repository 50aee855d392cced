"""The frames of a clip with known motion: crops of a photograph where the motion is whole, else resampled once.

Resampling is cubic convolution (R. Keys, IEEE ASSP 29, 1981, a = -0.5) of the 8-bit photograph, in float64 with a fixed order of
operations, rounded half up to 8 bits: the same bytes on any machine. It softens what lies between pixels, in the target as in the input
made from it, and so differently from frame to frame; exact pans have no such trace of their making.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.motion.moves import Layer, Motion

U8 = NDArray[np.uint8]


def frames(photograph: U8, motion: Motion, *, margin: int = 0) -> U8:
    """uint8 (H, W, 3) -> uint8 (T, h + 2 margin, w + 2 margin, 3): the frames with `margin` target pixels around them. Raises ValueError if
    the motion leaves the photograph."""
    top, left, bottom, right = motion.reach(margin)
    place_y, place_x = motion.place
    if place_y + top < 0 or place_x + left < 0 or place_y + bottom > photograph.shape[0] or place_x + right > photograph.shape[1]:
        raise ValueError(f"the motion leaves the photograph of {photograph.shape[1]} x {photograph.shape[0]} pixels")
    height, width = (side + 2 * margin for side in motion.size)
    out = np.empty((motion.frames, height, width, photograph.shape[2]), dtype=np.uint8)
    for number, moment in enumerate(motion.moments):
        if motion.exact:
            down, across = (int(shift) for shift in motion.shift(moment))
            first_row, first_column = place_y - down - margin, place_x - across - margin
            out[number] = photograph[first_row : first_row + height, first_column : first_column + width]
        else:
            y, x = np.mgrid[-margin : height - margin, -margin : width - margin].astype(np.float64)
            rows, columns = motion.seen(moment, y, x)
            out[number] = sampled(photograph, rows + place_y, columns + place_x)
        for layer in motion.layers:
            _lay(out[number], photograph[::-1, ::-1], layer, motion, moment, margin)
    return out


def _lay(frame: U8, texture: U8, layer: Layer, motion: Motion, moment: int, margin: int) -> None:
    """Put a layer on the frame of a moment. `texture`: the turned photograph."""
    down, across = (int(shift) for shift in motion.shift(moment, layer.velocity))
    top, left = layer.centre[0] - layer.half[0] + down + margin, layer.centre[1] - layer.half[1] + across + margin  # in the array
    first_row, first_column = max(top, 0), max(left, 0)
    last_row, last_column = min(top + 2 * layer.half[0] + 1, frame.shape[0]), min(left + 2 * layer.half[1] + 1, frame.shape[1])
    if first_row >= last_row or first_column >= last_column:
        return
    y, x = np.ogrid[first_row - margin : last_row - margin, first_column - margin : last_column - margin]
    inside = layer.covers(y, x, (down, across))
    row, column = layer.source[0] + first_row - top, layer.source[1] + first_column - left
    patch = texture[row : row + last_row - first_row, column : column + last_column - first_column]
    region = frame[first_row:last_row, first_column:last_column]
    region[inside] = patch[inside]


def sampled(image: U8, y: NDArray[np.float64], x: NDArray[np.float64]) -> U8:
    """uint8 (H, W, C) at points (any shape), each at least one pixel from the upper and left and two from the lower and right border."""
    row, column = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    down, across = _keys(y - row), _keys(x - column)
    total = np.zeros((*y.shape, image.shape[2]))
    for i in range(4):
        line = np.zeros_like(total)
        for j in range(4):
            line = line + image[row + (i - 1), column + (j - 1)] * across[j][..., None]
        total = total + line * down[i][..., None]
    return np.floor(np.clip(total, 0.0, 255.0) + 0.5).astype(np.uint8)


def _keys(fraction: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Weights of the four neighbours -1, 0, 1, 2 of a point at `fraction` between 0 and 1."""

    def near(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return (1.5 * t - 2.5) * t * t + 1.0

    def far(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0

    return [far(fraction + 1.0), near(fraction), near(1.0 - fraction), far(2.0 - fraction)]
