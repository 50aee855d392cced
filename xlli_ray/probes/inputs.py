"""Inputs: the sha256 of the network's input, sample by sample: the manifest of an evaluation set.

A generated set (blurred, downscaled, noisy) is reproduced if its pixels are, not if its recipe is. The hash is of the values in the usual
memory order of an image: rows, columns, RGB, one byte each. So for `clean.png`, an input saved elsewhere, it is
`sha256(numpy.asarray(PIL.Image.open("clean.png").convert("RGB")).tobytes())`. A clip is hashed frame after frame. All generated inputs have
8 bits. Values that need more (a given 16-bit file) are hashed as two bytes each, low byte first, and any others as float32; `bits` tells
which.

`save` also stores arrays: `input` and `target` as uint8, and by-products of the degradations by their names, e.g. a rain layer or a mask
(`Degradation.EXTRAS`); they are zero for samples whose degradation has no such by-product. A kind of corpus may have by-products of its
own (`CorpusKind.extras`): the true flow of `motion`.

No network is run: a recipe with this stage alone needs no models.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.corpus.size import Size
from xlli_ray.errors import PlanError
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject
from xlli_ray.probes.probe import Probe

PLANES = ("input", "target")


class Params(BaseModel):
    """Fields of an `inputs` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    save: list[str] = Field(default_factory=list, description="arrays to store: input, target, or by-products of degradations, e.g. mask")


class Inputs(Probe):
    """One hash per sample. Writes table `inputs`, and with `save` one array per name: uint8 (sample, channel, y, x) for `input` and
    `target`, as declared for a by-product: (sample, y, x) or (sample, y, x, channel); over clips with the axis `frame` behind `sample`."""

    KIND: ClassVar[str] = "inputs"
    VERSION: ClassVar[int] = 1
    SUBJECT: ClassVar[Subject] = "sample"
    SHARES_FORWARD: ClassVar[bool] = False  # in older studies it had a model
    CLIPS: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("input_sha256", "string", "sha256 of the input's values: rows, columns, RGB; 64 hex digits", place=True),
        Column("bits", "int64", "bits per hashed value: 8, 16, or 32 for float32", place=True),
    )
    REFERENCE: ClassVar[str] = "SHA-256: NIST FIPS 180-4, 2015"
    Params: ClassVar[type[BaseModel]] = Params
    cost = 1e-6  # reading only

    def identity(self) -> dict[str, Any]:
        return {"save": sorted(self.params.save)} if self.params.save else {}

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        size = Size(shapes.height, shapes.width, shapes.frames)
        kept = {"input": (size.shape(), "uint8"), **shapes.extras}
        if shapes.target is not None:
            kept["target"] = (Size(*shapes.target, shapes.frames).shape(), "uint8")
        if unknown := [name for name in self.params.save if name not in kept]:
            raise PlanError(f"inputs.save: this corpus has no {unknown[0]!r}; it has {', '.join(kept)}")
        frames = ("frame",) if size.frames else ()
        dims = {name: size.axes if name in PLANES else (*frames, "y", "x", "channel")[: len(kept[name][0])] for name in self.params.save}
        about = {name: {"range": "0..255"} if name in PLANES else {} for name in self.params.save}
        gaps = {name: bool(frames) and kept[name][1].startswith("float") for name in self.params.save}  # no flow behind the last frame
        return tuple(ArrayPlan(name, *kept[name], dims[name], attributes=about[name], gaps=gaps[name]) for name in self.params.save)

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        pixels = batch.input.cpu().numpy()
        digests = [input_sha256(image) if ok else ("", 8) for image, ok in zip(pixels, batch.ok)]
        arrays = {name: _kept(name, batch) for name in self.params.save}
        return Measurement(arrays, {"input_sha256": [sha for sha, _ in digests], "bits": [bits for _, bits in digests]})


def _kept(name: str, batch: Batch) -> np.ndarray:
    """(B, …) of one array; zeros where a sample could not be loaded."""
    if name == "input":
        return _eight_bit(batch.input.cpu().numpy())
    images = batch.targets if name == "target" else [extras.get(name) for extras in batch.extras]
    like = next(one for one in images if one is not None)  # a batch without any loaded sample is not measured
    stacked = np.stack([np.zeros_like(like) if one is None else one for one in images])
    return _eight_bit(stacked) if name == "target" else stacked


def _eight_bit(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """0..1 → 0..255, rounded."""
    return np.floor(planes.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def input_sha256(planes: NDArray[np.float32]) -> tuple[str, int]:
    """(64 hex digits, bits of a value) of one input, float32 (3, H, W) or (T, 3, H, W) in 0..1: the fewest bits that hold every value."""
    for dtype, bits in (("<u1", 8), ("<u2", 16)):
        white = np.float32(2**bits - 1)
        values = np.floor(planes.clip(0, 1) * white + np.float32(0.5)).astype(dtype)
        if np.array_equal(values.astype(np.float32) / white, planes):
            return _sha256(values), bits
    return _sha256(planes.astype("<f4")), 32


def _sha256(planes: NDArray[Any]) -> str:
    return sha256(np.ascontiguousarray(np.moveaxis(planes, -3, -1)).tobytes()).hexdigest()
