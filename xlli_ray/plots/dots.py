"""Dots with intervals: one line per row, panels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, limits_of, svg_text
from xlli_ray.plots.checks import MARKS, check_choice, check_colours, check_length, check_range
from xlli_ray.plots.palette import INK, MUTED, edge_of
from xlli_ray.plots.panel_grid import Style, arrange, panels
from xlli_ray.plots.panel_ticks import set_names
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
        rows, shown = self.rows, self.panels
        count = min(self.columns, len(shown))
        names = max((len(row) for row in rows), default=0)
        left = 0.25 + 0.072 * min(names, 40)
        each = min(6.5, (WIDTH - left) / count)
        pitch = 0.31 if len(rows) <= 12 else 0.22
        labels = {panel.xlabel for panel in shown}
        with canvas(left + each * count, 1.0) as figure:
            axes = panels(figure, len(shown))
            limits = _limits(shown)
            for axis, panel in zip(axes, shown):
                _draw_panel(axis, rows, panel, limits)
                axis.set_xlabel(panel.xlabel if len(labels) > 1 else "")
            label = labels.pop() if len(labels) == 1 else ""
            arrange(figure, axes, count, Style(pitch * max(1, len(rows)) + 0.1, numbers=False, share_y=True, xlabel=label))
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
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    if panel.spans:
        bars = [((span[0], place), (span[1], place)) for place, span in enumerate(panel.spans) if span is not None]
        axis.add_collection(LineCollection(bars, colors="#eceef1", linewidths=7, capstyle="round", zorder=1), autolim=False)
    if panel.zero:
        axis.axvline(0, color=MUTED, linewidth=0.9, zorder=1.5)
    some = [(place, item) for place, item in enumerate(panel.values) if item is not None]
    ends = [(place, item) for place, item in some if np.isfinite(item.low)]
    lines = [((item.low, place), (item.high, place)) for place, item in ends]
    colours = [panel.colours[place] for place, _ in ends]
    axis.add_collection(LineCollection(lines, colors=colours, linewidths=1.8, alpha=0.75, capstyle="projecting", zorder=2), autolim=False)
    axis.add_collection(_markers(axis, panel, some), autolim=False)
    for place, item in some:
        if panel.notes and panel.notes[place]:
            right = item.high if np.isfinite(item.high) else item.mean
            axis.annotate(panel.notes[place], (right, place), (6, 0), textcoords="offset points", fontsize=8.0, color=INK, va="center")
    set_names(axis.yaxis, range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(*limits[panel.share])
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, min_n_ticks=3))
    axis.set_title(panel.title, loc="left")


def _markers(axis: Any, panel: Panel, some: Sequence[tuple[int, Interval]]) -> Any:
    """All dots of a panel as one artist: `Axes.scatter` would make one for each kind of marker, and `Axes.plot` one for each dot."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import IdentityTransform

    marks = [panel.markers[place] if panel.markers else "o" for place, _ in some]
    colours = [panel.colours[place] for place, _ in some]
    dots = PathCollection(
        [_outline(mark) for mark in marks], [5.2**2], offsets=[(item.mean, place) for place, item in some], offset_transform=axis.transData,
        facecolors=colours, edgecolors=list(map(edge_of, marks, colours)),
        linewidths=[1.5 if mark == "x" else 0.7 for mark in marks], zorder=3,
    )  # fmt: skip
    dots.set_transform(IdentityTransform())
    return dots


@cache
def _outline(mark: str) -> Any:
    """The path of a marker of size 1."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(mark)
    return style.get_path().transformed(style.get_transform())
