"""LAM over clips: one map with a frame axis, for a window of one frame of the output (`docs/video.md`).

The path is that of all frames jointly (`clip_path`), the score that of one output frame, and the map is |Σ_c A| over all input frames, with
one peak for all, so that frames can be compared: which frames are used (`frame_share`, `effective_frames`), where in each (`centroid`), and
with known motion, whether that is where the object was (`trajectory`, and the columns of FLOW_COLUMNS). The numerics are in
`stats.temporal_attribution` and `stats.trajectory`. Flow comes from another stage; it is never the network's own.

For supporting frames the attribution includes what they contribute through the network's own motion estimation: gradients pass through
its flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import NetworkError, PlanError, counted
from xlli_ray.probes.lam.diffusion_index import diffusion_index
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Shapes
from xlli_ray.stats.temporal_attribution import centroids, effective_frames, frame_shares
from xlli_ray.stats.trajectory import motion_followed, near, tracking_drift, tracking_error, trajectory

if TYPE_CHECKING:
    from xlli_ray.models.model import Model
    from xlli_ray.probes.lam.attribution import WindowResult
    from xlli_ray.probes.lam.window import Window

NEAR = 8.0
"""Radius of `near_trajectory`, input pixels."""

COLUMNS = (
    Column("frame", "int64", "frame of the output in which the window is, from 0", place=True, clips=True),
    Column("centre_share", "float64", "share of the attribution on that frame of the input", limits=(0.0, 1.0), clips=True),
    Column("effective_frames", "float64", "exp(entropy of the frames' shares): 1, all on one frame, to T, the same on all",
           limits=(1.0, None), unit="frames", clips=True),
)  # fmt: skip
"""Of clips."""
FLOW_COLUMNS = (
    Column("tracking_error", "float64", "mean distance of a frame's centroid from the window's trajectory, over the other frames in which "
           "that is inside the image; NaN without any", limits=(0.0, None), unit="input pixels", better="lower", clips=True),
    Column("tracking_drift", "float64", "the same from the explained frame's centroid instead of the window's middle: without the offset "
           "that the window's content has in every frame", limits=(0.0, None), unit="input pixels", better="lower", clips=True),
    Column("motion_followed", "float64", "share of the motion that the centroids follow: 1, with the object; 0, they stay; NaN below a "
           "motion of 1 pixel", clips=True),
    Column("near_trajectory", "float64", f"share of the other frames' attribution within {NEAR:g} input pixels of the trajectory",
           limits=(0.0, 1.0), clips=True, detail=True),
)  # fmt: skip
"""With a flow stage."""


def check_clips(frame: int | str, flow: str | None, model: Model) -> None:
    """Raise PlanError for a `frame` or `flow` stage that a recipe names for images."""
    if "frame" not in model.AXES and (frame != "centre" or flow):
        name = "flow" if flow else "frame"
        raise PlanError(f"lam.{name}: images have no other frames; it is for clips (`corpus.clips`). Leave it out.")


def check_frame(frame: int, shapes: Shapes) -> None:
    """Raise PlanError for a frame that clips of these shapes do not have, or that the network does not give."""
    if frame >= shapes.frames:
        raise PlanError(f"lam.frame: {frame} of clips of {counted(shapes.frames, 'frame')}; expected centre, or 0 to {shapes.frames - 1}")
    if shapes.output is not None and len(shapes.output) == 3 and frame != shapes.frames // 2:
        raise PlanError(f"lam.frame: {frame}, but the network returns the centre frame only ({shapes.frames // 2}); use frame: centre")


def given_frame(output: NDArray[Any], frame: int, frames: int, model: str) -> NDArray[Any]:
    """One frame of another network's output, (T, C, sH, sW) or its centre frame (C, sH, sW). Raises NetworkError if it is not there."""
    if output.ndim == 4:
        return output[frame]
    if frame != frames // 2:
        raise NetworkError(f"windows: hardest: model {model} returns the centre frame only, and the windows are in frame {frame}")
    return output


def clip_plans(windows: int, frames: int, *, flow: bool) -> tuple[ArrayPlan, ...]:
    """The small arrays beside the maps of a clip."""
    per_frame, places = ("window", "frame"), ("window", "frame", "coordinate")
    about = {"about": "y, x in input pixels; a pixel's centre is an integer"}
    plans = (
        ArrayPlan("frame_share", (windows, frames), "float32", per_frame, attributes={"about": "share of Σ|A|, sums to 1"}, gaps=True),
        ArrayPlan("frame_di", (windows, frames), "float32", per_frame, attributes={"about": "DI of each frame's map"}, gaps=True),
        ArrayPlan("centroid", (windows, frames, 2), "float32", places, attributes=about, gaps=True),
    )
    way = ArrayPlan("trajectory", (windows, frames, 2), "float32", places, attributes=about, gaps=True)
    return (*plans, way) if flow else plans


def flows_of(batch: Batch, stage: str, i: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Flow from each frame of sample `i` to the next one, and back, (T − 1, 2, h, w) each, as the flow stage measured it."""
    arrays = batch.measured[stage].arrays if stage in batch.measured else {}
    if "next" not in arrays or "previous" not in arrays:
        raise NetworkError(f"lam.flow: the stage {stage} has no arrays `next` and `previous`; name a stage of kind `flow`")
    return arrays["next"][i], arrays["previous"][i]


def centre_of(window: Window, scale: int) -> tuple[float, float]:
    """The middle of a window of the output, as a position (y, x) in the input."""
    y, x = ((edge + window.size / 2) / scale - 0.5 for edge in (window.top, window.left))
    return y, x


def clip_numbers(
    result: WindowResult, values: NDArray[np.float32], frame: int, scale: int, flows: tuple[NDArray[Any], NDArray[Any]] | None
) -> tuple[dict[str, Any], Mapping[str, NDArray[np.float64]]]:
    """(columns, small arrays) of one map of a clip; `values`: the map, (T, H, W)."""
    maps = values.astype(np.float64)
    shares, places = frame_shares(maps), centroids(maps)
    columns: dict[str, Any] = {
        "frame": frame, "centre_share": float(shares[frame]), "effective_frames": effective_frames(shares)
    }  # fmt: skip
    arrays = {"frame_share": shares, "frame_di": np.array([diffusion_index(one) for one in maps]), "centroid": places}
    if flows is not None:
        height, width = maps.shape[1:]
        path = trajectory(centre_of(result.window, scale), frame, *flows)
        arrays["trajectory"] = path
        columns["tracking_error"] = tracking_error(places, path, frame, height, width)
        columns["tracking_drift"] = tracking_drift(places, path, frame, height, width)
        columns["motion_followed"] = motion_followed(places, path, frame, height, width)
        columns["near_trajectory"] = near(maps, path, frame, NEAR)
    return columns, arrays
