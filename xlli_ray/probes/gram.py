"""Gram: the inner products of one layer's features over a complete set, for statistics that need nothing else.

    G[i, j] = ⟨f_i − c, f_j − c⟩        i, j: the samples of one degradation, in content order; c: the first sample of the set

SRGA's principal components, and every other statistic of the samples' geometry, follow from this N × N matrix (`xlli_ray.stats.gram`). The
features of 800 patches with a million values each take 3.4 GB, their Gram matrix 5 MB. So a set is one unit of work: its features are kept
in memory or in a scratch file while its batches are measured, and only the matrix is stored. Row i of the array `gram` is row i of G; the
sets of a corpus follow one another along the sample axis, as in the sample table.

A sample that fails has no row, and its column in the other rows is NaN. Storing the features themselves (stage `features`, float32) gives
the same matrix and keeps them for inspection, in some hundred times more bytes.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.errors import EnvironmentFailure, PlanError
from xlli_ray.probes import features
from xlli_ray.probes.measurement import ArrayPlan, Batch, Forward, Measurement, Shapes
from xlli_ray.probes.probe import Probe
from xlli_ray.stats.gram import blocks, product

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.layers import Tap
    from xlli_ray.models.model import Model

MEMORY = 1 << 30
"""A set of more bytes than this is kept in a scratch file, not in memory."""


class Params(BaseModel):
    """Fields of a `gram` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    layers: list[str] = Field(min_length=1, description="patterns of module names, optionally with `:input` or `:output`")


class Gram(Probe):
    """The Gram matrix of each set. Writes array `gram`: float64 (sample, other), both in content order."""

    KIND: ClassVar[str] = "gram"
    FLOAT64: ClassVar[bool] = True
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Liu et al., SRGA, TPAMI 2023 (use); Sirovich, 1987 (principal components by the snapshot method)"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        # the layer is read, cropped and checked exactly as in the features stage
        self._features = features.Features(features.Params(layers=params.layers, dtype="float32"), spec)
        self.tap, self.what = self._features.tap, self._features.what

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        assert isinstance(params, Params)
        return features.Features.cells(features.Params(layers=params.layers), model, example)

    def identity(self) -> dict[str, Any]:
        return {"tap": self.what, "features version": features.Features.VERSION}

    def taps(self) -> tuple[Tap, ...]:
        return self._features.taps()

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        if shapes.together < 1:
            raise PlanError("gram: the number of samples of a set is not known")
        (stored,) = self._features.arrays(shapes)
        about = {**stored.attributes, "features": list(stored.shape), "about": "inner products within the set of a degradation"}
        return (ArrayPlan("gram", (shapes.together,), "float64", ("other",), "blosc", None, about, gaps=True),)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        return self._features.measure(model, batch, forward)

    def held_bytes(self, shapes: Shapes) -> int:
        (stored,) = self._features.arrays(shapes)
        return shapes.together * int(np.prod(stored.shape, dtype=np.int64)) * 4

    def gather(self, samples: int, device: str) -> Gathered:
        return Gathered(samples, device)


class Gathered:
    """The features of one set, collected sample by sample."""

    def __init__(self, samples: int, device: str = "cpu", *, memory: int = MEMORY, folder: str | None = None) -> None:
        self._samples, self._device, self._memory = samples, device, memory
        self._folder = Path(folder or tempfile.gettempdir())
        self._values: np.ndarray | None = None
        self._file: Any = None
        self._width = 0

    def add(self, position: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the features of the sample at `position`, any shape, float32. Raises EnvironmentFailure if the disk is full."""
        row = np.ascontiguousarray(arrays["features"], dtype=np.float32).ravel()
        if not self._width:
            self._begin(len(row))
        if len(row) != self._width:
            raise ValueError(f"{len(row)} features, expected {self._width} as for the other samples of the set")
        if self._values is not None:
            self._values[position] = row
            return
        with self._disk():
            os.pwrite(self._file.fileno(), row.tobytes(), position * row.nbytes)

    def _begin(self, width: int) -> None:
        self._width = width
        if self._samples * width * 4 <= self._memory:
            self._values = np.zeros((self._samples, width), np.float32)
            return
        with self._disk():
            # anonymous: nothing is left of it, whatever happens to this process
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._file.truncate(self._samples * width * 4)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turns errors of the scratch file into one with advice."""
        try:
            yield
        except OSError as error:
            why = "no space left" if error.errno == errno.ENOSPC else str(error)
            raise EnvironmentFailure(
                error.errno or errno.EIO,
                f"{self._folder}: no space for the features of a set, {self._samples} × {self._width} × 4 bytes = "
                f"{self._samples * self._width * 4 / 1e9:.1f} GB ({why}). Set TMPDIR to a larger local disk, or use fewer patches; "
                "finished work is kept, run the same command again",
            ) from error

    def conclude(self, ok: np.ndarray) -> Mapping[str, np.ndarray]:
        """`gram`: float64 (samples, samples); rows and columns of samples that are not `ok` are NaN."""
        out = np.full((self._samples, self._samples), np.nan)
        good = np.flatnonzero(ok)
        if not len(good):
            return {"gram": out}
        values = self._values
        if self._file is not None:
            values = np.memmap(self._file, np.float32, "r", shape=(self._samples, self._width))
        assert values is not None
        total = np.zeros((len(good), len(good)))
        for start, stop in blocks(self._width):
            part = values[:, start:stop] if len(good) == self._samples else values[good, start:stop]
            total += product(part) if self._device == "cpu" else product_on(part, self._device)
        out[np.ix_(good, good)] = total
        return {"gram": out}

    def close(self) -> None:
        """Release memory and file."""
        self._values = None
        if self._file is not None:
            self._file.close()
            self._file = None


def product_on(part: np.ndarray, device: str) -> np.ndarray:
    """`stats.gram.product` on a torch device: float32 (N, d) → float64 (N, N), no reduced precision."""
    import torch

    data = torch.from_numpy(np.ascontiguousarray(part)).to(device)
    shifted = data - data[:1]
    return (shifted @ shifted.T).double().cpu().numpy()
