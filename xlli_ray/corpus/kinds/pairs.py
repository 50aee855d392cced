"""Kind `pairs`: input and target, both given, optionally with a mask of the input.

    input, target      used unchanged; the scale is the ratio of their sizes
    mask               where the input is degraded: a by-product `mask` as of a degradation, bool (h, w) of the input
    label, parameters  how the input was degraded (`corpus.input_labels`)

A label means that the target is the clean image: it alone then defines the content, and the patches of all labels are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from xlli_ray.corpus.files.sources import pair_files
from xlli_ray.corpus.input_labels import check_one_meaning, said
from xlli_ray.corpus.kinds.kind import CorpusKind, Paths, Source, one_or_many
from xlli_ray.corpus.sample import Loaded, Loader, Sample, cut, planes
from xlli_ray.corpus.scan import Look
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError

FILES = ("input", "target", "mask")


class PairSpec(BaseModel):
    """Globs or URLs; files with the same text in place of the wildcards belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: list[str]
    target: list[str]
    mask: list[str] | None = Field(default=None, description="masks of the inputs' size, true where at least half of white; null: none")
    label: list[str | None] | None = Field(default=None, description="how the inputs were degraded; one for all, or one per pattern")
    parameters: list[dict[str, Any] | None] | None = Field(
        default=None, description="its parameters, written as degradations are; one for all, or one per pattern"
    )

    @field_validator(*FILES, mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return one_or_many(value)

    @field_validator("label", "parameters", mode="before")
    @classmethod
    def _one_or_each(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping) else value

    @model_validator(mode="after")
    def _of_the_patterns(self) -> Self:
        for name in ("label", "parameters"):
            count = len(getattr(self, name) or [None])
            if count not in (1, len(self.input)):
                raise ValueError(f"{name}: {count} of them and {len(self.input)} input patterns; expected one for all, or one per pattern")
        check_one_meaning(self.said)
        return self

    @model_serializer(mode="wrap")
    def _dumped(self, handler: Any) -> dict[str, Any]:
        # Fields that are not given are omitted, so that the hash of a corpus is the same as when only input and target existed.
        return {name: value for name, value in handler(self).items() if value is not None}

    @property
    def said(self) -> list[tuple[str, str]]:
        """`given.said` of each pattern."""
        one, many = [None], len(self.input)
        labels, parameters = ((found or one) * (1 if len(found or one) == many else many) for found in (self.label, self.parameters))
        return [said(*pair) for pair in zip(labels, parameters, strict=True)]  # type: ignore[arg-type]


class Pairs(CorpusKind):
    """`pairs: {input: "*_LR.png", target: "*_HR.png"}`. The scale is the ratio of their sizes."""

    Given: ClassVar[Any] = PairSpec

    def resolve(self, given: Any, paths: Paths) -> Any:
        if not isinstance(given, Mapping):
            return super().resolve(given, paths)
        return {key: self.resolve(item, paths) if key in FILES else item for key, item in given.items()}

    def fixed(self, given: Any) -> Any:
        return {name: given[name] for name in ("label", "parameters") if given.get(name)} or None

    def labels(self, given: Any) -> list[str]:
        return list(dict.fromkeys(label for label, _ in given.said)) if isinstance(given, PairSpec) else []

    def sources(self, given: PairSpec, corpus: CorpusSpec, base: Path | str) -> list[Source]:
        files = pair_files(given.input, given.target, base)
        masks = dict(pair_files(given.input, given.mask, base, other="mask")) if given.mask else {}
        told: dict[str, tuple[str, str]] = {}
        if any(any(one) for one in given.said):
            for source, target, one in zip(given.input, given.target, given.said, strict=True):
                for uri, _ in pair_files(source, target, base):
                    if told.setdefault(uri, one) != one:
                        names = " and ".join(sorted(label or "none" for label, _ in (told[uri], one)))
                        raise RecipeError(f"pairs: {uri} has two labels, {names}; expected one pattern per file")
        return [
            Source("pairs", uri, target, mask=masks.get(uri), label=told.get(uri, ("", ""))[0], parameters=told.get(uri, ("", ""))[1])
            for uri, target in files
        ]

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        look.describe(source.uri, row)
        assert source.target is not None
        try:
            row["target_sha"], whole = look.read(source.target)
        except SampleError as error:
            raise SampleError(f"target {source.target}: {error}") from error
        row["target_height"], row["target_width"] = tall, wide = whole.pixels.shape[:2]
        row["scale"] = scale_of(row["height"], row["width"], tall, wide)
        if source.mask:
            try:
                row["mask_sha"], mask = look.read(source.mask)
                check_mask(mask.pixels, row["height"], row["width"])
            except SampleError as error:
                raise SampleError(f"mask {source.mask}: {error}") from error
        look.choose(row, whole)

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        if sample.target is None or sample.target_sha is None:
            raise ValueError(f"sample {sample.sample_id} is of kind pairs but names no target")
        source = loader.pixels(sample.source, sample.source_sha)
        target = loader.pixels(sample.target, sample.target_sha)
        extras = {} if sample.mask is None else {"mask": _mask(sample, loader)}
        return Loaded(planes(cut(source, sample.box, scale=sample.scale), into), planes(cut(target, sample.box)), extras)


def scale_of(height: int, width: int, tall: int, wide: int) -> int:
    """The factor by which the target is larger. Raises SampleError unless it is the same integer in both directions."""
    scale = tall // height
    if (tall, wide) != (scale * height, scale * width):
        raise SampleError(
            f"sizes of the pair do not fit: input {width} x {height}, target {wide} x {tall};"
            " expected a target larger by the same integer in both directions"
        )
    return scale


def check_mask(pixels: NDArray[np.float32], height: int, width: int) -> None:
    """Raise SampleError unless `pixels`, (H, W, 3) in 0..1, are a mask of an input of (height, width)."""
    tall, wide = pixels.shape[:2]
    if (tall, wide) != (height, width):
        raise SampleError(f"it has {wide} x {tall} pixels, the input {width} x {height}; both must have the same size")
    brightest = float(pixels.max())
    if 0 < brightest < 0.5:
        raise SampleError(f"its brightest value is {255 * brightest:g} of 255; expected 0 where it is false and 255 where it is true")


def _mask(sample: Sample, loader: Loader) -> NDArray[np.bool_]:
    """bool (h, w) of the input: True where any channel is at least half of white; all False for a sample without a file."""
    if not sample.mask or sample.mask_sha is None:
        return np.zeros((sample.height, sample.width), bool)
    pixels = cut(loader.pixels(sample.mask, sample.mask_sha), sample.box, scale=sample.scale)
    return np.ascontiguousarray(pixels.max(axis=2) >= 0.5)
