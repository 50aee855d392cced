"""A heat map: coloured cells, with numbers if they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import canvas, svg_text
from xlli_ray.plots.checks import check_colours, check_length, check_range
from xlli_ray.plots.palette import INK, MUTED
from xlli_ray.plots.view import View

WRITTEN = 400
"""Number of cells above which no numbers are written."""


@dataclass(frozen=True)
class Heat(View):
    """`values[row][column]`; NaN is white."""

    KIND: ClassVar[str] = "heat"

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    colours: tuple[str, ...] = ()
    """Rotation of the column names."""
    diverging: bool = False
    """Diverging colours, centred at 0."""
    digits: int = 2
    """Number of decimals."""
    brackets: tuple[tuple[bool, ...], ...] = ()
    """Like `values`: which numbers are unreliable."""

    def __post_init__(self) -> None:
        check_colours(self.colours)
        check_length("colours", self.colours, len(self.columns), optional=True)
        check_range("digits", self.digits, 0, 9)
        check_grid("values", self.values, len(self.rows), len(self.columns))
        if self.brackets:
            check_grid("brackets", self.brackets, len(self.rows), len(self.columns))

    def draw(self) -> str:
        """See `View.draw`."""
        rows, columns, values, digits = self.rows, self.columns, np.array(self.values, float), self.digits
        written = values.size <= WRITTEN
        cell_width = (0.16 + 0.075 * (digits + 4 + bool(self.brackets))) if written else 0.22
        left = 0.3 + 0.072 * min(max(map(len, rows)), 40)
        below = 0.25 + 0.065 * min(max(map(len, columns)), 40)
        size = (left + max(2.5, cell_width * len(columns)) + 0.9, 0.5 + 0.24 * len(rows) + below)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if self.diverging:
            high = max(abs(low), abs(high)) or 1.0
            low = -high
        with canvas(*size) as figure:
            axis = figure.subplots()
            # pcolormesh, not imshow: vectors, and no image inside the SVG
            edges = (np.arange(values.shape[1] + 1) - 0.5, np.arange(values.shape[0] + 1) - 0.5)
            mesh = axis.pcolormesh(
                *edges, np.ma.masked_invalid(values), cmap="RdBu_r" if self.diverging else "cividis", vmin=low, vmax=high,
                edgecolors="white", linewidth=0.6,
            )  # fmt: skip
            if written:
                self._write(axis, values, low, high)
            axis.set_yticks(range(len(rows)), list(rows))
            axis.set_xticks(range(len(columns)), list(columns), rotation=60, ha="right", rotation_mode="anchor")
            for tick, colour in zip(axis.get_xticklabels(), self.colours):
                tick.set_color(colour)
            axis.set_ylim(len(rows) - 0.5, -0.5)
            axis.grid(False)
            axis.spines["bottom"].set_visible(False)
            bar = figure.colorbar(mesh, ax=axis, shrink=min(1.0, 2.2 / size[1] + 0.3), pad=0.02)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=7.5, colors=MUTED)
            return svg_text(figure, self.title)

    def _write(self, axis: Any, values: np.ndarray, low: float, high: float) -> None:
        for (i, k), value in np.ndenumerate(values):
            if np.isfinite(value):
                shade = (value - low) / ((high - low) or 1.0)
                dark = abs(shade - 0.5) > 0.34 if self.diverging else shade < 0.55
                text = f"{value:+.{self.digits}f}".replace("-", "−") if self.diverging else f"{value:.{self.digits}f}"
                text = f"({text})" if self.brackets and self.brackets[i][k] else text
                axis.text(k, i, text, ha="center", va="center", fontsize=7, color="white" if dark else INK, in_layout=False)


def check_grid(field: str, grid: tuple[tuple[object, ...], ...], rows: int, columns: int) -> None:
    """Raise ValueError unless `grid` has this many rows of this many columns, at least one of each."""
    if not rows or not columns:
        raise ValueError("a heat map needs at least one row and one column")
    check_length(field, grid, rows)
    for i, line in enumerate(grid):
        check_length(f"{field}[{i}]", line, columns)


def grid_of(values: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A float array (rows, columns) as the field `values`."""
    return tuple(map(tuple, np.asarray(values, float).tolist()))


def brackets_of(values: np.ndarray) -> tuple[tuple[bool, ...], ...]:
    """A bool array (rows, columns) as the field `brackets`."""
    return tuple(map(tuple, np.asarray(values, bool).tolist()))
