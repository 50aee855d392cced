"""Kind `motion`: clips whose true motion is known, made from photographs (`corpus.motion`).

Each photograph gives `per_image` clips at each of the `speeds`: a ladder of speeds over the same photographs. How a clip moves is
drawn, keyed by the study's seed and the photograph's sha256, and stored in the sample table: the speed asked for, the velocity that came
out, and in `motion` all the rest, as JSON. The inputs are made frame by frame as for `images`, with pixels of the photograph around the
frame, so that frames have no borders of their own.

Photographs are the independent units: `source_sha` is the photograph's, for all of its clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.decode import to_u8
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.files.sources import list_files
from xlli_ray.corpus.kinds.images import check_scale, make
from xlli_ray.corpus.kinds.kind import CorpusKind, Source, one_or_many
from xlli_ray.corpus.motion.flow import EXTRAS, by_products
from xlli_ray.corpus.motion.frames import U8, frames
from xlli_ray.corpus.motion.moves import Motion, Moves, Pair, draw
from xlli_ray.corpus.patches import luma_std
from xlli_ray.corpus.sample import Loaded, Loader, Sample
from xlli_ray.corpus.scan import Look
from xlli_ray.corpus.size import Size
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import SampleError

SIZE = 128
"""Default side of a frame, target pixels."""
MARGIN = 4
"""Input pixels of the photograph around each frame that the input is made with: more than the bicubic reads."""
DRAWS = 16
"""Motions drawn for a clip until one begins where the photograph is not flat."""


def ends(value: Any) -> Any:
    """A number as the range of that number alone."""
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Range = Annotated[Pair, BeforeValidator(ends)]


class MotionSpec(BaseModel):
    """Photographs, and the distribution of motions over them. A range is [low, high]; a number stands for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Annotated[list[str], BeforeValidator(one_or_many)] = Field(description="photographs")
    window: int = Field(default=7, ge=1, le=1000, description="number of frames of a clip")
    size: int | None = Field(default=None, ge=1, description=f"side of a frame, target pixels; null: {SIZE}")
    per_image: int | None = Field(default=None, ge=1, description="clips of each photograph at each speed; null: 1")
    speeds: list[Range] = Field(default=[(0.0, 4.0)], description="input pixels a frame; each entry a number or a range")
    angles: Range = Field(default=(0.0, 360.0), description="directions, degrees: 0 to the right, 90 down")
    exact: bool = Field(default=True, description="velocities are multiples of 1/scale: frames are crops, nothing is resampled")
    rotation: Range = Field(default=(0.0, 0.0), description="degrees a frame")
    zoom: Range = Field(default=(1.0, 1.0), description="factor a frame")
    layers: int = Field(default=0, ge=0, le=16, description="occluding patches that move on their own")
    layer_size: Range = Field(default=(0.25, 0.5), description="height and width of a patch, shares of the frame's")
    min_std: float = Field(default=5.0, ge=0.0, le=127.5, description="flatter frames are left out: standard deviation of 8-bit luma")

    @field_validator("speeds")
    @classmethod
    def _some(cls, value: list[Pair]) -> list[Pair]:
        if not value:
            raise ValueError("the list is empty; expected at least one speed, e.g. [[0, 4]]")
        if twice := [list(one) for number, one in enumerate(value) if one in value[:number]]:
            raise ValueError(f"{twice[0]} is listed twice")
        return value

    @model_validator(mode="after")
    def _limits(self) -> Self:
        limits: dict[str, tuple[list[Pair], float, float]] = {
            "speeds": (self.speeds, 0, 1000), "angles": ([self.angles], -360, 360), "rotation": ([self.rotation], -90, 90),
            "zoom": ([self.zoom], 0.5, 2), "layer_size": ([self.layer_size], 0.01, 1),
        }  # fmt: skip
        for name, (pairs, low, high) in limits.items():
            for one in pairs:
                if not low <= one[0] <= one[1] <= high:
                    raise ValueError(f"{name}: {list(one)} is no range; expected [low, high] with low <= high, within {low:g} to {high:g}")
        return self

    @property
    def moves(self) -> Moves:
        """The distribution."""
        return Moves(tuple(self.speeds), self.angles, self.exact, self.rotation, self.zoom, self.layers, self.layer_size)


