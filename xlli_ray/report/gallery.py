"""Pictures for the page: samples, restored images beside their targets, feature maps. Small PNGs as data URIs.

What is drawn is read row by row (`ArrayReader.rows`), never a whole array. Crops of images are shown pixel for pixel and without loss;
only overviews are downscaled. A map's colours have one scale within its block, and the scale is written beside it: blue–white–red,
symmetric about 0, for signed values, dark to bright from 0 upwards otherwise.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlli_ray.views.pixels import Pixels, framed, png_bytes, shrunk

CROP = 128
"""Side of a crop, pixels of the output."""
MAP_SIDE = 112
"""Longest side of a feature map on the page; larger ones are averaged down."""
THUMB_SIDE = 160


@dataclass(frozen=True)
class Tile:
    """One picture with the words below it."""

    uri: str
    caption: str
    note: str = ""
    height: int = 0
    """Not 0: stretched over the whole row and to so many pixels, as the matrix of a pooled layer is."""


@dataclass(frozen=True)
class Scale:
    """A colour bar: `low` and `high` are the ends as text."""

    uri: str
    low: str
    high: str
    about: str


@dataclass(frozen=True)
class Row:
    """Tiles side by side; None keeps a place empty."""

    label: str
    family: str
    tiles: Sequence[Tile | None]


@dataclass(frozen=True)
class Block:
    """Rows of tiles under one heading."""

    title: str
    note: str
    columns: int
    rows: Sequence[Row]
    scale: Scale | None = None


# -- pixels to text ---------------------------------------------------------------------------------------------


def png(image: Pixels, *, colours: Pixels | None = None) -> str:
    """Data URI of an image: uint8 (H, W, 3) or (H, W); with `colours`, uint8 (256, 3), `image` holds their numbers."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image, colours=colours)).decode()


def jpeg(image: Pixels) -> str:
    """Data URI of an overview, uint8 (H, W, 3) or (H, W): quality 88, no chroma subsampling."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(sink, "JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()


def overview(image: Pixels, *, side: int = THUMB_SIDE, box: tuple[int, int, int, int] | None = None) -> str:
    """A whole image, at most `side` pixels long; `box` (top, left, height, width) is framed. Small images stay lossless."""
    small = shrunk(image, side)
    if box is not None:
        factor = image.shape[0] / small.shape[0]
        small = framed(small, tuple(int(value / factor) for value in box))
    return png(small) if small.size <= 3 * 64 * 64 else jpeg(small)


def busiest(image: Pixels, side: int, *, step: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the window of `side` pixels with the most detail, its corner a multiple of `step`.

    Detail: mean absolute difference of neighbouring grey levels. The whole image where it is smaller.
    """
    height, width = min(side, image.shape[0]), min(side, image.shape[1])
    grey = image.astype(np.float32).mean(axis=2)
    detail = np.zeros((grey.shape[0] + 1, grey.shape[1] + 1))
    change = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    detail[1:, 1:] = change.cumsum(0, dtype=np.float64).cumsum(1)
    tops, lefts = np.arange(0, grey.shape[0] - height + 1, step), np.arange(0, grey.shape[1] - width + 1, step)
    sums = (
        detail[np.ix_(tops + height, lefts + width)] - detail[np.ix_(tops, lefts + width)]
        - detail[np.ix_(tops + height, lefts)] + detail[np.ix_(tops, lefts)]
    )  # fmt: skip
    best = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(tops[best[0]]), int(lefts[best[1]]), height, width


# -- values to colours ------------------------------------------------------------------------------------------


def lut(name: str) -> Pixels:
    """uint8 (256, 3) of one of matplotlib's colour maps."""
    import matplotlib

    return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Colours:
    """How values become colours: `low` and `high` get the ends of the map, what lies beyond is cut."""

    low: float
    high: float
    name: str

    @classmethod
    def of(cls, values: Sequence[NDArray], *, share: float = 99.7) -> Colours:
        """A scale for all of `values`: symmetric when some are negative. The most extreme 0.3 % do not stretch it."""
        flat = np.concatenate([np.asarray(value, np.float64).ravel() for value in values]) if values else np.zeros(0)
        flat = flat[np.isfinite(flat)]
        if not flat.size:
            return cls(0.0, 1.0, "cividis")
        top = float(np.percentile(np.abs(flat), share)) or float(np.abs(flat).max()) or 1.0
        # A layer that is positive but for rounding is not signed.
        return cls(-top, top, "RdBu_r") if flat.min() < -1e-6 * top else cls(0.0, top, "cividis")

    def draw(self, values: NDArray, *, marks: Sequence[str] = ()) -> str:
        """PNG of a map, (H, W). `marks`: a colour (#rrggbb) for each row, drawn at its left end."""
        span = (self.high - self.low) or 1.0
        places = np.clip((np.nan_to_num(np.asarray(values, np.float64), nan=self.low) - self.low) / span, 0, 1)
        numbers = (places * 255 + 0.5).astype(np.uint8)
        if not marks:
            return png(numbers, colours=lut(self.name))
        each = max(1, numbers.shape[1] // 48)
        edge = np.array([[int(mark[i : i + 2], 16) for i in (1, 3, 5)] for mark in marks], np.uint8)[:, None]
        gap = np.full_like(edge, 255)
        return png(np.concatenate([edge.repeat(each, 1), gap.repeat(each, 1), lut(self.name)[numbers]], axis=1))

    def bar(self, about: str) -> Scale:
        """The colour bar."""
        ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (4, 1))
        return Scale(png(ramp, colours=lut(self.name)), f"{self.low:.3g}".replace("-", "−"), f"{self.high:.3g}", about)


def most_varying(maps: NDArray, count: int) -> list[int]:
    """Numbers of the `count` maps of (N, H, W) with the largest spatial variance, largest first."""
    variance = np.asarray(maps, np.float64).reshape(len(maps), -1).var(axis=1)
    return np.argsort(-np.nan_to_num(variance, nan=-1.0), kind="stable")[:count].tolist()
