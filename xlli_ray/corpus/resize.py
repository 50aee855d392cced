"""Antialiased bicubic resizing that agrees with MATLAB's `imresize(image, 1 / scale)`.

Super-resolution papers make their low-resolution images with MATLAB, and their numbers change by tenths of a dB if
another resizer is used. The rules that matter (R. Keys, "Cubic convolution interpolation for digital image processing",
IEEE ASSP 29, 1981, eq. 15 with a = -0.5; `imresize` documentation, "Antialiasing"):

- Output pixel i is at input position ``(i + 0.5) * factor - 0.5`` (pixel centres, zero-based).
- Downwards the kernel is stretched by the factor, so that it covers 4 * factor input pixels; upwards it covers 4.
- Weights of one output pixel sum to 1. Beyond the border the image is mirrored, the edge pixel repeated (symmetric).
- Rows are resized first, then columns.

Of an integer image MATLAB also *rounds and clips between the two passes*. This is seldom mentioned but matters: overshoot
that the first pass would pass to the second is clipped, up to 8 grey levels near sharp edges. `downscale` does this and
reproduces the public LR files of Set5, Set14, BSD100 and Urban100 to the bit (except borders: their HR was cropped
afterwards). `bicubic` is the plain linear operator.

Arithmetic: weights and sums are float64. Each tap is one element-wise multiplication and one element-wise addition, in
a fixed order, each rounded as IEEE 754 says. No BLAS is called, so the bytes do not depend on threads, block size, or
processor.

>>> import numpy as np
>>> bicubic(np.full((8, 8, 1), 0.25), 4).ravel().tolist()
[0.25, 0.25, 0.25, 0.25]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1

_BLOCK = 1 << 15  # elements per block: 256 KiB of float64, which fits in the L2 cache


def bicubic(
    image: NDArray[np.floating[Any]], scale: float | None = None, *, out_shape: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Resize down by `scale` (4 gives a quarter of the height and width), or to `out_shape` = (height, width).

    `image`: float32 or float64, (H, W, C) or (H, W), any range. Returns the same dtype and number of axes, and
    ceil(H / scale) x ceil(W / scale) pixels; not clipped: bicubic overshoots at edges.
    Raises TypeError for integers, ValueError for invalid sizes.
    """
    if image.dtype not in (np.float32, np.float64):
        raise TypeError(f"bicubic() expects float32 or float64, got {image.dtype}; divide 8-bit values by 255 first")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"bicubic() expects a non-empty image (H, W) or (H, W, C), got shape {image.shape}")
    height, width = image.shape[:2]
    if out_shape is not None and scale is None:
        rows, columns = out_shape
        factors = (height / rows, width / columns) if rows > 0 and columns > 0 else (0.0, 0.0)
    elif scale is not None and out_shape is None and scale > 0:
        rows, columns = math.ceil(height / scale), math.ceil(width / scale)
        factors = (float(scale), float(scale))
    else:
        raise ValueError(f"bicubic() expects either scale > 0 or out_shape, got scale={scale} and out_shape={out_shape}")
    if rows < 1 or columns < 1:
        raise ValueError(f"bicubic() cannot make an image of {rows} x {columns} pixels")

    result = _resize(image.reshape(height, width, -1), (rows, columns), factors).astype(image.dtype, order="C")
    return result if image.ndim == 3 else result[:, :, 0]


