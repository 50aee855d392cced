"""Samples next to the outputs of networks, with a zoom: `study.show`. HTML in a notebook, a PNG of the same tiles by `save`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from xlli_ray.errors import StudyError, counted
from xlli_ray.views.html import grid, picture
from xlli_ray.views.pixels import SIDE, Pixels, boxed, detail, enlarged, to_image
from xlli_ray.views.sample_view import SampleView

INCHES = 2.0
"""Width of a tile in a saved file."""


@dataclass(frozen=True)
class Shown:
    """One image with its caption, uint8 (H, W, 3); `zoom` is its enlarged window, None without a window."""

    caption: str
    picture: Pixels
    zoom: Pixels | None


@dataclass(frozen=True)
class Comparison:
    """One row per sample: input, target, outputs."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]

    def __repr__(self) -> str:
        return f"<{counted(len(self.rows), 'sample')} side by side; .save(path) writes a PNG>"

    def _repr_html_(self) -> str:
        parts = []
        for title, row in zip(self.titles, self.rows):
            lines = [[picture(tile.picture, tile.caption) for tile in row]]
            if any(tile.zoom is not None for tile in row):
                lines.append([picture(tile.zoom, "the window") if tile.zoom is not None else "" for tile in row])
            parts.append(grid(title, lines))
        return "".join(parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG file. Raises StudyError if it cannot be written."""
        from xlli_ray.plots.canvas import canvas

        zoomed = any(tile.zoom is not None for row in self.rows for tile in row)
        columns, lines = max(map(len, self.rows)), 1 + zoomed
        with canvas(INCHES * columns, sum(_height(row) for row in self.rows)) as figure:
            parts = figure.subfigures(len(self.rows), 1, squeeze=False, height_ratios=[_height(row) for row in self.rows])
            for part, title, row in zip(parts[:, 0], self.titles, self.rows):
                part.suptitle(title, fontsize=8, x=0.01, ha="left")
                axes = part.subplots(lines, columns, squeeze=False)
                for axis in axes.flat:
                    axis.set_axis_off()
                for k, tile in enumerate(row):
                    axes[0, k].imshow(tile.picture, interpolation="nearest")
                    axes[0, k].set_title(tile.caption, fontsize=8)
                    if tile.zoom is not None:
                        axes[1, k].imshow(tile.zoom, interpolation="nearest")
            try:
                figure.savefig(path, format="png", dpi=160)
            except OSError as error:
                raise StudyError(f"{os.fspath(path)}: cannot be written ({error.strerror or error}); name another place") from error


def compare(samples: Sequence[SampleView], models: Sequence[str] | None, window: tuple[int, int, int] | None) -> Comparison:
    """The comparison of some samples; see `Study.show`."""
    if not samples:
        raise StudyError("nothing to show: name at least one sample id")
    if isinstance(models, str):
        models = [models]
    rows = tuple(_row(sample, sample.models if models is None else models, window) for sample in samples)
    return Comparison(tuple(sample.title for sample in samples), rows)


def _row(sample: SampleView, models: Sequence[str], window: tuple[int, int, int] | None) -> tuple[Shown, ...]:
    """All images at the size of the output: the input is enlarged by repeating its pixels."""
    outputs = [(model, to_image(sample.output(model))) for model in models]
    target = [] if sample.target is None else [("target", to_image(sample.target))]
    given = to_image(sample.input)
    after = [*target, *outputs]
    scale = max(1, round(after[0][1].shape[0] / given.shape[0])) if after else 1
    large = given.repeat(scale, axis=0).repeat(scale, axis=1)
    caption = f"input, enlarged ×{scale}" if scale > 1 else "input"
    return tuple(_shown(name, image, window, sample.id) for name, image in [(caption, large), *after])


def _shown(caption: str, image: Pixels, window: tuple[int, int, int] | None, sample: str) -> Shown:
    if window is None:
        return Shown(caption, enlarged(image, SIDE), None)
    top, left, size = window
    height, width = image.shape[:2]
    if size < 1 or min(top, left) < 0 or top + size > height or left + size > width:
        raise StudyError(
            f"window {window} (top, left, size in output pixels) leaves sample {sample}, whose {caption} is {width} wide, {height} high"
        )
    return Shown(caption, boxed(image, top, left, size), detail(image, top, left, size))


def _height(row: Sequence[Shown]) -> float:
    """Inches of one row: images, zooms, captions."""
    whole = max(tile.picture.shape[0] / tile.picture.shape[1] for tile in row)
    return INCHES * (whole + any(tile.zoom is not None for tile in row)) + 0.6
