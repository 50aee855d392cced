"""Small matrices of pairs, one per panel, with one logarithmic colour scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, svg_text
from xlli_ray.plots.checks import check_colours, check_length, check_range
from xlli_ray.plots.heat import check_grid
from xlli_ray.plots.palette import INK, MUTED, RULE
from xlli_ray.plots.view import View


@dataclass(frozen=True)
class Matrix:
    """The lower triangle: `values[i][k]`, > 0, is for the names i + 1 and k; NaN: none."""

    title: str
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if any(value <= 0 for line in self.values for value in line):
            raise ValueError("values on a logarithmic scale must be above 0")


@dataclass(frozen=True)
class Matrices(View):
    """See the module docstring. `columns`: maximum number of panels per line."""

    KIND: ClassVar[str] = "matrices"

    names: tuple[str, ...]
    colours: tuple[str, ...]
    """One colour per name."""
    panels: tuple[Matrix, ...]
    columns: int = 4

    def __post_init__(self) -> None:
        check_colours(self.colours)
        check_length("colours", self.colours, len(self.names))
        check_range("columns", self.columns, 1, 20)
        if not self.panels or len(self.names) < 2:
            raise ValueError("a figure of pairs needs at least two names and a panel")
        for i, panel in enumerate(self.panels):
            check_grid(f"panels[{i}].values", panel.values, len(self.names) - 1, len(self.names) - 1)
        if not any(np.isfinite(value) for panel in self.panels for line in panel.values for value in line):
            raise ValueError("a figure of pairs needs at least one value")

    def draw(self) -> str:
        """See `View.draw`."""
        names, shown = self.names, self.panels
        count = min(self.columns, len(shown))
        lines = -(-len(shown) // count)
        side = min(2.55, max(1.6, 0.42 * len(names) + 0.9))
        grids = [np.log10(np.array(panel.values, float)) for panel in shown]
        low, high = float(np.nanmin(grids)), float(np.nanmax(grids))
        with canvas(min(WIDTH, side * count + 0.9), side * lines + 0.6) as figure:
            axes = figure.subplots(lines, count, squeeze=False, sharex=True, sharey=True)
            mesh: Any = None
            for number, axis in enumerate(axes.flat):
                if number >= len(shown):
                    axis.set_visible(False)
                    continue
                edges = np.arange(len(names)) - 0.5
                mesh = axis.pcolormesh(edges, edges, np.ma.masked_invalid(grids[number]), cmap="cividis", vmin=low, vmax=high,
                                       edgecolors="white", linewidth=0.6)  # fmt: skip
                self._write(axis, grids[number], low, high)
                axis.set_ylim(len(names) - 1.5, -0.5)
                axis.set_aspect("equal")
                axis.grid(False)
                axis.spines["bottom"].set_visible(False)
                axis.set_title(shown[number].title, color=INK, fontsize=8, pad=4)
                axis.set_xticks(range(len(names) - 1), list(names[:-1]), rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
                axis.set_yticks(range(len(names) - 1), list(names[1:]), fontsize=7.5)
                axis.tick_params(labelbottom=True, labelleft=number % count == 0)
                for ticks, colours in ((axis.get_xticklabels(), self.colours[:-1]), (axis.get_yticklabels(), self.colours[1:])):
                    for tick, colour in zip(ticks, colours):
                        tick.set_color(colour)
            bar = figure.colorbar(mesh, ax=axes, shrink=0.6, pad=0.02, format=lambda value, _: _short(value))
            bar.outline.set_edgecolor(RULE)
            bar.ax.tick_params(labelsize=7.5, colors=MUTED)
            return svg_text(figure, self.title)

    def _write(self, axis: Any, grid: np.ndarray, low: float, high: float) -> None:
        small = 7 if len(self.names) <= 8 else 5
        for (i, k), value in np.ndenumerate(grid):
            if np.isfinite(value):
                dark = (value - low) / ((high - low) or 1) < 0.55
                text = {"ha": "center", "va": "center", "fontsize": small, "color": "white" if dark else INK}
                axis.text(k, i, _short(value), in_layout=False, **text)


def _short(log: float) -> str:
    """10**log with two digits, or with one and an exponent if it is small."""
    if log < -2:
        return f"{10**log:.0e}".replace("e-0", "e−")
    return f"{float(f'{10**log:.2g}'):g}"