def downscale(image: NDArray[np.floating[Any]], scale: int) -> NDArray[np.uint8]:
    """The low-resolution image of the literature, as made by MATLAB's imresize from a uint8 image.

    `image`: float (H, W, C) in 0..1; H and W must be multiples of `scale` (see `modcrop`). Returns uint8 (H / scale, W
    / scale, C), rounded half up; at scale 1 the image, rounded. Raises ValueError for other sizes. An image that was
    blurred, or has 16 bits, is not rounded first.
    """
    height, width = image.shape[:2]
    if scale < 1 or height % scale or width % scale or 0 in image.shape:
        raise ValueError(f"downscale() by {scale} expects multiples of it, got {height} x {width}; call modcrop() first")
    # Multiplied in its own dtype, which restores the integers of an 8-bit file exactly. It matters: the weights of
    # scales 2 and 4 are binary fractions, so exact halves are common, and 1e-6 would round them the wrong way.
    grey = image * np.asarray(255, dtype=image.dtype)
    if scale > 1:
        grey = _resize(grey, (height // scale, width // scale), (float(scale), float(scale)), between=_round8)
    return _round8(grey).astype(np.uint8)


def bicubic_up(image: NDArray[np.floating[Any]], scale: int) -> NDArray[Any]:
    """Upscale by the integer `scale`: the usual baseline. `image` as for `bicubic`.

    Returns (scale H, scale W, C), not clipped.
    """
    return bicubic(image, out_shape=(image.shape[0] * scale, image.shape[1] * scale))


def modcrop(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """The top left part of `image` (H, W, ...) whose height and width are multiples of `scale`: a view."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def _round8(grey: NDArray[Any]) -> NDArray[Any]:
    """Grey levels 0..255, rounded half up, in their original dtype."""
    return np.floor(np.clip(grey, 0.0, 255.0) + np.asarray(0.5, dtype=grey.dtype))


def _resize(
    image: NDArray[Any],
    shape: tuple[int, int],
    factors: tuple[float, float],
    *,
    between: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """(H, W, C) -> (rows, columns, C), a view with swapped strides. `between` is applied to the result of the first pass."""
    height, width, channels = image.shape
    rows, columns = shape
    work = _resize_rows(image.astype(np.float64).reshape(height, width * channels), rows, factors[0])
    if between is not None:
        work = between(work)
    # The same kernel does the columns: (rows, W, C) -> (W, rows * C), where each tap is again a long contiguous row.
    work = np.ascontiguousarray(work.reshape(rows, width, channels).swapaxes(0, 1)).reshape(width, rows * channels)
    work = _resize_rows(work, columns, factors[1])
    return work.reshape(columns, rows, channels).swapaxes(0, 1)


def _resize_rows(image: NDArray[np.float64], size: int, factor: float) -> NDArray[np.float64]:
    """(n, M) -> (size, M): resize the first axis. Rows are gathered tap by tap, so each weight is used once per row."""
    taps, weights = _taps(image.shape[0], size, factor)
    length = image.shape[1]
    result = np.empty((size, length))
    block = max(1, _BLOCK // length)
    gathered = np.empty((min(block, size), length))
    for start in range(0, size, block):
        part = slice(start, min(start + block, size))
        total, term = result[part], gathered[: part.stop - part.start]
        for tap, (index, weight) in enumerate(zip(taps[:, part], weights[:, part, None], strict=True)):
            # mode="clip" only saves numpy a buffer: the indices are valid by construction.
            np.take(image, index, axis=0, out=term, mode="clip")
            if tap == 0:
                np.multiply(term, weight, out=total)
            else:
                np.multiply(term, weight, out=term)
                np.add(total, term, out=total)
    return result


@lru_cache(maxsize=256)
def _taps(n: int, size: int, factor: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Input rows and weights of each output row: two arrays (taps, size)."""
    stretch = max(factor, 1.0)  # antialiasing only when downscaling
    centre = (np.arange(size) + 0.5) * factor - 0.5
    first = np.floor(centre - 2.0 * stretch)
    position = first + np.arange(math.ceil(4.0 * stretch) + 2)[:, None]
    weights = _keys((centre - position) / stretch)
    used = np.any(weights != 0.0, axis=1)
    position, weights = position[used], weights[used]
    weights = weights / weights.sum(axis=0)
    mirrored = position.astype(np.intp) % (2 * n)
    mirrored = np.where(mirrored < n, mirrored, 2 * n - 1 - mirrored)
    mirrored.setflags(write=False)
    weights.setflags(write=False)
    return mirrored, weights


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5 (his eq. 15); zero from a distance of 2 on."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))
