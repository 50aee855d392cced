"""Which windows of an output are explained: listed explicitly, or chosen by a rule that is the same for every model.

`texture`: candidates are the squares of a grid of stride `size` from (0, 0) that fit with a margin of one pixel; the score is the sum of
sqrt(dv² + dh²) over the luma of the target (of the bicubically upscaled input if there is none), forward differences as in the
paper's objective; the highest first, ties by (top, left). `grid`: all candidates. `hardest`: candidates by the squared error of one named
model, summed over channels.

Rules depend on the image and never on the explained model, so that models are compared on the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.resize import bicubic
from xlli_ray.probes.lam.window import Window

LUMA = np.array([0.299, 0.587, 0.114])


def candidates(height: int, width: int, size: int) -> list[Window]:
    """The grid's squares in an output of (height, width), row by row."""
    return [
        Window(top, left, size)
        for top in range(0, height - size, size)
        for left in range(0, width - size, size)
        if top + size < height and left + size < width
    ]


def luma(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """(C, H, W), C 3 or 1 → (H, W): BT.601, full range."""
    planes = np.asarray(image, np.float64)
    return planes[0] if len(planes) == 1 else np.tensordot(LUMA, planes, axes=1)


def enlarged(image: NDArray[np.floating], scale: int) -> NDArray[np.float64]:
    """(C, H, W) → (C, sH, sW), bicubic."""
    height, width = (scale * n for n in image.shape[1:])
    return np.moveaxis(bicubic(np.moveaxis(np.asarray(image, np.float64), 0, 2), out_shape=(height, width)), 2, 0)


def texture(image: NDArray[np.floating], size: int, count: int) -> list[Window]:
    """The `count` most detailed windows of (C, H, W), fewer if the image has fewer candidates."""
    y = luma(image)
    down, across = np.square(y[:-1] - y[1:])[:, :-1], np.square(y[:, :-1] - y[:, 1:])[:-1]
    return best(np.sqrt(down + across), size, count, image.shape[1:])


def hardest(output: NDArray[np.floating], target: NDArray[np.floating], size: int, count: int) -> list[Window]:
    """The `count` windows where (C, H, W) `output` differs most from `target`, by squared error."""
    error = np.square(np.asarray(output, np.float64) - np.asarray(target, np.float64)).sum(0)
    return best(error, size, count, output.shape[1:])


def best(scores: NDArray[np.float64], size: int, count: int, shape: Sequence[int]) -> list[Window]:
    """The `count` candidates with the largest sum of `scores`; ties by (top, left)."""
    places = candidates(shape[0], shape[1], size)
    sums = {w: float(scores[w.top : w.top + size, w.left : w.left + size].sum()) for w in places}
    return sorted(places, key=lambda w: (-sums[w], w.top, w.left))[:count]
