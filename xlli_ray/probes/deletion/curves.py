"""Deletion and insertion curves of one window: what becomes of it when pixels go, or come, in the order of a map.

After V. Petsiuk et al., "RISE", BMVC 2018, for a window of an image instead of a class score. Deletion replaces the first f of all pixels
by the baseline (the blurred image, as in LAM), insertion restores them in the baseline from the image; at f = 1 the one is the baseline
and the other the image. What is measured is

    distance(f) = RMS over the window and its channels of output(f) − output(image), in grey levels of 255

so deletion rises from 0 and insertion falls to 0. The area under a curve (trapezoid over the fractions themselves) is divided by the
distance at the baseline: 0..1 for a curve between its ends. For deletion more is better, for insertion less: the pixels that come first
are those that matter. Alone these numbers say little, since any order near the window scores; what counts is the difference from the
controls on the same window, above all from *nearest first*, which knows nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.window import Window

FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.10, 0.20, 0.35, 0.50, 0.75, 1.0)
"""Shares of the pixels that have gone or come."""


@dataclass(frozen=True)
class Curves:
    """Curves of several orders on one window: (orders, fractions) each, grey levels."""

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Distance at the baseline: 0 if the window does not change, and then nothing can be told."""
        return float(self.deletion[0, -1])


def curves(
    model: Model, image: Tensor, baseline: Tensor, window: Window, orders: Sequence[NDArray[np.int64]], *, frame: int | None = None,
    rows: int = 4,
) -> Curves:  # fmt: skip
    """Deletion and insertion in each of the `orders`.

    `image`, `baseline`: (C, H, W), of a clip (T, C, H, W), in 0..1. `orders`: permutations of all pixels ([T ·] H · W,), first the one that
    goes or comes first (`ranking`). `frame`: of a clip's output, that of the window. `rows`: inputs of one forward pass; results depend on
    it in the last digits. Raises NetworkError for an output that is not finite.
    """
    (height, width), pixels = image.shape[-2:], image[..., 0, :, :].numel()
    if problem := window.problem(model.scale * height, model.scale * width):
        raise NetworkError(problem)
    counts = [round(fraction * pixels) for fraction in FRACTIONS]
    inner = counts[1:-1]
    ends = _outputs(model, torch.stack([image, baseline]), window, frame)
    whole, bare = ends[0], ends[1]
    far = float(_distances(bare[None], whole)[0])
    found = np.zeros((2, len(orders), len(FRACTIONS)))
    found[0, :, -1] = found[1, :, 0] = far
    chosen: list[Tensor] = []
    for order in orders:
        place = np.empty(pixels, np.int64)
        place[order] = np.arange(pixels)
        shaped = torch.from_numpy(place).reshape(*image.shape[:-3], 1, height, width).to(image.device)
        chosen += [shaped < count for count in inner]
    values = np.zeros((2, len(chosen)))
    for way, (first, second) in enumerate(((baseline, image), (image, baseline))):
        for start in range(0, len(chosen), rows):
            some = chosen[start : start + rows]
            given = torch.stack([torch.where(mask, first, second) for mask in some])
            values[way, start : start + len(some)] = _distances(_outputs(model, given, window, frame), whole)
    found[:, :, 1:-1] = values.reshape(2, len(orders), len(inner))
    return Curves(found[0], found[1])


def area(values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Area under curves (…, fractions) by the trapezoid, divided by `scale`: (…,); NaN for a scale of 0."""
    if not scale > 0:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(np.trapezoid(values, FRACTIONS, axis=-1) / scale)


def ranking(scores: NDArray[np.floating], ties: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pixels by falling score, equal ones by `ties`: a permutation of all, for `curves`. Both of one shape, ([T,] H, W).

    Maps are exactly 0 outside of a network's reach: in the order of rows, these pixels would favour the top of the image.
    """
    return np.lexsort((ties.ravel(), -np.asarray(scores, np.float64).ravel()))


def nearness(window: Window, scale: int, shape: tuple[int, ...], frame: int | None = None) -> NDArray[np.float64]:
    """Minus the distance of each pixel's centre from the window, in input pixels: the order *nearest first*. `shape`: ([T,] H, W). A frame
    away counts as much as a pixel away."""
    def away(start: int, count: int) -> NDArray[np.float64]:
        low, high = start / scale - 0.5, (start + window.size) / scale - 0.5
        at = np.arange(count, dtype=np.float64)
        return np.maximum(0.0, np.maximum(low - at, at - high))

    squares = np.square(away(window.top, shape[-2]))[:, None] + np.square(away(window.left, shape[-1]))[None, :]
    if len(shape) == 3:
        squares = squares + np.square(np.arange(shape[0]) - (shape[0] // 2 if frame is None else frame))[:, None, None]
    return -np.sqrt(np.broadcast_to(squares, shape))


def _outputs(model: Model, x: Tensor, window: Window, frame: int | None) -> Tensor:
    """The window of each input's output, (rows, C, n, n), in grey levels."""
    with torch.no_grad():
        if frame is None:
            output = model.forward(x)
        else:
            with one_frame(frame):
                output = model.forward(x)
            output = output[:, frame] if output.ndim == 5 else output
    shown = window.cut(output).double() * 255
    if not torch.isfinite(shown).all():
        raise NetworkError("not finite: NaN or infinity in the network's output, so there is no change to measure")
    return shown


def _distances(some: Tensor, other: Tensor) -> NDArray[np.float64]:
    """RMS of each of `some`, (n, C, h, w), from `other`: (n,)."""
    return np.asarray((some - other).square().flatten(1).mean(1).sqrt().cpu().numpy())
