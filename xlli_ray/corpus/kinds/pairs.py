"""Kind `pairs`: input and target, both given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from xlli_ray.corpus.files.sources import pair_files
from xlli_ray.corpus.kinds.kind import Kind, Source, one_or_many
from xlli_ray.corpus.sample import Loaded, Loader, Sample, cut, planes
from xlli_ray.corpus.scan import Look
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import SampleError


class PairSpec(BaseModel):
    """Globs or URLs; the text that the wildcards stand for tells which input belongs to which target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: list[str]
    target: list[str]

    @field_validator("input", "target", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return one_or_many(value)


class Pairs(Kind):
    """`pairs: {input: "*_LR.png", target: "*_HR.png"}`. The scale is that of the two sizes."""

    Given: ClassVar[Any] = PairSpec

    def sources(self, given: PairSpec, corpus: CorpusSpec, base: Path | str) -> list[Source]:
        return [Source("pairs", *pair) for pair in pair_files(given.input, given.target, base)]

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        look.describe(source.uri, row)
        assert source.target is not None
        try:
            row["target_sha"], whole = look.read(source.target)
        except SampleError as error:
            raise SampleError(f"target {source.target}: {error}") from error
        row["target_height"], row["target_width"] = tall, wide = whole.pixels.shape[:2]
        row["scale"] = scale_of(row["height"], row["width"], tall, wide)
        look.choose(row, whole)

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        if sample.target is None or sample.target_sha is None:
            raise ValueError(f"sample {sample.sample_id} is of kind pairs but names no target")
        source = loader.pixels(sample.source, sample.source_sha)
        target = loader.pixels(sample.target, sample.target_sha)
        return Loaded(planes(cut(source, sample.box, scale=sample.scale), into), planes(cut(target, sample.box)))


def scale_of(height: int, width: int, tall: int, wide: int) -> int:
    """How many times larger the target is. Raises SampleError when it is not the same whole number both ways."""
    scale = tall // height
    if (tall, wide) != (scale * height, scale * width):
        raise SampleError(
            f"sizes of the pair do not fit: input {width} x {height}, target {wide} x {tall};"
            " expected a target that is the same whole number of times larger both ways"
        )
    return scale
