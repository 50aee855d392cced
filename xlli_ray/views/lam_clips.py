"""How a map of a clip is shown: its frames side by side, each with what lies on it; and the same as a short animation.

Reds are shares of the peak of the whole map, so that frames can be compared. A square marks where the window's content is in that frame, by
the flow (in its own frame: the window itself); a small dot the centroid of the frame's attribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError
from xlli_ray.plots.image_panels import Frame, ImagePanel, ImagePanels, Layer, PanelRow
from xlli_ray.plots.palette import BLUE
from xlli_ray.plots.panel_values import layer_of
from xlli_ray.plots.pixels import LUMA
from xlli_ray.views.lam import FAINT, SHARE, Map, Place

SIDE = 160
"""Pixels of a frame in a row."""
SHOWN = 7
"""Frames of a longer clip that are shown."""
CENTROID = "#E69F00"


def shown_frames(frames: int, current: int, most: int = SHOWN) -> list[int]:
    """The frames to show: all, or `most` evenly spaced ones with the explained frame among them."""
    if frames <= most:
        return list(range(frames))
    step = -(-frames // most)
    return list(range(current % step, frames, step))[:most]


def frame_name(frame: int, current: int) -> str:
    """`t − 2`, `t`, `t + 1`."""
    away = frame - current
    return "t" if not away else f"t {'+' if away > 0 else '−'} {abs(away)}"


@dataclass(frozen=True)
class ClipPlace:
    """A window of one frame of the output, with what was measured of its map, frame by frame."""

    window: Place
    current: int
    shares: NDArray[np.floating]
    """(T,)"""
    centroids: NDArray[np.floating]
    """(T, 2): y, x in input pixels; NaN for a frame without attribution."""
    path: NDArray[np.floating] | None = None
    """(T, 2): the window's trajectory; None without flow."""

    def panel(self, frame: int, layers: tuple[Layer, ...], *, side: int) -> ImagePanel:
        """One frame: its layers, the window or where its content is, the centroid."""
        away = ""
        if self.path is not None and frame != self.current:
            error = float(np.linalg.norm(self.centroids[frame] - self.path[frame]))
            away = f", {error:.1f} px off" if np.isfinite(error) else ""
        name = frame_name(frame, self.current)
        share = f"{100 * float(self.shares[frame]):.0f} %{away}" if np.isfinite(self.shares[frame]) else ""
        whole = self.window.whole
        return ImagePanel(name, layers, share, whole, self._marks(frame), side, enlarged=True, overview=True)

    def _marks(self, frame: int) -> tuple[Frame, ...]:
        marks = []
        own, size = self.window.frame(BLUE), self.window.size / self.window.scale
        if frame == self.current:
            marks.append(own)
        elif self.path is not None and np.isfinite(self.path[frame]).all():
            y, x = (float(value) + 0.5 for value in self.path[frame])
            marks.append(Frame(y - size / 2, x - size / 2, size, size, BLUE))
        if np.isfinite(self.centroids[frame]).all():
            y, x = (float(value) + 0.5 for value in self.centroids[frame])
            marks.append(Frame(y - 0.5, x - 0.5, 1, 1, CENTROID))
        return tuple(marks)


def clip_panels(place: ClipPlace, layers: Sequence[tuple[Layer, ...]], *, side: int) -> tuple[ImagePanel, ...]:
    """One row: the shown frames; `layers`: of every frame of the clip."""
    return tuple(place.panel(frame, layers[frame], side=side) for frame in shown_frames(len(layers), place.current))


class ClipMap(Map, Protocol):
    """What is shown of one network over a clip: `api.ClipLamResult`. `input` is (T, 3, H, W), `map` (T, H, W)."""

    @property
    def frame(self) -> int: ...
    @property
    def frame_share(self) -> NDArray[np.float64]:
        """(T,)"""
    @property
    def centroid(self) -> NDArray[np.float64]:
        """(T, 2)"""
    @property
    def trajectory(self) -> NDArray[np.float64] | None:
        """(T, 2); None without flow."""


def clip_view(results: Sequence[ClipMap]) -> ImagePanels:
    """One row of frames per network. Raises XlliError if the results differ in clip, window or frame: they would not be comparable."""
    first = results[0]
    w = first.window
    for other in results[1:]:
        if other.window != w or other.frame != first.frame or not np.array_equal(other.input, first.input):
            raise XlliError(f"{other.model}: clip, window or frame differs from {first.model}'s; give `xlli_ray.lam` the same ones")
    rows = []
    for result in results:
        _, _, height, width = result.input.shape
        window = Place(w.top, w.left, w.size, result.output.shape[-1] // width, height, width)
        place = ClipPlace(window, result.frame, result.frame_share, result.centroid, result.trajectory)
        grey = np.tensordot(result.input, LUMA, axes=(1, 0)) * 255
        layers = [
            (layer_of(below, FAINT, side=SIDE), layer_of(np.nan_to_num(values), SHARE, side=SIDE, shared=True))
            for below, values in zip(grey, result.map)
        ]
        rows.append(PanelRow(f"{result.model}, DI {result.di:.2f}", clip_panels(place, layers, side=SIDE)))
    names = ", ".join(result.model for result in results)
    where = f"the window at row {w.top}, column {w.left}, size {w.size} of frame {first.frame}"
    return ImagePanels(f"{names}: what is used for {where}", tuple(rows))
