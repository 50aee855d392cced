"""How attribution maps are shown, on the page and in notebooks: as layers over the input, with the window that they explain.

Red is a share of the map's own largest value, the more opaque the larger it is (share to the power 0.4: most of a map is a few per cent of
its peak, and how far that reaches is what one wants to see); so reds of two maps are not comparable, their shapes and their DI are. Signed
maps have a scale of their own, symmetric about 0 (white).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import SIDE, Area, Frame, ImagePanel, ImagePanels, Layer, PanelRow
from xlli_ray.plots.palette import BLUE
from xlli_ray.plots.panel_values import image_layer, layer_of
from xlli_ray.plots.pixels import LUMA, around, to_image

DETAIL = 192
"""Pixels of a window with its surroundings."""
FAINT = ColourScale(-280.5, 280.5, "gray")
"""The image below a map: half the contrast, brighter."""
SHARE = ColourScale(0.0, 1.0, "reds", power=0.4)
AREA = ColourScale(0.0, 1.0, "reds")
AREA_OPACITY = 0.75


@dataclass(frozen=True)
class Place:
    """A square window in output pixels, and the input that the output was made of."""

    top: int
    left: int
    size: int
    scale: int
    height: int
    width: int
    """Of the input."""

    @property
    def whole(self) -> Area:
        """The whole sample."""
        return Area(0, 0, self.height, self.width)

    def frame(self, colour: str = "") -> Frame:
        """Around the window."""
        return Frame(self.top / self.scale, self.left / self.scale, self.size / self.scale, self.size / self.scale, colour)

    def whole_panel(self, caption: str, layer: Layer, note: str = "") -> ImagePanel:
        """The whole image with the window framed."""
        return ImagePanel(caption, (layer,), note, self.whole, (self.frame(),), SIDE, enlarged=True, overview=True)

    def map_panel(self, caption: str, layers: tuple[Layer, ...], note: str = "") -> ImagePanel:
        """A map over the input; the window's frame is a line beside it, for what lies next to the window counts there."""
        return ImagePanel(caption, layers, note, self.whole, (self.frame(BLUE),), SIDE, enlarged=True, overview=True)

    def window_panel(self, caption: str, layer: Layer, note: str = "") -> ImagePanel:
        """The window with as much around it, pixel for pixel."""
        box = around(self.top, self.left, self.size, (self.height * self.scale, self.width * self.scale))
        area = Area(*(value / self.scale for value in box))
        return ImagePanel(caption, (layer,), note, area, (self.frame(),), DETAIL, enlarged=True)


def signed_scale(values: NDArray) -> ColourScale:
    """Symmetric about 0, whatever the signs."""
    scale = ColourScale.of([values])
    return ColourScale(-scale.high, scale.high, "RdBu_r")


def area_layer(area: NDArray) -> Layer:
    """A contribution area, (H, W) in 0..1."""
    return layer_of(area, AREA, side=SIDE, opacity=AREA_OPACITY, shared=True)


class Window(Protocol):
    """A square in output pixels."""

    @property
    def top(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def size(self) -> int: ...


class WindowResult(Protocol):
    """What a result of any kind tells of one network and one window; of a clip, `input` has an axis of frames first."""

    @property
    def model(self) -> str: ...
    @property
    def window(self) -> Window: ...
    @property
    def input(self) -> NDArray[np.float32]:
        """(3, H, W) in 0..1."""
    @property
    def output(self) -> NDArray[np.float32]:
        """(C, sH, sW)."""
    @property
    def target(self) -> NDArray[np.float32] | None:
        """(3, sH, sW)."""


class Map(WindowResult, Protocol):
    """What is shown of one network: `api.LamResult`."""

    @property
    def map(self) -> NDArray[np.float32]:
        """(H, W) in 0..1."""
    @property
    def attribution(self) -> NDArray[np.float32]:
        """(C, H, W), signed."""
    @property
    def area(self) -> NDArray[np.float64]:
        """(H, W) in 0..1."""
    @property
    def di(self) -> float: ...
    @property
    def error_estimate(self) -> float: ...


def lam_panels(results: Sequence[Map]) -> ImagePanels:
    """One row per network: output and target with the window, map, contribution area, signed map, the window alone.

    Raises XlliError if the results differ in input or window: their maps and DI would not be comparable.
    """
    first = results[0]
    w = first.window
    for other in results[1:]:
        if other.window != w or other.input.shape != first.input.shape or not np.array_equal(other.input, first.input):
            raise XlliError(
                f"{other.model}: input or window differs from {first.model}'s; give `xlli_ray.lam` the same image and window"
            )
    rows = tuple(PanelRow(result.model if len(results) > 1 else "", _panels(result)) for result in results)
    names = ", ".join(result.model for result in results)
    return ImagePanels(f"{names}: what is used for the window at row {w.top}, column {w.left}, size {w.size}", rows)


def _panels(result: Map) -> tuple[ImagePanel | None, ...]:
    height, width = result.input.shape[1:]
    w = result.window
    place = Place(w.top, w.left, w.size, result.output.shape[1] // height, height, width)
    grey = layer_of(np.tensordot(LUMA, result.input, axes=1) * 255, FAINT, side=SIDE)
    share = layer_of(np.nan_to_num(result.map), SHARE, side=SIDE, shared=True)
    signed = np.nan_to_num(result.attribution.sum(axis=0))
    scale = signed_scale(signed)
    error = f"estimated error {100 * result.error_estimate:.2g} %" if np.isfinite(result.error_estimate) else ""
    shown, name = (result.output, "output") if result.target is None else (result.target, "target")
    return (
        place.whole_panel(f"{name} and window", image_layer(to_image(shown), side=SIDE)),
        place.map_panel(f"map, DI {result.di:.2f}", (grey, share), error),
        place.map_panel("contribution area", (grey, area_layer(result.area))),
        place.map_panel("signed map", (layer_of(signed, scale, side=SIDE),), f"±{scale.high:.3g}"),
        _window(place, "output, the window", result.output),
        _window(place, "target, the window", result.target) if result.target is not None else None,
    )[: 5 + (result.target is not None)]


def _window(place: Place, caption: str, planes: NDArray[np.float32]) -> ImagePanel:
    """The pixels around the window: only they are kept."""
    top, left, height, width = around(place.top, place.left, place.size, planes.shape[1:])
    return place.window_panel(caption, image_layer(to_image(planes[:, top : top + height, left : left + width]), side=DETAIL))
