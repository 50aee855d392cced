"""2-D embeddings of samples: a grid of panels, colours by group, a few thumbnails beside their points."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, svg_text
from xlli_ray.plots.checks import check_colours, check_length
from xlli_ray.plots.palette import INK, MUTED, RULE
from xlli_ray.plots.view import Png, View

MARGIN = 0.14
"""Share of a panel's side, at each end, reserved for thumbnails."""
_CORNERS = ((0.09, 0.91), (0.91, 0.91), (0.91, 0.09), (0.09, 0.09))


@dataclass(frozen=True)
class Group:
    """The points of one colour."""

    name: str
    colour: str

    def __post_init__(self) -> None:
        check_colours((self.colour,))


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail of a point's sample."""

    point: int
    png: Png


@dataclass(frozen=True)
class Cloud:
    """The points of one panel, as lists of equal length."""

    title: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    group: tuple[int, ...]
    """Indices into the figure's groups."""
    rows: tuple[int, ...]
    """Rows of the sample table."""
    thumbnails: tuple[Thumbnail, ...] = ()
    """At most four, one per corner."""
    square: bool = True
    """Equal scales on both axes."""

    def __post_init__(self) -> None:
        for name in ("y", "group", "rows"):
            check_length(name, getattr(self, name), len(self.x))
        if not self.x or not np.isfinite([self.x, self.y]).all():
            raise ValueError("expected at least one point, all finite")
        if len(self.thumbnails) > len(_CORNERS) or any(not 0 <= item.point < len(self.x) for item in self.thumbnails):
            raise ValueError("expected at most four thumbnails, each of a point of the panel")


@dataclass(frozen=True)
class Embedding(View):
    """`panels[line][column]`, None if there is none."""

    KIND: ClassVar[str] = "embedding"

    lines: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    panels: tuple[tuple[Cloud | None, ...], ...]

    def __post_init__(self) -> None:
        check_length("panels", self.panels, len(self.lines))
        for i, line in enumerate(self.panels):
            check_length(f"panels[{i}]", line, len(self.columns))
            for k, cloud in enumerate(line):
                if cloud is not None and any(not 0 <= code < len(self.groups) for code in cloud.group):
                    raise ValueError(f"panels[{i}][{k}].group is not an index of a group")
        if not self.lines or not self.columns:
            raise ValueError("a figure needs at least one panel")

    def draw(self) -> str:
        """See `View.draw`."""
        side = min(2.6, (WIDTH - 0.5) / len(self.columns))
        with canvas(side * len(self.columns) + 0.5, (side + 0.22) * len(self.lines) + 0.75) as figure:
            axes = figure.subplots(len(self.lines), len(self.columns), squeeze=False)
            for line, name in enumerate(self.lines):
                for place, head in enumerate(self.columns):
                    axis, cloud = axes[line, place], self.panels[line][place]
                    if cloud is None:
                        axis.set_visible(False)
                        continue
                    self._draw_cloud(axis, cloud, side)
                    axis.set_title(f"{head}\n{cloud.title}" if line == 0 else cloud.title, fontsize=7.5, color=INK, pad=3)
                    if place == 0:
                        axis.set_ylabel(name, fontsize=7.5, color=INK)
            marks = [axes.flat[0].plot([], [], "o", color=group.colour, markersize=5, label=group.name)[0] for group in self.groups]
            figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 8), frameon=False, fontsize=8)
            return svg_text(figure, self.title)

    def _draw_cloud(self, axis: Any, cloud: Cloud, side: float) -> None:
        points = np.array([cloud.x, cloud.y], float).T
        small = float(np.clip(22 * side / np.sqrt(len(points)), 2.0, 5.0))
        # drawn in an order independent of the labels, so that the last label does not hide the others
        order = np.argsort((np.arange(len(points)) * 0.618034) % 1)
        colours = [self.groups[cloud.group[i]].colour for i in order]
        axis.scatter(points[order, 0], points[order, 1], s=small**2, c=colours, alpha=0.85, linewidths=0.25, edgecolors="white", zorder=2)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for name in ("left", "right", "top", "bottom"):
            axis.spines[name].set_visible(True)
            axis.spines[name].set_color(RULE)
        low, high = points.min(axis=0), points.max(axis=0)
        size = np.full(2, float((high - low).max())) if cloud.square else high - low
        reach = np.maximum(size, 1e-12) * (0.54 if not cloud.thumbnails else 0.54 / (1 - 2 * MARGIN))
        middle = (low + high) / 2
        axis.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
        axis.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
        axis.set_box_aspect(1)
        self._draw_thumbnails(axis, cloud, points, side)

    def _draw_thumbnails(self, axis: Any, cloud: Cloud, points: np.ndarray, side: float) -> None:
        """Draw them in the corners, each connected to its point."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        corners = list(_CORNERS)
        for item in cloud.thumbnails:
            image, point = _pixels(item.png), points[item.point]
            where = axis.transLimits.transform(point)
            corner = min(corners, key=lambda c: (c[0] - where[0]) ** 2 + (c[1] - where[1]) ** 2)
            corners.remove(corner)
            colour = self.groups[cloud.group[item.point]].colour
            box = AnnotationBbox(
                OffsetImage(image, zoom=0.145 * side * 72 / max(image.shape[:2]), interpolation="nearest"), point, xybox=corner,
                xycoords="data", boxcoords="axes fraction", pad=0.12, bboxprops={"edgecolor": colour, "linewidth": 1.2},
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7},
            )  # fmt: skip
            box.set_zorder(3)
            axis.add_artist(box)


def _pixels(png: Png) -> np.ndarray:
    """uint8 (h, w, 3)."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))
