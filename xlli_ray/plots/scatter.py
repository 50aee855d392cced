"""A few named points with intervals in both directions, in one or several panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import canvas, svg_text
from xlli_ray.plots.checks import MARKS, check_choice, check_colours, check_range
from xlli_ray.plots.palette import INK, edge_of
from xlli_ray.plots.panel_grid import Style, arrange, panels
from xlli_ray.plots.side_list import size_of, write_list
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
        names = list(dict.fromkeys(point.name for panel in self.panels for point in panel.points))
        numbered = len(names) > NAMED or len(self.panels) > 1
        listed = [f"{i + 1}  {name}" for i, name in enumerate(names)] if numbered else []
        beside = size_of(listed, samples=False) if numbered else (0.0, 0.0)
        width = (4.2 if count == 1 else 3.1) * count + beside[0]
        with canvas(width, 1.0) as figure:
            axes = panels(figure, len(self.panels))
            for number, (axis, panel) in enumerate(zip(axes, self.panels)):
                _draw_panel(axis, panel.points, names, numbered=numbered)
                axis.set_title(panel.title, loc="left")
                axis.set_ylabel("" if number % count else self.ylabel)
            arrange(figure, axes, count, Style(2.3, xlabel=self.xlabel, beside=beside))
            write_list(figure, listed)
            return svg_text(figure, self.title)


def _draw_panel(axis: Any, points: Sequence[Point], names: Sequence[str], *, numbered: bool) -> None:
    both = [point for point in points if np.isfinite(point.x.low) and np.isfinite(point.y.low)]
    style: dict[str, Any] = {"colors": [point.colour for point in both], "linewidth": 1.0, "alpha": 0.45, "zorder": 2}
    axis.hlines([point.y.mean for point in both], [point.x.low for point in both], [point.x.high for point in both], **style)
    axis.vlines([point.x.mean for point in both], [point.y.low for point in both], [point.y.high for point in both], **style)
    for point in points:
        edge = edge_of(point.marker, point.colour)
        axis.plot([point.x.mean], [point.y.mean], point.marker, color=point.colour, markersize=6, markeredgecolor=edge, zorder=3)
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
