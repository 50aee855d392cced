"""Gram: the inner products of one layer's features over a whole set, for statistics that need nothing else of them.

    G[i, j] = ⟨f_i − c, f_j − c⟩        i, j: the samples of one degradation, in content order; c: the first sample of the set

SRGA's principal components, and every other statistic of the samples' geometry, follow from this N × N matrix
(`xlli_ray.stats.gram`). A set of 800 patches with a million features each is 3.4 GB as features and 5 MB as a Gram matrix: so a set is one
unit of work, its features wait in memory or in a scratch file while the batches pass by, and only the matrix is stored. Row i of the array
`gram` is row i of G; the sets of a corpus follow one another along the sample axis, as in the sample table.

A sample that fails has no row, and NaN as its column in the others. Storing the features themselves (stage `features`, float32) gives the
same matrix, and lets one look at them; the bytes are some hundred times more.
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
"""A set of more bytes than this waits in a scratch file, not in memory."""


class Params(BaseModel):
    """Fields of a `gram` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    layers: list[str] = Field(min_length=1, description="patterns over module names, `:input` or `:output` at the end")


class Gram(Probe):
    """The Gram matrix of each set. Writes array `gram`: float64 (sample, other), both in content order."""

    KIND: ClassVar[str] = "gram"
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Liu et al., SRGA, TPAMI 2023 (what it is for); Sirovich, 1987 (principal components by snapshots)"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        # the layer is read, cut and checked exactly as where features are stored
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
            raise PlanError("gram: how many samples a set has is not known")
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
    """The features of one set, by sample, until all are there."""

    def __init__(self, samples: int, device: str = "cpu", *, memory: int = MEMORY, folder: str | None = None) -> None:
        self._samples, self._device, self._memory = samples, device, memory
        self._folder = Path(folder or tempfile.gettempdir())
        self._values: np.ndarray | None = None
        self._file: Any = None
        self._width = 0

    def add(self, position: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the features of the sample at `position`, any shape, float32. Raises EnvironmentFailure when the disk is full."""
        row = np.ascontiguousarray(arrays["features"], dtype=np.float32).ravel()
        if not self._width:
            self._begin(len(row))
        if len(row) != self._width:
            raise ValueError(f"{len(row)} features where the set has {self._width}")
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
            # without a name: whatever happens to this process, nothing of it is left
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._file.truncate(self._samples * width * 4)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Errors of the scratch file, as one that says what to do."""
        try:
            yield
        except OSError as error:
            why = "no space left" if error.errno == errno.ENOSPC else str(error)
            raise EnvironmentFailure(
                error.errno or errno.EIO,
                f"{self._folder}: no room for the features of a set, {self._samples} × {self._width} × 4 bytes = "
                f"{self._samples * self._width * 4 / 1e9:.1f} GB ({why}). Set TMPDIR to a larger local disk, or use fewer patches; "
                "what is done is kept, run the same command again",
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
        """Give memory and file back."""
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