class MotionClips(CorpusKind):
    """`motion: {images: "photos/*.png", window: 5, speeds: [0, 1.25, 4, 16]}`, with `scale`."""

    Given: ClassVar[Any] = MotionSpec
    MADE: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    FILES_SHARED: ClassVar[bool] = True
    COLUMNS: ClassVar[Mapping[str, pa.DataType]] = {
        "clip": pa.string(), "frames": pa.int32(), "speed": pa.float64(), "velocity_x": pa.float64(), "velocity_y": pa.float64(),
        "motion": pa.string(),
    }  # fmt: skip

    def check(self, corpus: CorpusSpec) -> None:
        super().check(corpus)
        for name in ("pies", "patches"):
            if getattr(corpus, name) is not None:
                raise ValueError(f"{name} is only for images; the frames of motion have motion.size and motion.per_image: omit it")
        if (size := corpus.given.size) is not None and corpus.scale is not None and size % corpus.scale:
            raise ValueError(f"motion.size must be a multiple of scale {corpus.scale}, got {size}")

    def fixed(self, given: Any) -> Any:
        return {key: value for key, value in given.items() if key != "images"}

    def sources(self, given: MotionSpec, corpus: CorpusSpec, base: Path | str) -> list[Source]:
        return [
            Source("motion", uri, columns=(("speed", "float64", (low + high) / 2),), windows=(entry,))
            for uri in list_files(given.images, base)
            for entry, (low, high) in enumerate(given.speeds)
        ]

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        given: MotionSpec = look.corpus.given
        (entry,) = source.windows
        photograph = to_u8(look.describe(source.uri, row).pixels)
        row["scale"] = scale = look.corpus.scale or 1
        height, width = photograph.shape[:2]
        check_scale(height, width, scale)
        side = given.size or SIZE // scale * scale
        row |= {"clip": source.uri.rsplit("/", 1)[-1].rsplit(".", 1)[0], "speed": row["columns"][0][2], "size": side, "columns": []}
        row["motions"] = []
        for number in range(given.per_image or 1):
            rng = generator(f"{look.seed}|motion|{row['sha']}|{given.speeds[entry]}|{number}")
            for _ in range(DRAWS):
                motion = draw(
                    given.moves, given.speeds[entry], rng, (height, width), frames=given.window, size=(side, side), scale=scale,
                    margin=MARGIN * scale,
                )  # fmt: skip
                if motion is None:
                    low, high = given.speeds[entry]
                    asked = f"{low:g}" if low == high else f"{low:g} to {high:g}"
                    row |= {"status": "skipped", "reason": f"no clip: {given.window} frames of {side} x {side} pixels that move by {asked} "
                            f"input pixels a frame do not fit into {width} x {height} pixels"}  # fmt: skip
                    return
                if _spread(photograph, motion) >= given.min_std:
                    row["motions"].append(motion.to_json())
                    break
        if not row["motions"]:
            row |= {"status": "skipped", "reason": f"no clip: the photograph is too flat, min_std is {given.min_std:g}"}

    def unfold(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """One row per clip."""
        for text in row["motions"]:
            motion = Motion.from_json(text)
            x, y = motion.velocity
            cells = {"clip": row["clip"], "frames": motion.frames, "speed": row["speed"], "velocity_x": x, "velocity_y": y, "motion": text}
            yield {**row, "boxes": [[*motion.place]], "part": text, "extra": cells}

    def extras(self, size: Size, scale: int) -> Mapping[str, tuple[tuple[int, ...], str]]:
        shape = (size.frames, size.height, size.width)
        return {name: ((*shape, 2), "float32") if name.startswith("flow") else (shape, "bool") for name in EXTRAS}

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        motion = Motion.from_json(sample.columns["motion"])
        if motion.size[0] % sample.scale or sample.box is None:
            raise SampleError(f"motion of size {motion.size} does not fit scale {sample.scale}: scan again")
        margin = MARGIN * sample.scale
        photograph = loader.remember(("u8", sample.source_sha), lambda: _eight_bit(sample, loader))
        whole = frames(photograph, motion, margin=margin).astype(np.float32) / np.float32(255)
        inner = replace(sample, box=Box(margin, margin, motion.size[0]))
        parts = [
            make(loader, inner, frame, f"{sample.source_sha}|{sample.content}|{i}", f"{sample.seed}|{sample.content}|{i}",
                 into[i] if into is not None and into.ndim == 4 and i < len(into) else None)
            for i, frame in enumerate(whole)
        ]  # fmt: skip
        ours = into is not None and all(np.shares_memory(part.input, into) for part in parts)
        return Loaded(
            input=into if ours and into is not None else np.stack([part.input for part in parts]),
            target=np.stack([part.target for part in parts if part.target is not None]),
            extras={name: np.stack([part.extras[name] for part in parts]) for name in parts[0].extras} | by_products(motion),
        )


def _eight_bit(sample: Sample, loader: Loader) -> U8:
    out = to_u8(loader.pixels(sample.source, sample.source_sha))
    out.setflags(write=False)
    return out


def _spread(photograph: U8, motion: Motion) -> float:
    """Standard deviation of the current frame's luma, layers aside."""
    (top, left), (height, width) = motion.place, motion.size
    return luma_std(photograph[top : top + height, left : left + width])
