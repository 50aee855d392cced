"""The patches of an image: grid-aligned tiles that are not flat, in an order determined by the seed
alone.

Tiles start at (0, 0) with stride `size`, so they never overlap and never depend on one another. Flat tiles make a
feature matrix rank-deficient, so those whose luma varies less than `min_std` are left out (the PIES-like construction of the
SRGA notes asks for 5 grey levels). Of the others, the first `per_image` in the order of sha256(seed | content) are kept:
increasing the number adds patches and changes none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.ids import order_key


def tiles(height: int, width: int, size: int) -> list[Box]:
    """All complete tiles of an image, row by row; empty if the image is smaller than `size`."""
    if size < 1:
        raise ValueError(f"patch size must be at least 1, got {size}")
    return [
        Box(top, left, size) for top in range(0, height - size + 1, size) for left in range(0, width - size + 1, size)
    ]


def luma_std(image: NDArray[np.uint8]) -> float:
    """Standard deviation (population) of the BT.601 full-range luma of `image`, uint8 (H, W, 3); 0 to 127.5 grey
    levels.

    The luma times 1000 is an integer, so the variance is exact: whether a patch passes a
    threshold does not depend on the machine.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"luma_std() expects uint8 (H, W, 3), got {image.dtype} {image.shape}")
    rgb = image.astype(np.int64)
    luma = 299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2]  # at most 255,000: squares of 10^8 pixels fit
    count, total, squares = luma.size, int(luma.sum()), int((luma * luma).sum())
    return math.sqrt(count * squares - total * total) / (1000.0 * count)


def tile_stds(image: NDArray[np.uint8], size: int) -> list[float]:
    """`luma_std` of each of `tiles(height, width, size)`, in their order: the same numbers, computed one row of tiles at a time."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"tile_stds() expects uint8 (H, W, 3), got {image.dtype} {image.shape}")
    across, count = image.shape[1] // size, size * size
    out: list[float] = []
    for top in range(0, image.shape[0] - size + 1, size):
        rgb = image[top : top + size, : across * size].astype(np.int64)
        luma = (299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2]).reshape(size, across, size)
        totals, squares = luma.sum(axis=(0, 2)).tolist(), (luma * luma).sum(axis=(0, 2)).tolist()
        out += [math.sqrt(count * square - total * total) / (1000.0 * count) for total, square in zip(totals, squares, strict=True)]
    return out


def choose(boxes: Sequence[Box], contents: Sequence[str], seed: int, per_image: int | None) -> list[Box]:
    """The first `per_image` boxes (None: all) in the order of sha256(seed | content).

    `contents[i]` is the content id of `boxes[i]`.
    """
    ranked = sorted(zip(boxes, contents, strict=True), key=lambda pair: order_key(seed, pair[1]))
    return [box for box, _ in ranked[:per_image]]


def crop(image: NDArray[Any], box: Box, *, scale: int = 1) -> NDArray[Any]:
    """The part of `image` (H, W, ...) under `box`, a view.

    One pixel of `image` corresponds to `scale` pixels of the box.
    """
    top, left, size = box.top // scale, box.left // scale, box.size // scale
    return image[top : top + size, left : left + size]
