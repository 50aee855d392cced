"""Dots with intervals: one line per row, panels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, limits_of, svg_text
from xlli_ray.plots.checks import MARKS, check_choice, check_colours, check_length, check_range
from xlli_ray.plots.palette import INK, MUTED
from xlli_ray.plots.view import View
from xlli_ray.stats.intervals import Interval


@dataclass(frozen=True)
class Panel:
    """One set of dots: an interval, or None, for each row of the figure."""

    title: str
    xlabel: str
    values: tuple[Interval | None, ...]
    colours: tuple[str, ...]
    """One colour per row."""
    spans: tuple[tuple[float, float] | None, ...] = ()
    """Light bars behind the rows: the range over all models."""
    zero: bool = False
    """Draw a line at 0."""
    share: str = ""
    """Panels with equal values share their x axis."""
    markers: str = ""
    """A marker per row; empty: discs."""
    notes: tuple[str, ...] = ()
    """A word to the right of each interval."""

    def __post_init__(self) -> None:
        check_colours(self.colours)
        for mark in self.markers:
            check_choice("markers", mark, MARKS)
        count = len(self.values)
        check_length("colours", self.colours, count)
        for name in ("spans", "markers", "notes"):
            check_length(name, getattr(self, name), count, optional=True)


@dataclass(frozen=True)
class Dots(View):
    """See the module docstring. `columns`: maximum number of panels per line."""

    KIND: ClassVar[str] = "dots"

    rows: tuple[str, ...]
    panels: tuple[Panel, ...]
    columns: int = 4

    def __post_init__(self) -> None:
        check_range("columns", self.columns, 1, 20)
        if not self.panels:
            raise ValueError("a figure needs at least one panel")
        for i, panel in enumerate(self.panels):
            check_length(f"panels[{i}].values", panel.values, len(self.rows))

    def draw(self) -> str:
        """See `View.draw`."""
        rows, panels = self.rows, self.panels
        count = min(self.columns, len(panels))
        lines = -(-len(panels) // count)
        names = max((len(row) for row in rows), default=0)
        left = 0.25 + 0.072 * min(names, 40)
        each = min(6.5, (WIDTH - left) / count)
        pitch = 0.27 if len(rows) <= 12 else 0.2
        height = lines * (pitch * len(rows) + 0.75) + 0.25
        with canvas(left + each * count, height) as figure:
            axes = figure.subplots(lines, count, sharey=True, squeeze=False)
            limits = _limits(panels)
            for number, axis in enumerate(axes.flat):
                if number >= len(panels):
                    axis.set_visible(False)
                    continue
                _draw_panel(axis, rows, panels[number], limits)
            if len({panel.xlabel for panel in panels}) == 1:
                figure.supxlabel(panels[0].xlabel, fontsize=8.5, color=MUTED)
            else:
                for axis, panel in zip(axes.flat, panels):
                    axis.set_xlabel(panel.xlabel)
            return svg_text(figure, self.title)


def _limits(panels: Sequence[Panel]) -> dict[str, tuple[float, float]]:
    """x range of each group of panels, with a margin."""
    out = {}
    for name in {panel.share for panel in panels}:
        mine = [panel for panel in panels if panel.share == name]
        values = [
            end
            for panel in mine
            for item in panel.values
            if item is not None
            for end in (item.mean, item.low, item.high, 0.0 if panel.zero else item.mean)
            if np.isfinite(end)
        ]
        low, high = limits_of(values)
        noted = any(any(panel.notes) for panel in mine)
        out[name] = (low, high + 0.12 * (high - low) if noted else high)
    return out


def _draw_panel(axis: Any, rows: Sequence[str], panel: Panel, limits: Mapping[str, tuple[float, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(rows))
    for place, span in zip(places, panel.spans):
        if span is not None:
            axis.plot(span, [place, place], color="#eceef1", linewidth=7, solid_capstyle="round", zorder=1)
    if panel.zero:
        axis.axvline(0, color=MUTED, linewidth=0.9, zorder=1.5)
    for place, item, colour in zip(places, panel.values, panel.colours):
        if item is None:
            continue
        marker = panel.markers[place] if panel.markers else "o"
        if np.isfinite(item.low):
            axis.plot([item.low, item.high], [place, place], color=colour, linewidth=1.8, alpha=0.75, zorder=2)
        axis.plot([item.mean], [place], marker, color=colour, markersize=5.2, markeredgecolor="white", markeredgewidth=0.7, zorder=3)
        if panel.notes and panel.notes[place]:
            right = item.high if np.isfinite(item.high) else item.mean
            axis.annotate(panel.notes[place], (right, place), (6, 0), textcoords="offset points", fontsize=8.0, color=INK, va="center")
    axis.set_yticks(places, list(rows))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(*limits[panel.share])
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, min_n_ticks=3))
    axis.set_title(panel.title, color=INK, fontweight="bold", pad=7)
