"""Images as people give them, files or arrays → planes in 0..1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError

Image = str | os.PathLike[str] | NDArray[Any]


def place_of(window: tuple[int, int, int]) -> tuple[int, int, int]:
    """(top, left, size) as integers. Raises XlliError."""
    if len(window) != 3 or not all(isinstance(number, int | np.integer) for number in window):
        raise XlliError(f"window: expected three integers (top, left, size) in output pixels, got {window!r}")
    top, left, size = map(int, window)
    return top, left, size


def planes_of(image: Image | Sequence[Image]) -> NDArray[np.float32]:
    """A file or an array (H, W, 3) → (3, H, W) float32 in 0..1; a list of them, or (T, H, W, 3) → (T, 3, H, W)."""
    from xlli_ray.corpus.decode import decode

    if isinstance(image, list | tuple) or (isinstance(image, np.ndarray) and image.ndim == 4):
        frames = [planes_of(one) for one in image]
        if len(frames) < 2 or any(one.ndim != 3 or one.shape != frames[0].shape for one in frames):
            raise XlliError(f"image: expected a clip of at least two frames of one size, got {sorted({one.shape for one in frames})}")
        return np.stack(frames)
    if isinstance(image, str | os.PathLike):
        try:
            pixels = decode(Path(image).read_bytes()).pixels
        except OSError as error:
            raise XlliError(f"{image}: cannot be read ({error.strerror})") from error
    else:
        given = np.asarray(image)
        if given.ndim != 3 or given.shape[2] != 3:
            raise XlliError(f"image: expected an array (height, width, 3), got {given.shape}")
        pixels = given.astype(np.float32) / np.float32(255) if given.dtype == np.uint8 else given.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise XlliError("image: contains NaN or infinity; its map would be undefined")
        if pixels.size and (pixels.max() > 2 or pixels.min() < -1):
            raise XlliError(
                f"image: values from {pixels.min():g} to {pixels.max():g}; expected 0..1, or uint8 (divide grey levels by 255)"
            )
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0), dtype=np.float32)
