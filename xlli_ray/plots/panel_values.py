"""From sources to pixels: reads what the layers of image panels name, computes differences, cuts the areas, and keeps 8-bit levels.

`read` is the only thing that knows where arrays lie: `views.image_reader` for a study; a dictionary will do for arrays at hand.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import SampleError, StudyError
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import Area, ImagePanel, ImagePanels, Layer, Source
from xlli_ray.plots.pixels import LUMA, png_bytes, shrunk
from xlli_ray.plots.view import Png


@dataclass(frozen=True)
class Values:
    """What a source holds."""

    values: NDArray
    """(y, x), or (channel, y, x) with 1 or 3 channels or any number that becomes one (`Layer.channels`)."""
    step: tuple[float, float]
    """Input pixels from one value to the next, along y and x."""


Read = Callable[[Source], Values]
"""Raises SampleError or StudyError where there is nothing to be read, with the reason."""


def filled(view: ImagePanels, read: Read) -> tuple[ImagePanels, tuple[str, ...]]:
    """(the view with the pixels of each layer, why panels are empty). A panel that cannot be read becomes None.

    Raises ValueError where the arrays that a layer combines differ in size.
    """
    reasons: list[str] = []

    def fill(panel: ImagePanel | None) -> ImagePanel | None:
        if panel is None:
            return None
        try:
            layers = tuple(layer if layer.png is not None else replace(layer, png=_png(layer, panel, read)) for layer in panel.layers)
        except (SampleError, StudyError) as error:
            reasons.append(str(error))
            return None
        return replace(panel, layers=layers)

    rows = tuple(replace(row, panels=tuple(fill(panel) for panel in row.panels)) for row in view.rows)
    return replace(view, rows=rows), tuple(dict.fromkeys(reasons))


def bare(view: ImagePanels) -> ImagePanels:
    """The view without the pixels that can be read again: of layers with a source."""
    rows = []
    for row in view.rows:
        panels = [
            panel and replace(panel, layers=tuple(layer if layer.source is None else replace(layer, png=None) for layer in panel.layers))
            for panel in row.panels
        ]
        rows.append(replace(row, panels=tuple(panels)))
    return replace(view, rows=tuple(rows))


def layer_of(values: NDArray, scale: ColourScale, *, side: int, opacity: float = 1.0, shared: bool = False) -> Layer:
    """A layer of values that lie nowhere in the study, (H, W), averaged down to `side`."""
    return Layer(scale=scale, opacity=opacity, shared=shared, png=_text(scale.levels(shrunk(np.asarray(values, np.float64), side))))


def image_layer(image: NDArray[np.uint8], *, side: int) -> Layer:
    """A layer of an image that lies nowhere in the study, uint8 (H, W, 3) or (H, W), averaged down to `side`."""
    return Layer(png=_text(shrunk(image, side)))


def layer_values(layer: Layer, read: Read) -> Values:
    """What a layer shows, of the whole sample: (y, x) where it has a scale, else (channel, y, x), in float32. Its mask is not applied."""
    assert layer.source is not None
    own = read(layer.source)
    values: NDArray[Any] = np.asarray(own.values, np.float32)
    for term in layer.terms:
        values, other = _alike(values, np.asarray(read(term.source).values, np.float32))
        if values.shape != other.shape:
            raise ValueError(f"{layer.source.array} is {_size(values)} and {term.source.array} {_size(other)}: they cannot be added")
        values = values + np.float32(term.weight) * other
    if layer.absolute:
        values = np.abs(values)
    if layer.scale is not None and values.ndim == 3:
        values = _one_channel(values, layer)
    return Values(values, own.step)


def _alike(one: NDArray, other: NDArray) -> tuple[NDArray, NDArray]:
    """Both with one channel where either has: networks for luma are given, and give, that of a colour image."""
    if {len(values) for values in (one, other) if values.ndim == 3} != {1, 3}:
        return one, other
    first, second = (np.tensordot(LUMA, values, axes=1)[None] if len(values) == 3 else values for values in (one, other))
    return first, second


def _one_channel(values: NDArray, layer: Layer) -> NDArray:
    if len(values) == 1:
        return values[0]
    if layer.channels == "luma" and len(values) == 3:
        return np.tensordot(LUMA, values, axes=1)
    if layer.channels in ("mean", "sum"):
        return values.mean(axis=0) if layer.channels == "mean" else values.sum(axis=0)
    raise ValueError(f"{layer.source and layer.source.array} has {len(values)} channels: `channels` says how they become one number")


def _png(layer: Layer, panel: ImagePanel, read: Read) -> Png:
    made = layer_values(layer, read)
    values = cut(made, panel.area)
    if layer.outside is not None:
        mask = read(layer.outside).values
        covered = cut(Values(mask if mask.ndim == 2 else np.any(mask != 0, axis=0, keepdims=True)[0], made.step), panel.area)
        if covered.shape != values.shape[-2:]:
            raise ValueError(f"the mask {layer.outside.array} is {_size(covered)}, the values are {_size(values)}")
        values = np.where(covered != 0, np.float32(0), values)
    if layer.scale is not None:
        return _text(layer.scale.levels(shrunk(values.astype(np.float64), panel.side)))
    values = values if values.ndim == 3 else values[None]
    colour = np.clip(np.floor(np.nan_to_num(values) + layer.offset + 0.5), 0, 255).astype(np.uint8)
    return _text(shrunk(colour[0] if len(colour) == 1 else np.moveaxis(colour, 0, 2), panel.side))


def cut(made: Values, area: Area | None) -> NDArray:
    """The part of the values that lies in `area`, at least one of them along each axis."""
    if area is None:
        return made.values
    slices = []
    for start, size, step, length in zip((area.top, area.left), (area.height, area.width), made.step, made.values.shape[-2:]):
        first = min(max(0, round(start / step)), length - 1)
        slices.append(slice(first, max(first + 1, min(length, round((start + size) / step)))))
    return made.values[..., slices[0], slices[1]]


def _text(pixels: NDArray[np.uint8]) -> Png:
    return Png(base64.b64encode(png_bytes(pixels)).decode())


def _size(values: NDArray) -> str:
    return " × ".join(map(str, values.shape))
