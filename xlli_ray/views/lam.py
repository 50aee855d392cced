"""Maps of several networks for one window: a row each, with a zoom of the window and the DI, for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError
from xlli_ray.views.pixels import detail, to_image


class Window(Protocol):
    """A square in output pixels."""

    @property
    def top(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def size(self) -> int: ...


class Map(Protocol):
    """What is drawn for one network: `api.LamResult`."""

    @property
    def model(self) -> str: ...
    @property
    def window(self) -> Window: ...
    @property
    def input(self) -> NDArray[np.float32]:
        """(3, H, W) in 0..1."""
    @property
    def output(self) -> NDArray[np.float32]:
        """(C, sH, sW)."""
    @property
    def map(self) -> NDArray[np.float32]:
        """(H, W) in 0..1."""
    @property
    def area(self) -> NDArray[np.float64]:
        """(H, W) in 0..1."""
    @property
    def di(self) -> float: ...


def side_by_side(results: Sequence[Map]) -> Any:
    """A matplotlib figure, one row per network: output with the window, zoom, map over the grey input, contribution area.

    Raises XlliError if the results differ in input or window: their maps and DI would not be comparable.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    first = results[0]
    w = first.window
    for other in results[1:]:
        if other.window != w or other.input.shape != first.input.shape or not np.array_equal(other.input, first.input):
            raise XlliError(
                f"{other.model}: input or window differs from {first.model}'s; give `xlli_ray.lam` the same image and window"
            )
    height, width = first.input.shape[1:]
    figure = Figure(figsize=(12, len(results) * (3 * height / width + 0.35) + 0.4), layout="constrained")
    axes = figure.subplots(len(results), 4, squeeze=False)
    grey = np.tensordot([0.299, 0.587, 0.114], first.input, axes=1)
    for line, result in zip(axes, results):
        image = to_image(result.output)
        scale = image.shape[0] // height
        extent = (0, width * scale, height * scale, 0)
        line[0].imshow(image, extent=extent)
        line[0].set_title(result.model, fontsize=10, parse_math=False)
        line[1].imshow(detail(image, w.top, w.left, w.size), interpolation="nearest")
        line[1].set_title("its output around the window", fontsize=10)
        values = np.nan_to_num(result.map)
        _reds(line[2], grey, values, np.sqrt(values).clip(0, 1), extent)
        line[2].set_title(f"map: DI {result.di:.2f}", fontsize=10)
        _reds(line[3], grey, result.area, 0.75 * result.area, extent)
        line[3].set_title("contribution area", fontsize=10)
        for axis in (line[0], line[2], line[3]):
            axis.add_patch(Rectangle((w.left, w.top), w.size, w.size, fill=False, ec="#0072B2", lw=1.5))
        for axis in line:
            axis.set_axis_off()
    figure.suptitle(f"What they use for the window at row {w.top}, column {w.left}, size {w.size}", fontsize=11)
    return figure


def _reds(axis: Any, grey: NDArray[Any], values: NDArray[Any], alpha: NDArray[Any], extent: tuple[int, int, int, int]) -> None:
    axis.imshow(grey, extent=extent, cmap="gray", vmin=-0.6, vmax=1.6)
    axis.imshow(values, extent=extent, cmap="Reds", vmin=0, vmax=1, alpha=alpha, interpolation="nearest")
