"""A few named points with intervals in both directions, in one or several panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import canvas, svg_text
from xlli_ray.plots.checks import MARKS, check_choice, check_colours, check_range
from xlli_ray.plots.palette import INK, MUTED
from xlli_ray.plots.view import View
from xlli_ray.stats.intervals import Interval

NAMED = 5
"""With more names than this, or several panels, points are numbered, and the names are on the right."""
NEAR = 0.03
"""Points that are nearer than this share of a panel's sides have one label together."""


@dataclass(frozen=True)
class Point:
    """One point."""

    name: str
    colour: str
    x: Interval
    y: Interval
    marker: str = "o"

    def __post_init__(self) -> None:
        check_colours((self.colour,))
        check_choice("marker", self.marker, MARKS)


@dataclass(frozen=True)
class ScatterPanel:
    """One panel."""

    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scatter(View):
    """See the module docstring. `columns`: maximum number of panels per line."""

    KIND: ClassVar[str] = "scatter"

    xlabel: str
    ylabel: str
    panels: tuple[ScatterPanel, ...]
    columns: int = 3

    def __post_init__(self) -> None:
        check_range("columns", self.columns, 1, 20)
        if not self.panels:
            raise ValueError("a figure needs at least one panel")

    def draw(self) -> str:
        """See `View.draw`."""
        count = min(self.columns, len(self.panels))
        lines = -(-len(self.panels) // count)
        names = list(dict.fromkeys(point.name for panel in self.panels for point in panel.points))
        numbered = len(names) > NAMED or len(self.panels) > 1
        beside = 0.1 * min(max(map(len, names), default=0), 40) + 0.5 if numbered else 0.0
        width = 4.2 if count == 1 else 3.1
        with canvas(width * count + beside, 2.9 * lines + 0.2) as figure:
            axes = figure.subplots(lines, count, squeeze=False)
            for number, axis in enumerate(axes.flat):
                if number >= len(self.panels):
                    axis.set_visible(False)
                    continue
                _draw_panel(axis, self.panels[number].points, names, numbered=numbered)
                axis.set_title(self.panels[number].title, color=INK, fontweight="bold", pad=7)
                if number % count == 0:
                    axis.set_ylabel(self.ylabel)
            figure.supxlabel(self.xlabel, fontsize=8.5, color=MUTED)
            if numbered:
                text = "\n".join(f"{i + 1}  {name}" for i, name in enumerate(names))
                figure.get_layout_engine().set(rect=(0, 0, 1 - beside / (width * count + beside), 1))
                figure.text(1 - (beside - 0.15) / (width * count + beside), 0.92, text, va="top", fontsize=8.5, linespacing=1.5)
            return svg_text(figure, self.title)


def _draw_panel(axis: Any, points: Sequence[Point], names: Sequence[str], *, numbered: bool) -> None:
    axis.grid(True, axis="both")
    axis.tick_params(axis="y", labelsize=8.0, labelcolor=MUTED)
    axis.spines["left"].set_visible(True)
    for point in points:
        x, y = point.x, point.y
        if np.isfinite(x.low) and np.isfinite(y.low):
            axis.plot([x.low, x.high], [y.mean, y.mean], color=point.colour, linewidth=1.0, alpha=0.45, zorder=2)
            axis.plot([x.mean, x.mean], [y.low, y.high], color=point.colour, linewidth=1.0, alpha=0.45, zorder=2)
    for point in points:
        axis.plot([point.x.mean], [point.y.mean], point.marker, color=point.colour, markersize=6, markeredgecolor="white", zorder=3)
    axis.margins(x=0.12 if numbered else 0.22, y=0.12)
    for together in _coinciding(points, *(np.ptp(limits) for limits in (axis.get_xlim(), axis.get_ylim()))):
        labels = [str(names.index(point.name) + 1) if numbered else point.name for point in together]
        first = together[0]
        size = 7.5 if numbered else 8.5
        place = (first.x.mean, first.y.mean)
        axis.annotate(", ".join(labels), place, (6, 5), textcoords="offset points", fontsize=size, color=INK, zorder=4)


def _coinciding(points: Sequence[Point], width: float, height: float) -> list[list[Point]]:
    """`points`, those together whose labels would cover each other on a panel of that width and height."""
    groups: list[list[Point]] = []
    for point in points:
        for group in groups:
            if abs(point.x.mean - group[0].x.mean) < NEAR * width and abs(point.y.mean - group[0].y.mean) < NEAR * height:
                group.append(point)
                break
        else:
            groups.append([point])
    return groups
