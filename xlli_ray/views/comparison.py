"""Samples next to the outputs of networks, with a zoom: `study.show`. HTML in a notebook, a PNG of the same panels by `save`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xlli_ray.errors import StudyError, counted
from xlli_ray.plots.image_panels import ImagePanels, PanelRow
from xlli_ray.plots.panel_sheet import painted
from xlli_ray.views.html import panels_html
from xlli_ray.views.lam import Place
from xlli_ray.views.sample_view import SampleView

Window = tuple[int, int, int]
"""(top, left, size) in output pixels."""


@dataclass(frozen=True)
class Comparison:
    """Samples side by side."""

    view: ImagePanels
    """One row per sample: input, target, outputs; with a window, a second row of it alone."""

    def __repr__(self) -> str:
        return f"<{counted(sum(bool(row.label) for row in self.view.rows), 'sample')} side by side; .save(path) writes a PNG>"

    def _repr_html_(self) -> str:
        return panels_html(self.view)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG file. Raises StudyError if it cannot be written."""
        try:
            painted(self.view).savefig(path, format="png", dpi=160)
        except OSError as error:
            raise StudyError(f"{os.fspath(path)}: cannot be written ({error.strerror or error}); name another place") from error


def compare(samples: Sequence[SampleView], models: Sequence[str] | None, window: Window | None) -> Comparison:
    """The comparison of some samples; see `Study.show`."""
    if not samples:
        raise StudyError("nothing to show: name at least one sample id")
    if isinstance(models, str):
        models = [models]
    rows = tuple(row for sample in samples for row in _rows(sample, sample.models if models is None else models, window))
    return Comparison(ImagePanels("samples and outputs", rows))


def _rows(sample: SampleView, models: Sequence[str], window: Window | None) -> list[PanelRow]:
    """The panels of one sample; with a window, framed, and a second row of it alone."""
    view = sample.panels(models)
    if window is None:
        return list(sample.filled(view).rows)
    (row,) = view.rows
    (top, left, size), scale = window, sample.scale(models)
    height, width = sample.row["height"], sample.row["width"]
    if size < 1 or min(top, left) < 0 or top + size > height * scale or left + size > width * scale:
        raise StudyError(
            f"window {window} (top, left, size in output pixels) leaves sample {sample.id}, whose output is {width * scale} wide, "
            f"{height * scale} high"
        )
    place = Place(top, left, size, scale, height, width)
    shown = [panel for panel in row.panels if panel is not None]
    whole = tuple(replace(panel, area=place.whole, frames=(place.frame(),)) for panel in shown)
    zooms = tuple(place.window_panel("the window", panel.layers[0]) for panel in shown)
    return list(sample.filled(replace(view, rows=(replace(row, panels=whole), PanelRow("", zooms)))).rows)
