"""Custom sections of the page: parts as data, returned by a function of a study.

A probe or an analysis may have one as a classmethod (`Showing`); or a line of `registry.SECTIONS`, or an entry point of the group
`xlli_ray.sections`, names a function for a kind. It is called when a page is written, reads only what `SectionContext` offers, and writes
nothing. Parts are shown in the order in which they are returned. None of them is HTML: texts are escaped, views are drawn here, pixels
become PNG files. Columns, arrays and tables are on the page without it; parts of a probe replace the images of its arrays.
`docs/extending.md` walks through one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.checks import EDGE
from xlli_ray.plots.image_panels import ImagePanels, Source
from xlli_ray.plots.palette import Look
from xlli_ray.plots.view import View
from xlli_ray.store.tables.results import Column
from xlli_ray.views.stored import is_image

if TYPE_CHECKING:
    from xlli_ray.corpus.sample import Loaded
    from xlli_ray.report.page_context import Context
    from xlli_ray.store.records.manifest import Cell
    from xlli_ray.study import Study, StudyResult

__all__ = ["Animation", "Column", "Drawing", "Image", "Images", "Part", "Rows", "SectionContext", "Showing", "Text"]


@dataclass(frozen=True)
class Text:
    """One paragraph; text between backticks is set as code."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"a paragraph is a text, got {self.text!r:.80}")


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption. Of image panels (`plots.image_panels`) the page reads the arrays that they name, and shows tiles."""

    view: View
    caption: str

    def __post_init__(self) -> None:
        if not isinstance(self.view, View) or not isinstance(self.caption, str):
            raise TypeError(f"a drawing is a view (xlli_ray.plots) with a caption, got {self.view!r:.80} and {self.caption!r:.80}")


@dataclass(frozen=True)
class Animation:
    """Image panels that follow each other in time: each row of the view is one moving image. Folded on the page until it is opened."""

    view: ImagePanels
    caption: str
    milliseconds: int = 400
    """Of one panel."""

    def __post_init__(self) -> None:
        if not isinstance(self.view, ImagePanels) or not isinstance(self.caption, str):
            raise TypeError(f"an animation is a view of image panels with a caption, got {self.view!r:.80} and {self.caption!r:.80}")
        if not 20 <= self.milliseconds <= 10_000:
            raise ValueError(f"a panel of an animation is seen for {self.milliseconds} ms, expected 20 to 10000")


@dataclass(frozen=True)
class Rows:
    """A table. `rows`: one mapping per row, by column names; missing values, None and NaN are shown as a dash."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    about: str = ""

    def __post_init__(self) -> None:
        known = {column.name for column in self.columns}
        if unknown := {name for row in self.rows for name in row} - known:
            raise ValueError(f"the table {self.title!r} has no column {sorted(unknown)[0]!r}")


@dataclass(frozen=True)
class Image:
    """One image with its caption."""

    pixels: NDArray[np.uint8]
    """(H, W, 3) or (H, W), at most EDGE per side: stored without loss, shown as wide as its column."""
    caption: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        shape, dtype = getattr(self.pixels, "shape", None), getattr(self.pixels, "dtype", None)
        if shape is None or dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ValueError(f"an image is uint8 (H, W, 3) or (H, W), got {dtype} {shape}")
        if max(shape) > EDGE:
            raise ValueError(f"an image is {shape[1]} × {shape[0]} pixels, expected at most {EDGE} a side: crop it, or make it smaller")


@dataclass(frozen=True)
class Images:
    """Rows of images under one heading; None leaves a place empty."""

    title: str
    lines: Sequence[tuple[str, Sequence[Image | None]]]
    """(heading of the row, its images)."""
    note: str = ""


Part = Text | Drawing | Animation | Rows | Images


@dataclass(frozen=True)
class SectionContext:
    """The input of a section: a study, read-only, and one of its stages."""

    page: Context
    """What all sections of the page share."""
    stage: str
    """The stage's id."""
    kind: str
    cells: Sequence[Cell]
    """For a probe: its cells, networks in the recipe's order. For an analysis: the cells that its result was made from."""
    result: StudyResult | None = None
    """For an analysis: its result."""

    @property
    def study(self) -> Study:
        """The study: `sql`, `array`, `manifest`, `result`, …"""
        return self.page.study

    @property
    def models(self) -> list[str]:
        """Networks of the stage, in the recipe's order."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    @property
    def labels(self) -> list[str]:
        """Degradation labels of the study, in its order."""
        return list(self.page.families)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of one statement over the study's tables; `values`: for its placeholders `?`."""
        return self.page.tables.rows(sql, values)

    def load(self, row: int) -> Loaded | str:
        """Input and target of the sample in that row of the sample table, or the reason why they cannot be shown."""
        return self.page.samples.load(row)

    def stored(self, source: Source) -> NDArray[Any] | None:
        """The complete row of the array named by a source; None if it is not stored or not valid."""
        return self.page.samples.read.stored(source)

    def output(self, row: int, model: str) -> Source | None:
        """The source of the restored image of that sample, from this stage or a `restore` stage; None if it is not stored."""
        sources = (Source(row, name, cell) for cell, name in self._outputs(model))
        return next((source for source in sources if self.stored(source) is not None), None)

    def stores_outputs(self, model: str) -> bool:
        """Whether a stage stores restored images of the network."""
        return bool(self._outputs(model))

    def _outputs(self, model: str) -> list[tuple[str, str]]:
        """(cell's id, array's name)"""
        own = [cell for cell in self.cells if cell.model == model]
        cells = [*own, *(cell for cell in self.study.manifest.cells if cell.kind == "restore" and cell.model == model)]
        arrays = ((cell.id, meta) for cell in cells for bucket in cell.buckets for meta in bucket.arrays)
        return list(dict.fromkeys((cell, meta.name) for cell, meta in arrays if is_image(meta)))

    def colour(self, label: str) -> str:
        """The colour of a degradation label in every figure."""
        return self.page.colour(label)

    def look(self, model: str) -> Look:
        """Colour, marker and line of a network in every figure."""
        return self.page.looks[model]


class Showing(Protocol):
    """Optional, for the class of a probe or analysis: the content of its section of the page."""

    @classmethod
    def section(cls, context: SectionContext) -> Iterable[Part]:
        """Parts, also by `yield`. Without any, the page is as without a section.

        After an error, further parts are missing, and the page reports the error.
        """
