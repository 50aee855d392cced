"""Gram: the inner products of one layer's features over a complete set, for statistics that need nothing else.

    G[i, j] = ⟨f_i − c, f_j − c⟩        i, j: the samples of one degradation, in content order; c: the first sample of the set

SRGA's principal components, and every other statistic of the samples' geometry, follow from this N × N matrix (`xlli_ray.stats.gram`). The
features of 800 patches with a million values each take 3.4 GB, their Gram matrix 5 MB. So a set is one unit of work: its features are kept
on the GPU, in memory or in a scratch file (`set_features`) while its batches are measured, and only the matrix is stored. Row i of the
array `gram` is row i of G; the sets of a corpus follow one another along the sample axis, as in the sample table.

A sample that fails has no row, and its column in the other rows is NaN. Storing the features themselves (stage `features`, float32) gives
the same matrix and keeps them for inspection, in some hundred times more bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.errors import PlanError
from xlli_ray.probes import features
from xlli_ray.probes.measurement import ArrayPlan, Batch, Forward, Launched, Measurement, Shapes, at_once
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.set_features import Gathered

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.model import Model
    from xlli_ray.models.tap import Tap

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
        return at_once(self, model, batch, forward)

    def launch(self, model: Model, batch: Batch, forward: Forward | None) -> Launched:
        """See `probes.measurement.Staged`: features of a GPU stay there."""
        launched = self._features.launch(model, batch, forward)
        features = launched.read["features"]
        if not features.is_cuda:
            return launched
        return Launched({name: launched.read[name] for name in ("low", "high")}, {"features": features})

    def conclude(self, model: Model, batch: Batch, results: Mapping[str, Any]) -> Measurement:
        """See `probes.measurement.Staged`."""
        return self._features.conclude(model, batch, results)

    def held_bytes(self, shapes: Shapes) -> int:
        (stored,) = self._features.arrays(shapes)
        return shapes.together * int(np.prod(stored.shape, dtype=np.int64)) * 4

    def gather(self, samples: int, device: str) -> Gathered:
        return Gathered(samples, device)
