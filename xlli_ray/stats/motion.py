"""Motion fields: sampling along a flow, composition, the forward–backward check, occlusion, and the bins of motion.

A flow F(current → support) is float32 (2, H, W), channel 0 = x (to the right), 1 = y (down), in pixels of the frames between which it
points: the point that is at p in the current frame is at p + F(p) in the support. N. Sundaram, T. Brox, K. Keutzer, "Dense point
trajectories by GPU-accelerated large displacement optical flow", ECCV 2010, eqs. 5, 6: where the flow back from there does not return to p,

    |F(p) + F′(p + F(p))|² > 0.01 (|F(p)|² + |F′(p + F(p))|²) + 0.5

with F′ the flow support → current, the point is occluded, or the flow wrong. A point that leaves the frame by more than half a pixel has
no counterpart, either, and counts as occluded. Values between pixels are bilinear, beyond the edge those of the edge.

>>> import numpy as np
>>> pan = np.zeros((2, 4, 6), np.float32); pan[0] = 2.0            # everything moves to the right
>>> float(forward_backward_error(pan, -pan).max())
0.0
>>> occluded(pan, -pan)[0].tolist()                             # the last two columns leave the frame
[False, False, False, False, True, True]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.floating]
"""(2, H, W): x, y."""

EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
"""Lower ends of the bins of motion, in pixels; the last bin is open. A value at an edge is in the bin that begins there."""


def magnitude(flow: Flow) -> NDArray[np.float32]:
    """|F|: (…, 2, H, W) → float32 (…, H, W)."""
    x, y = flow[..., 0, :, :].astype(np.float32, copy=False), flow[..., 1, :, :].astype(np.float32, copy=False)
    return np.sqrt(x * x + y * y)


def bins(motion: NDArray[np.floating]) -> NDArray[np.intp]:
    """Index of the bin of each value, 0 … 10; values are 0 or more."""
    return np.searchsorted(np.array(EDGES, motion.dtype), motion, side="right") - 1


def targets(flow: Flow) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x and y of p + F(p): float32 (H, W) each."""
    height, width = flow.shape[-2:]
    return np.arange(width, dtype=np.float32) + flow[0], np.arange(height, dtype=np.float32)[:, None] + flow[1]


def inside(flow: Flow) -> NDArray[np.bool_]:
    """Where p + F(p) is in the frame: bool (H, W). A frame reaches half a pixel beyond the centres of its outermost pixels."""
    return _in_frame(*targets(flow))


def _in_frame(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = x.shape
    found: NDArray[np.bool_] = x >= -0.5
    for bound in (x <= width - 0.5, y >= -0.5, y <= height - 0.5):
        found &= bound
    return found


def along(field: Flow, flow: Flow) -> NDArray[np.float32]:
    """A second flow where the first one points: field(p + F(p)), float32 (2, H, W), bilinear, the edge's values beyond it.

    `field`, `flow`: (2, H, W) of one size. Where `flow` is not finite, so is the result.
    """
    return _sampled(field, *targets(flow))


def _sampled(field: Flow, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """`field` at x, y, which are overwritten."""
    height, width = field.shape[-2:]
    down = width + 1
    corner = _corner(y, height)
    corner *= down
    corner += _corner(x, width)
    at = corner.astype(np.intp)
    padded = np.empty((height + 1, down), np.complex64)  # both components at once: half of the gathers
    padded[:-1, :-1].real, padded[:-1, :-1].imag = field[0], field[1]
    padded[-1], padded[:, -1] = padded[-2], padded[:, -2]
    values = padded.reshape(-1)

    def row(at: NDArray[np.intp]) -> NDArray[np.complex64]:
        here, beside = values.take(at, mode="clip"), values[1:].take(at, mode="clip")
        beside -= here
        beside *= x
        here += beside
        return here

    upper = row(at)
    at += down
    lower = row(at)
    lower -= upper
    lower *= y
    upper += lower
    out = np.empty(field.shape, np.float32)
    out[0], out[1] = upper.real, upper.imag
    return out


def _corner(position: NDArray[np.float32], size: int) -> NDArray[np.int32]:
    """Index of the pixel below each position on an axis of `size` pixels. `position` becomes relative to it, 0 … 1; NaN stays NaN."""
    np.clip(position, 0, size - 1, out=position)
    below = np.floor(position)
    position -= below
    with np.errstate(invalid="ignore"):  # NaN has no index: whatever is taken there is multiplied by it
        return below.astype(np.int32)


def composed(first: Flow, second: Flow) -> NDArray[np.float32]:
    """F(a → c) = F(a → b) + F(b → c)(p + F(a → b)): float32 (2, H, W), from `first` = F(a → b) and `second` = F(b → c)."""
    return first.astype(np.float32, copy=False) + along(second, first)


def forward_backward_error(flow: Flow, back: Flow) -> NDArray[np.float32]:
    """|F(p) + F′(p + F(p))|: float32 (H, W), in pixels. `back`: F′, from the support to the current frame."""
    return magnitude(composed(flow, back))


def occluded(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    """Where a point of the current frame is hidden in the support, or leaves the frame (see the module): bool (H, W)."""
    return checked(flow, back)[1]


def checked(flow: Flow, back: Flow) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`forward_backward_error` and `occluded`, in one pass."""
    return followed(flow, back)[:2]


def followed(flow: Flow, back: Flow) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """`forward_backward_error`, `occluded` and `inside`, in one pass."""
    flow = flow.astype(np.float32, copy=False)
    x, y = targets(flow)
    stays = _in_frame(x, y)
    there = _sampled(back, x, y)
    squares = np.square(flow)
    size = squares[0]
    size += squares[1]
    total = flow + there
    np.square(total, out=total)
    error = total[0]
    error += total[1]
    np.square(there, out=there)
    size += there[0]
    size += there[1]
    size *= 0.01
    size += 0.5
    hidden = error <= size
    hidden &= stays
    np.logical_not(hidden, out=hidden)  # NaN: nothing there
    return np.sqrt(error, out=error), hidden, stays


def between(following: Flow, preceding: Flow, current: int, support: int) -> NDArray[np.float32]:
    """F(current → support) for two frames of a clip, composed of the flows between neighbours: float32 (2, H, W).

    `following`: (T − 1, 2, H, W), frame t → t + 1. `preceding`: the same, frame t + 1 → t.
    """
    if current == support:
        return np.zeros(following.shape[1:], np.float32)
    steps = following[current:support] if support > current else preceding[support:current][::-1]
    total = steps[0].astype(np.float32)
    for step in steps[1:]:
        total = composed(total, step.astype(np.float32))
    return total
