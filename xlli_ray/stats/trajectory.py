"""Trajectories: where a point of one frame lies in the others, and whether attribution follows it.

Flow F(t → t+1) says for each pixel of frame t where its content is in frame t+1. A point is followed frame by frame,

    p(t+1) = p(t) + F(t → t+1)(p(t)),        bilinear between pixels

which is the usual composition of flows, f(t → t+2) = f(t → t+1) + warp(f(t+1 → t+2), f(t → t+1)), read at one point. Backwards the same
with F(t+1 → t). Small errors of the flow add up with the distance in frames. After an occlusion the trajectory is that of whatever covered
the point.

A network that uses what moved there must have its attribution on the trajectory. `tracking_error` is the distance of the two, for one
place of attribution per frame (`stats.temporal_attribution`), `near` the share of the attribution that lies around it. Neither is 0 for a
perfect network: what a network looks at for a window is rarely in the window's very middle, in no frame. `tracking_drift` and
`motion_followed` take this out by comparing displacements from the frame itself: how far they differ; and 1 if the attribution moves as the
object does, 0 if it stays where it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def trajectory(point: tuple[float, float], frame: int, after: Array, before: Array) -> NDArray[np.float64]:
    """Positions (T, 2), y and x in pixels (a pixel's centre is an integer), of what lies at `point` in `frame`.

    `after`: flow (T − 1, 2, h, w), x first, in pixels, from frame t to t + 1; `before`: from t + 1 to t. NaN from where the flow is not
    known on. Outside the image the flow at its border is used.
    """
    frames = len(after) + 1
    if len(before) != len(after) or not 0 <= frame < frames:
        raise ValueError(f"frame {frame} of {frames}, with {len(before)} flows backwards")
    out = np.full((frames, 2), np.nan)
    out[frame] = point
    for k in range(frame, frames - 1):
        out[k + 1] = out[k] + flow_at(after[k], out[k])
    for k in range(frame, 0, -1):
        out[k - 1] = out[k] + flow_at(before[k - 1], out[k])
    return out


def flow_at(flow: Array, point: Array) -> NDArray[np.float64]:
    """(dy, dx) of a flow (2, h, w), x first, at a position (y, x): bilinear, at the border outside. NaN for a position or flow of NaN."""
    if not np.isfinite(point).all():
        return np.full(2, np.nan)
    height, width = flow.shape[1:]
    y, x = (float(np.clip(value, 0, size - 1)) for value, size in zip(point, (height, width)))
    top, left = min(int(y), max(0, height - 2)), min(int(x), max(0, width - 2))
    down, across = y - top, x - left
    corners = flow[:, top : top + 2, left : left + 2].astype(np.float64)
    weights = np.outer([1 - down, down], [1 - across, across])[: corners.shape[1], : corners.shape[2]]
    used = weights > 0  # an unknown neighbour with no weight does not matter
    return np.asarray([(corners[component][used] * weights[used]).sum() for component in (1, 0)])


def inside(positions: Array, height: int, width: int) -> NDArray[np.bool_]:
    """Which positions (…, 2) lie in an image of this size; False for NaN."""
    y, x = positions[..., 0], positions[..., 1]
    return np.asarray((y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5))


def tracking_errors(places: Array, path: Array, height: int, width: int) -> NDArray[np.float64]:
    """|place − trajectory| in pixels, frame by frame: both (T, 2) → (T,). NaN where the trajectory is outside the image or unknown."""
    return np.where(inside(path, height, width), np.linalg.norm(places - path, axis=-1), np.nan)


def tracking_error(places: Array, path: Array, frame: int, height: int, width: int) -> float:
    """Mean of `tracking_errors` over the frames other than `frame` whose trajectory is inside the image; NaN if there are none."""
    errors = np.delete(tracking_errors(places, path, height, width), frame)
    known = errors[np.isfinite(errors)]
    return float(known.mean()) if len(known) else float("nan")


def tracking_drift(places: Array, path: Array, frame: int, height: int, width: int) -> float:
    """As `tracking_error`, from the place in `frame` instead of the trajectory's: mean |(c_k − c_t) − (p_k − p_t)|, pixels."""
    return tracking_error(places - (places[frame] - path[frame]), path, frame, height, width)


def motion_followed(places: Array, path: Array, frame: int, height: int, width: int, least: float = 1.0) -> float:
    """Share of the motion that the attribution follows: Σ_k (c_k − c_t)·(p_k − p_t) / Σ_k |p_k − p_t|², over frames as in `tracking_error`.

    `places` c and `path` p: (T, 2). NaN if the object moves less than `least` pixels (root mean square): then following is not staying.
    """
    use = inside(path, height, width) & np.isfinite(places).all(axis=-1)
    use[frame] = False
    moved, seen = (path - path[frame])[use], (places - places[frame])[use]
    squares = float((moved**2).sum())
    if not len(moved) or not np.isfinite(places[frame]).all() or squares < least**2 * len(moved):
        return float("nan")
    return float((moved * seen).sum()) / squares


def near(maps: Array, path: Array, frame: int, radius: float) -> float:
    """Share of the attribution of the other frames that lies within `radius` pixels of the trajectory: maps (T, H, W), not negative.

    Frames whose trajectory is outside the image or unknown are left out; NaN if no attribution is left.
    """
    height, width = maps.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    there = inside(path, height, width)
    close = total = 0.0
    for k, position in enumerate(path):
        if k != frame and there[k]:
            within = (rows - position[0]) ** 2 + (columns - position[1]) ** 2 <= radius**2
            close += float(maps[k][within].sum(dtype=np.float64))
            total += float(maps[k].sum(dtype=np.float64))
    return close / total if total > 0 else float("nan")
