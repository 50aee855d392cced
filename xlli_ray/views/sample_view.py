"""One sample for display: `study.sample(id)`. Inputs and targets are recomputed from the corpus, outputs are read from the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded, sample_from_row, study_loader
from xlli_ray.errors import StudyError, XlliError, closest
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, Layer, PanelRow, Source
from xlli_ray.plots.panel_values import filled
from xlli_ray.plots.pixels import png_bytes, shrunk, to_image
from xlli_ray.store.archive import Archive
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.html import grid, panels_html
from xlli_ray.views.image_reader import ImageReader
from xlli_ray.views.stored import is_image, row_of

THUMB = 160
"""Longest side of a thumbnail, pixels."""


@dataclass(frozen=True, eq=False)
class SampleView:
    """A sample. `input`, `target` and their drawings raise SampleError or EnvironmentFailure if the corpus is missing or changed."""

    archive: Archive = field(repr=False)
    """Its study, with the records as of the creation of this view."""
    row: dict[str, Any] = field(repr=False)
    """Its row of the sample table."""

    def __repr__(self) -> str:
        return f"<sample {self.id}: {self.title}>"

    @property
    def id(self) -> str:
        return str(self.row["sample_id"])

    @property
    def source(self) -> str:
        """Path or URI of the image it comes from."""
        return str(self.row["source"])

    @property
    def title(self) -> str:
        """Source, position of a patch, degradation."""
        place = f" @{self.row['top']},{self.row['left']}" if self.row["top"] is not None else ""
        return f"{self.source}{place} · {self.row['label']}"

    @cached_property
    def _loaded(self) -> Loaded:
        return study_loader(self.archive.manifest.recipe.get("corpus", {})).load(sample_from_row(self.row))

    @property
    def input(self) -> NDArray[np.float32]:
        """(3, H, W), of a clip (T, 3, H, W), in 0..1: the input of the networks."""
        return self._loaded.input

    @property
    def target(self) -> NDArray[np.float32] | None:
        """(3, sH, sW), of a clip (T, 3, sH, sW), in 0..1; None if there is none."""
        return self._loaded.target

    @property
    def thumbnail(self) -> bytes:
        """The input as a PNG file of at most THUMB pixels a side."""
        return png_bytes(shrunk(to_image(self.input), THUMB))

    @property
    def models(self) -> list[str]:
        """Networks whose outputs are stored and valid for this sample, in the study's order."""
        return [model.id for model in self.archive.manifest.models if row_of(self._readers(model.id), self.row["row"]) is not None]

    def output(self, model: str) -> NDArray[np.uint8]:
        """(C, sH, sW), of a clip (T, C, sH, sW), 8 bit, as the stage `restore: {save: true}` stored it.

        Raises StudyError for an unknown network, if nothing is stored, and if this sample failed.
        """
        known = [entry.id for entry in self.archive.manifest.models]
        if model not in known:
            raise StudyError(f"no model {model!r} in this study; nearest: {', '.join(closest(model, known) or known)}")
        readers = self._readers(model)
        if not readers:
            raise StudyError(f"no outputs of {model} are stored; add `restore: {{save: true}}` for it to the recipe and run it again")
        values = row_of(readers, self.row["row"])
        if values is None:
            raise StudyError(
                f"sample {self.id} has no valid output of {model}: its stage does not cover it, is not done yet (`xlli run` continues), or "
                "it failed (`study.failures` has the reason)"
            )
        return values

    def _place(self, model: str) -> tuple[str, str]:
        """(cell, array) of the output of a network that has one."""
        return next((r.cell.id, r.meta.name) for r in self._readers(model) if row_of([r], self.row["row"]) is not None)

    def _readers(self, model: str) -> list[Reader]:
        cells = [cell for cell in self.archive.manifest.cells if cell.kind == "restore" and cell.model == model]
        return [reader for cell in cells for reader in open_readers(self.archive.records, cell) if is_image(reader.meta)]

    def scale(self, models: Sequence[str]) -> int:
        """Output pixels per input pixel: of the target, else of the first of the outputs; 1 without either."""
        shown = self.target if self.target is not None else next((self.output(model) for model in models), self.input)
        return max(1, round(shown.shape[-2] / self.input.shape[-2]))

    def panels(self, models: Sequence[str]) -> ImagePanels:
        """Input, target and the outputs of `models` side by side, where they lie; `filled` reads them.

        Raises as `output` and `input` do.
        """
        number, scale = self.row["row"], self.scale(models)
        shown = [(f"input, enlarged ×{scale}" if scale > 1 else "input", Source(number, "input"), _size(self.input))]
        if self.target is not None:
            shown.append(("target", Source(number, "target"), _size(self.target)))
        for model in models:
            size = _size(self.output(model))
            cell, name = self._place(model)
            shown.append((model, Source(number, name, cell), size))
        images = [ImagePanel(caption, (Layer(source),), size, enlarged=True) for caption, source, size in shown]
        return ImagePanels(self.title, (PanelRow(self.title, tuple(images)),))

    def filled(self, view: ImagePanels) -> ImagePanels:
        """The view with its pixels. Raises StudyError where some cannot be read."""
        read = ImageReader(self.archive, lambda row: self._loaded, lambda row: self.row)
        drawn, reasons = filled(view, read)
        if reasons:
            raise StudyError(f"sample {self.id}: {reasons[0]}")
        return drawn

    def _repr_html_(self) -> str:
        try:
            return panels_html(self.filled(self.panels(self.models)))
        except (XlliError, OSError) as error:
            return grid(f"{self.title}: cannot be shown: {error}", [])


def _size(planes: NDArray[Any]) -> str:
    """Size of the image: `86×64`, for a clip `86×64, frame 3 of 0…6`."""
    text = f"{planes.shape[-1]}×{planes.shape[-2]}"
    return f"{text}, frame {len(planes) // 2} of 0…{len(planes) - 1}" if planes.ndim == 4 else text
