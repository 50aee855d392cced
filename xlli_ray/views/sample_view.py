"""One sample for display: `study.sample(id)`. Inputs and targets are recomputed from the corpus, outputs are read from the study."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded, sample_from_row, study_loader
from xlli_ray.errors import StudyError, closest
from xlli_ray.store.archive import Archive
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.html import grid, picture
from xlli_ray.views.pixels import SIDE, enlarged, png_bytes, shrunk, to_image
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

    def _readers(self, model: str) -> list[Reader]:
        cells = [cell for cell in self.archive.manifest.cells if cell.kind == "restore" and cell.model == model]
        return [reader for cell in cells for reader in open_readers(self.archive.records, cell) if is_image(reader.meta)]

    def _repr_html_(self) -> str:
        from xlli_ray.errors import XlliError

        cells = []
        try:
            cells.append(picture(enlarged(to_image(self.input), SIDE), f"input, {_size(self.input)}"))
            if self.target is not None:
                cells.append(picture(enlarged(to_image(self.target), SIDE), f"target, {_size(self.target)}"))
        except (XlliError, OSError) as error:
            return grid(f"{self.title}: cannot be shown: {error}", [])
        cells += [picture(enlarged(to_image(self.output(model)), SIDE), model) for model in self.models]
        return grid(self.title, [cells])


def _size(planes: NDArray[np.float32]) -> str:
    """Size of the drawn image: `86×64`, for a clip `86×64, frame 3 of 0…6`."""
    text = f"{planes.shape[-1]}×{planes.shape[-2]}"
    return f"{text}, frame {len(planes) // 2} of 0…{len(planes) - 1}" if planes.ndim == 4 else text
