"""Images as arrays: reduced, enlarged, framed, a window with its surroundings or with the most detail. Crops stay as they are."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

FRAME = 3
"""Width of a white frame in pixels."""
LINE = 2
"""Width of a coloured one."""
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


def png_bytes(image: Pixels, *, colours: Pixels | None = None) -> bytes:
    """A PNG file of uint8 (H, W, 3) or (H, W); with `colours`, uint8 (256, 3), `image` holds palette indices."""
    from PIL import Image

    made = Image.fromarray(np.ascontiguousarray(image))
    if colours is not None:
        made.putpalette(colours.tobytes())
    sink = io.BytesIO()
    made.save(sink, "PNG", compress_level=6)  # 9 takes eight times as long over maps that are mostly empty, for 1 % of their bytes
    return sink.getvalue()


def still(planes: NDArray[Any]) -> NDArray[Any]:
    """The image of (C, H, W), or the centre frame of (T, C, H, W)."""
    return planes[len(planes) // 2] if planes.ndim == 4 else planes


def to_image(planes: NDArray[Any]) -> Pixels:
    """(C, H, W), C 1 or 3, float in 0..1 or uint8 → uint8 (H, W, 3); of a clip (T, C, H, W) its centre frame."""
    planes = still(planes)
    values = planes if planes.dtype == np.uint8 else np.floor(np.clip(planes, 0, 1) * 255 + 0.5).astype(np.uint8)
    colour: Pixels = np.repeat(values, 3, axis=0) if len(values) == 1 else values
    return np.moveaxis(colour, 0, 2)


def shrunk(values: NDArray, side: int) -> NDArray:
    """Averaged over whole blocks of pixels until neither of the first two axes exceeds `side`; small ones are unchanged."""
    factor = -(-max(values.shape[:2]) // side)
    if factor <= 1:
        return values
    height, width = (max(1, size // factor) * factor for size in values.shape[:2])
    padded = values[:height, :width].astype(np.float64)
    if padded.shape[0] < factor or padded.shape[1] < factor:  # a strip thinner than one block
        return values[:: min(factor, values.shape[0]), :: min(factor, values.shape[1])]
    blocks = padded.reshape(height // factor, factor, width // factor, factor, *values.shape[2:]).mean(axis=(1, 3))
    return np.floor(blocks + 0.5).astype(np.uint8) if values.dtype == np.uint8 else blocks


def enlarged(values: NDArray, side: int) -> NDArray:
    """Repeated pixel by pixel to at most `side` along the longer axis, or averaged down to it."""
    factor = side // max(values.shape[:2])
    return values.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else shrunk(values, side)


def repeated_to(values: NDArray, size: tuple[int, int]) -> NDArray:
    """`values` (H, W, …) at the size (height, width), pixels repeated, or left out where it is smaller."""
    if values.shape[:2] == tuple(size):
        return values
    rows, columns = (np.arange(wanted) * given // wanted for wanted, given in zip(size, values.shape[:2]))
    return values[rows[:, None], columns]


def framed(image: Pixels, box: tuple[int, int, int, int], colour: str = "") -> Pixels:
    """A copy with a frame around the window `box` (top, left, height, width) that hides nothing of it: white between dark lines, FRAME
    wide, or of a colour, LINE wide. Where the window touches the border of the image, a coloured frame is left out there and a white one
    lies on the border.
    """
    out, (top, left, height, width) = image.copy(), box
    shades = [_rgb(colour)] * LINE if colour else [[shade] * 3 for shade in (0, 255, 0)]
    for outset, shade in zip(range(len(shades), 0, -1), shades):
        rows, columns = (top - outset, top + height + outset - 1), (left - outset, left + width + outset - 1)
        if not colour:
            rows, columns = (_inside(ends, length, outset) for ends, length in zip((rows, columns), image.shape[:2]))
        across = slice(max(0, columns[0]), max(0, columns[1] + 1))
        down = slice(max(0, rows[0]), max(0, rows[1] + 1))
        for row in rows:
            if 0 <= row < image.shape[0]:
                out[row, across] = shade
        for column in columns:
            if 0 <= column < image.shape[1]:
                out[down, column] = shade
    return out


def _inside(ends: tuple[int, int], length: int, outset: int) -> tuple[int, int]:
    """Both lines of a white frame moved onto the image, in their order."""
    return min(max(ends[0], FRAME - outset), length - 1), max(min(ends[1], length - 1 - (FRAME - outset)), 0)


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def around(top: int, left: int, size: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a square window with surroundings of its size, moved inwards at the borders of (height, width)."""
    side = min(3 * size, *shape[:2])
    y, x = (min(max(0, place - size), length - side) for place, length in zip((top, left), shape[:2]))
    return y, x, side, side


def busiest(image: Pixels, side: int, *, step: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the window of `side` pixels with the most detail, its corner a multiple of `step`.

    Detail: mean absolute difference of neighbouring grey levels. The whole image where it is smaller.
    """
    height, width = min(side, image.shape[0]), min(side, image.shape[1])
    grey = image.astype(np.float32).mean(axis=2)
    detail = np.zeros((grey.shape[0] + 1, grey.shape[1] + 1))
    change = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    detail[1:, 1:] = change.cumsum(0, dtype=np.float64).cumsum(1)
    tops, lefts = np.arange(0, grey.shape[0] - height + 1, step), np.arange(0, grey.shape[1] - width + 1, step)
    sums = (
        detail[np.ix_(tops + height, lefts + width)] - detail[np.ix_(tops, lefts + width)]
        - detail[np.ix_(tops + height, lefts)] + detail[np.ix_(tops, lefts)]
    )  # fmt: skip
    best = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(tops[best[0]]), int(lefts[best[1]]), height, width
