"""Images of a `lam` stage over clips: for some windows, one row of frames per network, each with the part of the map that lies on it.

What is drawn is in `views.lam_clips`. With a flow stage the window's content is marked in every frame, so that one sees whether the
attribution follows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.image_panels import ImagePanels, Layer, PanelRow, Source
from xlli_ray.report.section import Animation, Drawing, Part, SectionContext, Text
from xlli_ray.report.sections.shown_windows import Seen
from xlli_ray.store.records.manifest import Cell
from xlli_ray.views.lam import FAINT, SHARE, Place
from xlli_ray.views.lam_clips import SIDE, ClipPlace, clip_panels

MOVING = 240
"""Pixels of an animation."""
MOVING_FRAMES = 16
"""Frames of an animation at most, the ones around the explained frame."""
PACE = 400
"""Milliseconds of a frame of it."""


def clip_parts(
    context: SectionContext, models: Sequence[str], own: Mapping[str, Cell], windows: Sequence[Seen]
) -> Iterator[Part]:
    """The parts of the section, for these windows."""
    lacking: dict[int, str] = {}
    for item in windows:
        found = context.load(item.row)
        if isinstance(found, str):
            lacking[item.row] = found
        rows, moving = [], []
        for model in (name for name in models if name in item.maps):
            made = _layers(context, own[model], item, grey=item.row not in lacking)
            if made is None:
                continue
            place, layers = made
            rows.append(PanelRow(_label(model, item.maps[model]), clip_panels(place, layers, side=SIDE)))
            moving.append(PanelRow(model, tuple(place.panel(k, layers[k], side=MOVING) for k in _around(place.current, len(layers)))))
        if not rows:
            continue
        frame = int(next(iter(item.maps.values()))["frame"])
        head = f"{context.page.samples.head(item.row)} · window at row {item.top}, column {item.left}, size {item.size} of frame {frame}"
        about = (
            "Red: share of the peak of the whole map; below each frame its share of the attribution. Blue: the window, and by the flow "
            "where its content is in other frames; orange: centroid of the frame's strongest half."
        )
        yield Drawing(ImagePanels(head, tuple(rows)), about)
        if item is windows[0]:
            yield Animation(ImagePanels("The same as an animation", tuple(moving)), "One frame after the other.", PACE)
    if lacking:
        yield Text(f"Maps are shown without their images: {next(iter(lacking.values()))}")


def _label(model: str, line: Mapping[str, Any]) -> str:
    """A network with the numbers of its map."""
    parts = [f"DI {line['di']:.2f}", f"{line['effective_frames']:.1f} effective frames"]
    for name, text in (("tracking_error", "tracking error {:.1f} px"), ("tracking_drift", "drift {:.1f} px"),
                       ("motion_followed", "follows {:.2f} of the motion")):  # fmt: skip
        value = line.get(name)
        if value is not None and np.isfinite(value):
            parts.append(text.format(value).replace("-", "−"))
    return f"{model} · {', '.join(parts)}"


def _layers(context: SectionContext, cell: Cell, item: Seen, *, grey: bool) -> tuple[ClipPlace, list[tuple[Layer, ...]]] | None:
    """The window with its numbers, and the layers of every frame; None without a map."""
    maps, shares, centroids = (_of(context, cell, item, name) for name in ("map", "frame_share", "centroid"))
    if maps is None or shares is None or centroids is None:
        return None
    row = context.page.samples.row(item.row)
    scale = context.study.manifest.model(cell.model).scale
    window = Place(item.top, item.left, item.size, scale, row["height"], row["width"])
    current = int(item.maps[cell.model]["frame"])
    layers = []
    for k in range(len(shares)):
        below = (Layer(Source(item.row, "input", index=(k,)), channels="luma", scale=FAINT),) if grey else ()
        layers.append((*below, Layer(Source(item.row, "map", cell.id, (item.window, k)), scale=SHARE, shared=True)))
    return ClipPlace(window, current, shares, centroids, _of(context, cell, item, "trajectory")), layers


def _of(context: SectionContext, cell: Cell, item: Seen, name: str) -> NDArray[Any] | None:
    """What an array has for that window."""
    if not any(meta.name == name for bucket in cell.sizes for meta in bucket.arrays):
        return None
    stack = context.stored(Source(item.row, name, cell.id))
    return None if stack is None else stack[item.window]


def _around(current: int, frames: int) -> range:
    first = max(0, min(current - MOVING_FRAMES // 2, frames - MOVING_FRAMES))
    return range(first, min(frames, first + MOVING_FRAMES))
