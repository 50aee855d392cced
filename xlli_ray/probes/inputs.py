"""Inputs: the sha256 of what a network is given, sample by sample: the manifest of an evaluation set.

A set that is made (blurred, downscaled, with noise) is reproduced when its pixels are, not when its recipe is. The hash is of the values in
the usual order of an image in memory: rows, columns, RGB, one byte each. So for `clean.png`, an input saved elsewhere, it is
`sha256(numpy.asarray(PIL.Image.open("clean.png").convert("RGB")).tobytes())`. Everything that is made here has 8 bits. Values that 8 bits
cannot hold (a given file of 16) are hashed as two bytes each, the lower one first, and others as float32; `bits` says so.

No network runs, and the numbers are the same for every model: one is enough (`inputs: {models: [net]}`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from xlli_ray.probes.protocol import ArrayPlan, Batch, Column, Forward, Measurement, Shapes

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.layers import Tap
    from xlli_ray.models.model import Model


class Params(BaseModel):
    """Fields of an `inputs` stage: none but `id` and `models`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Inputs:
    """One hash per sample. Writes table `inputs`."""

    KIND: ClassVar[str] = "inputs"
    VERSION: ClassVar[int] = 1
    SHARES_FORWARD: ClassVar[bool] = False  # a network may change its input in place: look at one that no network has seen
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("input_sha256", "string", "sha256 of the input's values: rows, columns, RGB; 64 hex digits", place=True),
        Column("bits", "int64", "bits of a value as it is hashed: 8, 16, or 32 for float32", place=True),
    )
    REFERENCE: ClassVar[str] = "SHA-256: NIST FIPS 180-4, 2015"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        self.params = params
        self.what = "inputs"
        self.cost = 1e-6  # of a forward pass: reading is all there is
        self.max_rows: int | None = None
        self.companions: tuple[str, ...] = ()

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        return [{}]

    def identity(self) -> dict[str, Any]:
        return {}

    def taps(self) -> tuple[Tap, ...]:
        return ()

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        return ()

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        return None

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        pixels = batch.input.cpu().numpy()
        found = [input_sha256(image) if ok else ("", 8) for image, ok in zip(pixels, batch.ok)]
        return Measurement({}, {"input_sha256": [sha for sha, _ in found], "bits": [bits for _, bits in found]})


def input_sha256(planes: NDArray[np.float32]) -> tuple[str, int]:
    """(64 hex digits, bits of a value) of one input, float32 (3, H, W) in 0..1: the fewest bits that hold every value exactly."""
    for dtype, bits in (("<u1", 8), ("<u2", 16)):
        white = np.float32(2**bits - 1)
        values = np.floor(planes.clip(0, 1) * white + np.float32(0.5)).astype(dtype)
        if np.array_equal(values.astype(np.float32) / white, planes):
            return _sha256(values), bits
    return _sha256(planes.astype("<f4")), 32


def _sha256(planes: NDArray[Any]) -> str:
    return sha256(np.ascontiguousarray(planes.transpose(1, 2, 0)).tobytes()).hexdigest()
