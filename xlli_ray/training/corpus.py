"""The files of a training: the same section as a study's `corpus` (same keys, same kinds), and fields that only a training has.

    corpus      degradations are drawn anew for each crop, a list [low, high] is a uniform draw; `count` takes some of the images
    validate    scored during training: each degradation, or each label of given pairs; no influence on the training
    measure     name → files that are scored at the end, for the card; `{input, target}` stands for `{pairs: {input, target}}`

A training reads whole clean images and takes its own crops (`data`, `clip_crops`, `motion_crops`), so `patches` and `pies` have no meaning
here. Masks are checked but not used. `scale` is allowed beside given inputs, where it has no effect, so that a grid entry can replace the
images by pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from xlli_ray.corpus.decode import MAX_PIXELS
from xlli_ray.corpus.degradations import CLEAN, check_draw
from xlli_ray.corpus.kinds.kind import kind_of
from xlli_ray.corpus.spec import CorpusSpec

SCALE = 4
"""Default scale."""
GIVEN = "given"
"""Key of `content` for how clips are cut or drawn."""
FIRST_KINDS = ("images", "pairs", "inputs")
"""Kinds named in the identity of every training, true or false: the only ones when the first cards were written."""


class ImageFiles(CorpusSpec):
    """The locations of images, as in a study."""

    def check_together(self) -> None:
        for name in ("patches", "pies"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} belongs to studies; a training draws its own crops (train.crop, train.min_gradient): omit it")
        if not self.made and self.degradations not in (None, [CLEAN]):
            raise ValueError(f"degradations are made from clean images; {self.kind} are used unchanged: omit degradations")

    @property
    def clips(self) -> bool:
        """Whether its samples are clips."""
        return kind_of(self.kind).CLIPS

    def scanned(self, scale: int = SCALE) -> CorpusSpec:
        """The corpus of a study of these files: whole images, clean. `scale`: if the section has none."""
        return CorpusSpec(
            **{self.kind: self.given.model_dump() if self.clips else self.given},
            degradations=self.degradations if self.clips and self.made else None,
            scale=(self.scale or scale) if self.made else self.scale if self.kind == "list" else None,
            max_pixels=self.max_pixels or MAX_PIXELS,
        )


class TrainCorpus(ImageFiles):
    """Section `corpus` of a training recipe."""

    scale: int | None = Field(default=None, ge=1, description=f"only with images: target size over input size; null: {SCALE}")
    degradations: list[Any] | None = Field(default=None, description="one is drawn per crop; a range is a uniform draw; null: [clean]")
    count: int | None = Field(default=None, ge=1, description="number of images, selected by the seed; more include fewer")

    @field_validator("degradations", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is not None:
            check_draw(value)
        return value

    def check_together(self) -> None:
        super().check_together()
        if self.kind == "motion" and (told := [name for name in ("size", "per_image") if getattr(self.given, name) is not None]):
            raise ValueError(f"motion.{told[0]} belongs to studies; a training draws a motion for each crop (train.crop): omit it")
        if self.kind == "clips" and self.count is not None:
            raise ValueError("count is of images; a corpus of clips is used whole: omit it")
        if self.kind == "clips" and self.given.stride is not None:
            raise ValueError("clips.stride belongs to studies; a training draws windows that begin at any frame: omit it")

    def scanned(self, scale: int = SCALE) -> CorpusSpec:
        """As for studies; of `motion` the photographs, of `clips` the windows from every frame on. All clean: degradations are drawn."""
        more: dict[str, Any] = {"scale": (self.scale or scale) if self.made else None, "max_pixels": self.max_pixels or MAX_PIXELS}
        if self.kind == "motion":
            more["images"] = self.given.images
            return CorpusSpec(**more)
        if self.kind == "clips":
            more["clips"] = {**self.given.model_dump(), "stride": 1}
            return CorpusSpec(**more)
        return super().scanned(scale)

    @property
    def draws(self) -> list[Any]:
        """Degradations of which one is drawn for each crop."""
        return [CLEAN] if self.degradations is None else self.degradations

    def content(self) -> dict[str, Any]:
        """What determines the weights, JSON-serializable: not the locations of files, only their kind (True).

        Its keys and defaults are those of the first version: recipes written since then keep their hashes.
        """
        kinds = {name: name == self.kind for name in (*FIRST_KINDS, self.kind)}
        rest = {"scale": self.scale or SCALE, "degradations": self.draws, "max_pixels": self.max_pixels or MAX_PIXELS}
        drawn = {GIVEN: kind_of(self.kind).fixed(self.given.model_dump(mode="json"))} if self.clips else {}
        return kinds | rest | ({} if self.count is None else {"count": self.count}) | drawn


class ValidationFiles(ImageFiles):
    """Section `validate`: scored regularly during training; it does not influence the training."""

    crop: int | None = Field(default=192, ge=8, description="target pixels, centre of each image; null: whole images")
    every: int = Field(default=1000, ge=1)

    def check_together(self) -> None:
        super().check_together()
        if self.kind == "inputs":
            raise ValueError("inputs have no target to score against; expected images, pairs or a list of them")


class MeasuredFiles(ImageFiles):
    """One entry of `measure`: given inputs and targets, or images and degradations."""

    @model_validator(mode="wrap")
    @classmethod
    def _short_form(cls, data: Any, handler: Any) -> Any:
        return handler({"pairs": data} if is_short_form(data) else data)

    def check_together(self) -> None:
        super().check_together()
        if self.kind == "inputs":
            raise ValueError("inputs have no target to score against; expected images, pairs or a list of them")


def is_short_form(data: Any) -> bool:
    """Whether an entry of `measure` is that of a section's `pairs`."""
    return isinstance(data, Mapping) and "input" in data
