"""Images as arrays: whole, reduced, enlarged, framed, a window with its surroundings. Crops are unchanged, pixel for pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SIDE = 240
"""Approximate size of drawn images: small ones are enlarged by an integer factor, large ones averaged down."""
DETAIL = 192
"""The same for a window with its surroundings."""
FRAME = 3
"""Width of a frame in pixels; it is around the window and hides nothing of it."""


def png_bytes(image: Pixels, *, colours: Pixels | None = None) -> bytes:
    """A PNG file of uint8 (H, W, 3) or (H, W); with `colours`, uint8 (256, 3), `image` holds palette indices."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    if colours is not None:
        picture.putpalette(colours.tobytes())
    sink = io.BytesIO()
    picture.save(sink, "PNG", optimize=True)
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


def framed(image: Pixels, box: tuple[int, ...]) -> Pixels:
    """A copy with a white frame with dark edges around `box` (top, left, height, width)."""
    out = image.copy()
    top, left, height, width = box
    for inset, shade in ((0, 0), (1, 255), (2, 0)):
        low, high = max(0, top + inset), min(out.shape[0], top + height - inset) - 1
        near, far = max(0, left + inset), min(out.shape[1], left + width - inset) - 1
        if low >= high or near >= far:
            break
        out[[low, high], near : far + 1] = shade
        out[low : high + 1, [near, far]] = shade
    return out


def boxed(picture: Pixels, top: int, left: int, size: int, *, scale: int = 1) -> Pixels:
    """`picture` at about SIDE pixels with a square window framed; `scale`: pixels of the window's coordinates per pixel of `picture`."""
    large = enlarged(picture, SIDE)
    factor = large.shape[0] / picture.shape[0] / scale
    wide = round(size * factor) + 2 * FRAME
    return framed(large, (round(top * factor) - FRAME, round(left * factor) - FRAME, wide, wide))


def detail(picture: Pixels, top: int, left: int, size: int) -> Pixels:
    """A square window with surroundings of its size, moved inwards at borders; framed."""
    side = min(3 * size, *picture.shape[:2])
    y, x = (min(max(0, place - size), length - side) for place, length in zip((top, left), picture.shape[:2]))
    part = enlarged(picture[y : y + side, x : x + side], DETAIL)
    factor = part.shape[0] / side
    corner = [round((place - start) * factor) - FRAME for place, start in ((top, y), (left, x))]
    wide = round(size * factor) + 2 * FRAME
    return framed(part, (*corner, wide, wide))
