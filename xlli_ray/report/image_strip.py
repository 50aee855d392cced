"""Image panels for the page's template: tiles in rows, each an `<img>` with its caption.

The view is what is drawn (`plots.image_panels`); a strip is made from it by `strip_of`, which reads the arrays that it names.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, scale_ends
from xlli_ray.plots.panel_pixels import data_uri, moving_uri, ramp
from xlli_ray.plots.panel_values import Read, bare, filled
from xlli_ray.plots.pixels import png_bytes


@dataclass(frozen=True)
class Tile:
    """One image with its caption."""

    uri: str
    caption: str
    note: str = ""
    height: int = 0
    """If not 0: stretched over the row to this height in pixels, like the matrix of a pooled layer."""


@dataclass(frozen=True)
class Bar:
    """A colour bar: `low` and `high` are the ends as text."""

    uri: str
    low: str
    high: str
    about: str


@dataclass(frozen=True)
class Row:
    """Tiles side by side; None leaves a place empty."""

    label: str
    colour: str
    tiles: Sequence[Tile | None]


@dataclass(frozen=True)
class Strip:
    """Rows of tiles under one heading."""

    title: str
    caption: str
    """Heading."""
    columns: int
    rows: Sequence[Row]
    scale: Bar | None
    view: ImagePanels
    """The view it was made from, without pixels that are stored in the study."""
    folded: bool = False
    """Shown once it is opened: what moves would draw the eye from everything else."""


def strip_of(view: ImagePanels, caption: str, read: Read) -> Strip:
    """The static images of a view. Why panels are empty is added to the caption."""
    drawn, reasons = filled(view, read)
    if reasons:
        caption = f"{caption} Not all images can be shown: {reasons[0]}".strip()
    rows = [Row(row.label, row.colour, [None if panel is None else _tile(panel) for panel in row.panels]) for row in drawn.rows]
    wide = all(panel is None or panel.height for row in view.rows for panel in row.panels)
    columns = 1 if wide else max(2, view.columns)  # a single tile would fill the page
    bar = None
    if view.scale is not None:
        uri = f"data:image/png;base64,{base64.b64encode(png_bytes(ramp(view.scale))).decode()}"
        bar = Bar(uri, *scale_ends(view.scale), view.scale_label)
    return Strip(view.title, caption, columns, rows, bar, bare(view))


def moving_strip(view: ImagePanels, caption: str, read: Read, milliseconds: int) -> Strip:
    """An animation of each row of a view, side by side: its panels one after the other, without those that cannot be read."""
    drawn, reasons = filled(view, read)
    if reasons:
        caption = f"{caption} Not all images can be shown: {reasons[0]}".strip()
    tiles: list[Tile | None] = []
    for row in drawn.rows:
        panels = [panel for panel in row.panels if panel is not None]
        tiles.append(Tile(moving_uri(panels, milliseconds), row.label) if panels else None)
    return Strip(view.title, caption, max(2, len(tiles)), [Row("", "", tiles)], None, bare(view), folded=True)


def _tile(panel: ImagePanel) -> Tile:
    return Tile(data_uri(panel), panel.caption, panel.note, panel.height)
