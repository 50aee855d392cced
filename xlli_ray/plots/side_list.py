"""A list to the right of a figure's panels, from its top: names, each with its line and marker where it is a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlli_ray.plots.canvas import POINTS
from xlli_ray.plots.panel_grid import LABEL
from xlli_ray.plots.text_size import text_width

_LINE, _TOP = 0.19, 0.12
"""Distance of two names, and of the first from the figure's upper edge, inches."""
_SAMPLE, _GAP, _FREE = 0.31, 0.09, 0.2
"""Length of a line, its distance from the name, and that of the list from the panels, inches."""


def size_of(names: Sequence[str], *, samples: bool) -> tuple[float, float]:
    """Width and height in inches of a list of these names, for `panel_grid.Style.beside`."""
    widest = max((text_width(name, LABEL) for name in names), default=0.0) / POINTS
    return _FREE + (_SAMPLE + _GAP if samples else 0.0) + widest + 0.05, _TOP + _LINE * len(names)


def write_list(figure: Any, names: Sequence[str], samples: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the names into the room that `size_of` says. `samples`: how matplotlib draws the line of each; none: names only."""
    from matplotlib.lines import Line2D

    width, height = (float(value) for value in figure.get_size_inches())
    left = width - size_of(names, samples=bool(samples))[0] + _FREE
    start = left + (_SAMPLE + _GAP if samples else 0.0)
    for i, name in enumerate(names):
        y = height - _TOP - _LINE * i
        if samples:
            x = [left, left + _SAMPLE / 2, left + _SAMPLE]
            figure.add_artist(Line2D(x, [y] * 3, **samples[i], markevery=[1], transform=figure.dpi_scale_trans))
        figure.text(start / width, (y - 0.3 * LABEL / POINTS) / height, name, fontsize=LABEL)
