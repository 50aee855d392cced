"""Strip plots: one dot per measurement, a strip per row, with the median, and a limit at which a measurement fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import canvas, limits_of, svg_text
from xlli_ray.plots.checks import MARKS, check_choice, check_colours, check_length
from xlli_ray.plots.palette import INK, RULE
from xlli_ray.plots.panel_grid import Style, arrange, panels
from xlli_ray.plots.panel_ticks import set_names
from xlli_ray.plots.view import View

SWARM = 120
"""Maximum dots per strip; more are thinned to evenly spaced quantiles."""


@dataclass(frozen=True)
class Strip:
    """One panel of strips."""

    title: str
    xlabel: str
    values: tuple[tuple[float, ...], ...]
    """The finite values of each row."""
    limit: float
    below: bool
    """Whether values below the limit fail, else values at or above it."""

    def __post_init__(self) -> None:
        if not all(np.isfinite(value) for line in self.values for value in line) or not any(self.values):
            raise ValueError("expected at least one value, all finite")
        if not np.isfinite(self.limit):
            raise ValueError("limit must be finite")


@dataclass(frozen=True)
class Strips(View):
    """See the module docstring."""

    KIND: ClassVar[str] = "strips"

    rows: tuple[str, ...]
    colours: tuple[str, ...]
    """One name per row."""
    panels: tuple[Strip, ...]
    markers: str = ""
    """A marker per row; empty: discs. Hollow: more than half of the row's measurements fail."""

    def __post_init__(self) -> None:
        check_colours(self.colours)
        for mark in self.markers:
            check_choice("markers", mark, MARKS)
        check_length("colours", self.colours, len(self.rows))
        check_length("markers", self.markers, len(self.rows), optional=True)
        if not self.panels:
            raise ValueError("a figure needs at least one panel")
        for i, panel in enumerate(self.panels):
            check_length(f"panels[{i}].values", panel.values, len(self.rows))

    def draw(self) -> str:
        """See `View.draw`."""
        left = 0.25 + 0.072 * min(max(map(len, self.rows), default=0), 40)
        with canvas(left + 4.6 * len(self.panels), 1.0) as figure:
            axes = panels(figure, len(self.panels))
            for axis, panel in zip(axes, self.panels):
                _draw_strip(axis, self.rows, self.colours, self.markers or "o" * len(self.rows), panel)
                axis.set_title(panel.title, loc="left")
                axis.set_xlabel(panel.xlabel)
            arrange(figure, axes, len(axes), Style(0.4 * len(self.rows) + 0.1, numbers=False, share_y=True))
            return svg_text(figure, self.title)


def _draw_strip(axis: Any, rows: Sequence[str], colours: Sequence[str], markers: str, panel: Strip) -> None:
    limit, below = panel.limit, panel.below
    some = np.concatenate([np.array(line, float) for line in panel.values])
    low, high = limits_of([*np.quantile(some, [0.01, 0.99]).tolist(), 0.0, 1.0])
    axis.axvspan(*((low, limit) if below else (limit, high)), color="#f3f4f6", zorder=0)
    axis.axvline(limit, color=RULE, linewidth=1.2, zorder=1)
    for place, (colour, marker) in enumerate(zip(colours, markers)):
        mine = np.sort(np.array(panel.values[place], float))
        if not len(mine):
            continue
        failing = float(np.mean(mine < limit if below else mine >= limit)) > 0.5
        shown = mine if len(mine) <= SWARM else np.quantile(mine, np.linspace(0, 1, SWARM))
        # golden-ratio steps: jitter without random numbers, neighbours apart
        offsets = ((np.arange(len(shown)) * 0.618034) % 1 - 0.5) * 0.5
        axis.plot(shown.clip(low, high), place + offsets, marker, color=colour, markersize=3.2, alpha=0.6,
                  markerfacecolor="none" if failing else colour, markeredgewidth=0.8 if failing else 0, linestyle="", zorder=2)  # fmt: skip
        axis.plot([np.median(mine)] * 2, [place - 0.33, place + 0.33], color=INK, linewidth=1.8, zorder=3)
    set_names(axis.yaxis, range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(low, high)
