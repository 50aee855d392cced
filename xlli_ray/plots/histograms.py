"""Histograms with fitted curves, on a logarithmic density axis: rows of panels with common axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, svg_text
from xlli_ray.plots.checks import check_colours, check_length
from xlli_ray.plots.palette import INK, MUTED
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
        with canvas(min(WIDTH, 2.6 * columns + 0.5), 1.95 * len(self.lines) + 0.3) as figure:
            axes = figure.subplots(len(self.lines), columns, squeeze=False, sharex=True, sharey=True)
            for line, mine in zip(axes, self.lines):
                for axis in line[len(mine) :]:
                    axis.set_visible(False)
                for axis, panel in zip(line, mine):
                    _draw_histogram(axis, panel)
                line[0].set_ylabel(self.ylabel)
            seen = [value for line in self.lines for panel in line for value in panel.density if value > 0]
            axes[0, 0].set_ylim(min(seen) / 3, 10 * max(seen))
            log_ticks(axes[0, 0].yaxis, 4)
            figure.supxlabel(self.xlabel, fontsize=8.5, color=MUTED)
            return svg_text(figure, self.title)


def _draw_histogram(axis: Any, panel: Histogram) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_yscale("log")
    axis.grid(True, axis="both")
    axis.spines["left"].set_visible(True)
    centres, density = np.array(panel.centres, float), np.array(panel.density, float)
    some = density > 0
    dots = {"color": panel.colour, "markersize": 2.6, "markeredgewidth": 0}
    axis.plot(centres[some], density[some], "o", **dots, alpha=0.8, zorder=2)
    axis.plot(np.linspace(-panel.reach, panel.reach, len(panel.curve)), panel.curve, color=INK, linewidth=1.0, zorder=3)
    axis.set_xlim(-panel.reach, panel.reach)
    axis.text(0.5, 0.97, panel.note, transform=axis.transAxes, va="top", ha="center", fontsize=8.0, color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    axis.set_title(panel.title, color=INK, fontweight="bold", pad=5)
    axis.tick_params(labelsize=7.5)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
