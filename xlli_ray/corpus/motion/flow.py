"""The true optical flow of a clip with known motion, and its true occlusions, at the resolution of the input.

F(y, x) = (x, y) displacement in input pixels: content at (y, x) of frame t is at (y + F_y, x + F_x) of the other frame, so that
warping the other frame backwards by F aligns it with frame t. An input pixel has the motion of what lies at its centre, which is at
s i + (s - 1) / 2 of the target: of the frontmost layer there, else of the background. At a layer's edge an input pixel mixes both.

Occluded is what another layer covers in the other frame. What leaves the frame is not: that can be read off the flow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.motion.moves import Motion

EXTRAS = {"flow_next": 1, "flow_previous": -1, "occluded_next": 1, "occluded_previous": -1}
"""By-products of a clip, and the step in time to the other frame."""


def by_products(motion: Motion) -> dict[str, NDArray[Any]]:
    """`flow_next`, `flow_previous`: float32 (T, h, w, 2), NaN where there is no such frame; `occluded_next`, `occluded_previous`: bool
    (T, h, w), false there."""
    return {name: (flow if name.startswith("flow") else occluded)(motion, step) for name, step in EXTRAS.items()}


def flow(motion: Motion, step: int) -> NDArray[np.float32]:
    """float32 (T, h, w, 2), components x and y: from each frame to the one `step` frames later (earlier if negative)."""
    y, x = _centres(motion)
    out = np.full((motion.frames, *y.shape, 2), np.nan, dtype=np.float32)
    for number, moment in enumerate(motion.moments):
        if moment + step in motion.moments:
            rows, columns = _moved(motion, moment, moment + step, y, x)
            out[number, ..., 0] = (columns - x) / motion.scale
            out[number, ..., 1] = (rows - y) / motion.scale
    return out


def occluded(motion: Motion, step: int) -> NDArray[np.bool_]:
    """bool (T, h, w): what a layer in front of it covers in the frame `step` frames later."""
    y, x = _centres(motion)
    out = np.zeros((motion.frames, *y.shape), dtype=bool)
    for number, moment in enumerate(motion.moments):
        if not motion.layers or moment + step not in motion.moments:
            continue
        rows, columns = _moved(motion, moment, moment + step, y, x)
        own = _layer_at(motion, moment, y, x)
        for index, layer in enumerate(motion.layers):
            hidden = layer.covers(rows, columns, motion.shift(moment + step, layer.velocity))
            out[number] |= hidden & (own < index)
        height, width = motion.size
        out[number] &= (rows >= -0.5) & (rows <= height - 0.5) & (columns >= -0.5) & (columns <= width - 0.5)
    return out


def _moved(
    motion: Motion, moment: int, other: int, y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where what is at (y, x) at a moment is at another one; target pixels."""
    rows, columns = motion.shown(other, *motion.seen(moment, y, x))
    own = _layer_at(motion, moment, y, x)
    for index, layer in enumerate(motion.layers):
        down, across = motion.shift(other - moment, layer.velocity)
        rows, columns = np.where(own == index, y + down, rows), np.where(own == index, x + across, columns)
    return rows, columns


def _layer_at(motion: Motion, moment: int, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the frontmost layer at each point, -1 for the background."""
    own = np.full(y.shape, -1)
    for index, layer in enumerate(motion.layers):
        own[layer.covers(y, x, motion.shift(moment, layer.velocity))] = index
    return own


def _centres(motion: Motion) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(y, x) of the centres of input pixels, in target pixels of the frame; float64 (h, w) each."""
    scale, (height, width) = motion.scale, motion.size
    y, x = np.mgrid[: height // scale, : width // scale].astype(np.float64)
    return scale * y + (scale - 1) / 2, scale * x + (scale - 1) / 2
