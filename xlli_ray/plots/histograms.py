"""Histograms with fitted curves, on a logarithmic density axis: rows of panels with common axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, svg_text
from xlli_ray.plots.checks import check_colours, check_length
from xlli_ray.plots.palette import INK
from xlli_ray.plots.panel_grid import Style, arrange, panels
from xlli_ray.plots.ticks import log_ticks
from xlli_ray.plots.view import View


@dataclass(frozen=True)
class Histogram:
    """One panel."""

    title: str
    colour: str
    centres: tuple[float, ...]
    """Centres of the bins."""
    density: tuple[float, ...]
    """Density in each bin; 0 is not drawn."""
    curve: tuple[float, ...]
    """The fitted density at evenly spaced points from −`reach` to +`reach`."""
    reach: float
    note: str = ""

    def __post_init__(self) -> None:
        check_colours((self.colour,))
        check_length("density", self.density, len(self.centres))
        if not np.isfinite(self.reach) or self.reach <= 0:
            raise ValueError("reach must be above 0")


@dataclass(frozen=True)
class Histograms(View):
    """See the module docstring."""

    KIND: ClassVar[str] = "histograms"

    xlabel: str
    ylabel: str
    lines: tuple[tuple[Histogram, ...], ...]

    def __post_init__(self) -> None:
        if not any(value > 0 for line in self.lines for panel in line for value in panel.density):
            raise ValueError("a figure of histograms needs at least one density above 0")

    def draw(self) -> str:
        """See `View.draw`."""
        columns = max(map(len, self.lines))
        grid = [panel for line in self.lines for panel in (*line, *[None] * (columns - len(line)))]
        with canvas(min(WIDTH, 2.6 * columns + 0.5), 1.0) as figure:
            made = iter(panels(figure, sum(panel is not None for panel in grid), share_x=True, share_y=True))
            axes = [None if panel is None else next(made) for panel in grid]
            for number, (axis, panel) in enumerate(zip(axes, grid)):
                if axis is not None and panel is not None:
                    _draw_histogram(axis, panel)
                    axis.set_ylabel("" if number % columns else self.ylabel)
            seen = [value for line in self.lines for panel in line for value in panel.density if value > 0]
            for axis in axes:
                if axis is not None:
                    axis.set_ylim(min(seen) / 3, 10 * max(seen))
                    log_ticks(axis.yaxis, 4)
                    break
            arrange(figure, axes, columns, Style(1.5, share_x=True, share_y=True, xlabel=self.xlabel))
            return svg_text(figure, self.title)


def _draw_histogram(axis: Any, panel: Histogram) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_yscale("log")
    centres, density = np.array(panel.centres, float), np.array(panel.density, float)
    some = density > 0
    dots = {"color": panel.colour, "markersize": 2.6, "markeredgewidth": 0}
    axis.plot(centres[some], density[some], "o", **dots, alpha=0.8, zorder=2)
    axis.plot(np.linspace(-panel.reach, panel.reach, len(panel.curve)), panel.curve, color=INK, linewidth=1.0, zorder=3)
    axis.set_xlim(-panel.reach, panel.reach)
    axis.text(0.5, 0.97, panel.note, transform=axis.transAxes, va="top", ha="center", fontsize=8.0, color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    axis.set_title(panel.title, loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
