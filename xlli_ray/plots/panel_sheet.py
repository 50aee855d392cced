"""Image panels on one sheet: rows below their labels, each image above its words, the scale that they share at the foot."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xlli_ray.plots.canvas import WIDTH, canvas
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, scale_ends
from xlli_ray.plots.palette import INK, MUTED
from xlli_ray.plots.panel_pixels import composite, ramp
from xlli_ray.plots.pixels import Pixels
from xlli_ray.plots.view import to_svg

# In inches.
PANEL = 1.75
"""Largest width of a panel."""
TALLEST = 2.0
"""Height over width of a panel; higher images are drawn smaller."""
_GAP, _LABEL, _LINE, _BAR, _TITLE = 0.1, 0.24, 0.155, 0.4, 0.25
_LETTER = 0.064


@contextmanager
def sheet(view: ImagePanels, *, title: bool = False) -> Iterator[Any]:
    """A matplotlib figure of the view. `title`: written above. Raises ValueError for a panel without pixels."""
    images = [[None if panel is None else composite(panel) for panel in row.panels] for row in view.rows]
    widest = max(min(PANEL, (WIDTH - _GAP) / view.columns), 0.4)
    each = WIDTH - _GAP if view.columns == 1 and any(panel and panel.height for row in view.rows for panel in row.panels) else widest
    heights = [_height(row.panels, some, each) + (_LABEL if row.label else 0) for row, some in zip(view.rows, images)]
    wide = each * view.columns + _GAP
    high = _GAP + sum(heights) + (_BAR if view.scale else 0) + (_TITLE if title else 0)
    with canvas(wide, high) as figure:
        figure.set_layout_engine("none")
        write = _writer(figure, wide, high)
        top = _GAP
        if title:
            write(_GAP, top + 0.1, view.title, size=9.0)
            top += _TITLE
        for row, some, tall in zip(view.rows, images, heights):
            start = top
            if row.label:
                write(_GAP, start + 0.12, row.label, size=8.5, weight="bold")
                start += _LABEL
            for place, (panel, image) in enumerate(zip(row.panels, some)):
                if panel is None or image is None:
                    continue
                left = _GAP + each * place
                foot = start + _draw(figure, panel, image, (left / wide, start, each - _GAP), wide, high)
                caption = _broken(panel.caption, each)
                for line, words in enumerate((*caption, *_broken(panel.note, each))):
                    write(left, foot + 0.13 + _LINE * line, words, size=7.5, colour=INK if line < len(caption) else MUTED)
            top += tall
        if view.scale is not None:
            _bar(figure, view.scale, view.scale_label, write, wide, high)
        yield figure


def painted(view: ImagePanels) -> Any:
    """The view as a matplotlib figure with its title, to be saved in another format than SVG."""
    with sheet(view, title=True) as figure:
        return figure


def save(view: ImagePanels, path: str | os.PathLike[str]) -> None:
    """Write the view into a file of the format that its name ends in. Raises OSError; ValueError for an unknown format."""
    if os.fspath(path).lower().endswith(".svg"):
        Path(path).write_text(to_svg(view), encoding="utf-8")
    else:
        painted(view).savefig(path, dpi=160)


def _height(panels: tuple[ImagePanel | None, ...], images: list[Pixels | None], each: float) -> float:
    tallest = max((_tall(panel, image, each - _GAP) for panel, image in zip(panels, images) if panel and image is not None), default=0.2)
    lines = max((len(_broken(panel.caption, each)) + len(_broken(panel.note, each)) for panel in panels if panel), default=0)
    return tallest + _LINE * lines + 0.14


def _tall(panel: ImagePanel, image: Pixels, width: float) -> float:
    return panel.height / 100 if panel.height else width * min(image.shape[0] / image.shape[1], TALLEST)


def _broken(words: str, each: float) -> list[str]:
    return textwrap.wrap(words, max(8, int((each - _GAP) / _LETTER)))


def _writer(figure: Any, wide: float, high: float) -> Any:
    def write(left: float, base: float, words: str, *, size: float, colour: str = INK, weight: str = "normal") -> None:
        figure.text(left / wide, 1 - base / high, words, fontsize=size, color=colour, fontweight=weight)

    return write


def _draw(figure: Any, panel: ImagePanel, image: Pixels, place: tuple[float, float, float], wide: float, high: float) -> float:
    """Draw one image; `place`: left as a share of the sheet, top and width in inches. Its height in inches."""
    left, top, width = place
    tall = _tall(panel, image, width)
    axes = figure.add_axes((left, 1 - (top + tall) / high, width / wide, tall / high))
    axes.set_axis_off()
    axes.imshow(image, interpolation="none", aspect="auto" if panel.height else "equal")
    return tall


def _bar(figure: Any, scale: ColourScale, label: str, write: Any, wide: float, high: float) -> None:
    low, top = scale_ends(scale)
    write(_GAP, high - 0.12, low, size=7.5, colour=MUTED)
    start = _GAP + 0.1 + _LETTER * len(low)
    axes = figure.add_axes((start / wide, 0.1 / high, 1.4 / wide, 0.1 / high))
    axes.set_axis_off()
    axes.imshow(ramp(scale), aspect="auto", interpolation="none")
    write(start + 1.48, high - 0.12, f"{top}   {label}", size=7.5, colour=MUTED)
