"""The corpus section of a recipe, checked: where pictures come from, which patches, what is done to them. Needs neither
torch nor files.

Exactly one source: `images` (clean targets, the input is made from them), `inputs` (go in as they are), `pairs` (input
and target) or `list` (a Parquet file of URIs, one of these three kinds by its columns). `pies` makes an evaluation set of
the images: it says both which patches and what is done to them (`pies.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.corpus.degradations import Mixture, is_made, parse, parse_label, versions
from xlli_ray.corpus.pies import PiesSpec

# Named here because inside CorpusSpec the field `list` hides the built-in.
Strings: TypeAlias = list[str]
Entries: TypeAlias = list[str | dict[str, float | str | dict[str, Any]]]

SOURCES = ("images", "inputs", "pairs", "list")


class PatchSpec(BaseModel):
    """Which patches of each image; in pixels of the target (of the input where there is no target)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=128, ge=1, description="side of a patch; a multiple of the scale")
    per_image: int | None = Field(default=8, ge=1, description="at most so many of one image; null: all")
    count: int | None = Field(default=None, ge=1, description="at most so many in all; null: all")
    min_std: float = Field(default=5.0, ge=0.0, le=127.5, description="flatter patches are left out: std of 8-bit luma")


class PairSpec(BaseModel):
    """Globs or URLs; the text that the wildcards stand for tells which input belongs to which target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Strings
    target: Strings

    @field_validator("input", "target", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return _as_list(value)


class CorpusSpec(BaseModel):
    """Section `corpus` of a recipe. Paths may be relative: to what, the functions that read them are told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Strings | None = Field(default=None, description="globs or URLs of clean targets; the input is made")
    inputs: Strings | None = Field(default=None, description="globs or URLs of inputs that go in as they are")
    pairs: PairSpec | None = Field(default=None, description="{input:, target:}")
    list: str | None = Field(default=None, description="Parquet file with columns image, or input, or input and target")
    scale: int | None = Field(
        default=None, ge=1, description="only with images: target size over input size; 1: same size"
    )
    patches: PatchSpec | None = Field(default=None, description="null: whole images")
    degradations: Entries | None = Field(default=None, description="only with images; null: [clean]")
    pies: PiesSpec | None = Field(default=None, description="only with images: instead of patches and degradations")
    max_pixels: int | None = Field(
        default=None, ge=1, description="files of more pixels are refused; null: those above 1 GiB decoded, 89 million pixels"
    )

    @field_validator("images", "inputs", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return _as_list(value)

    @field_validator("degradations", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not value:
                raise ValueError("the list is empty; expected at least one entry, e.g. [clean]")
            mixtures = [parse(entry) for entry in value]
            for names in ([mixture.label for mixture in mixtures], [mixture.identity for mixture in mixtures]):
                if twice := sorted({name for name in names if names.count(name) > 1}):
                    raise ValueError(f"{twice[0]} is given twice; each degradation makes one sample of a patch")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> CorpusSpec:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"expected exactly one source of {', '.join(SOURCES)}; {found}")
        if given[0] in ("inputs", "pairs"):
            for name in ("scale", "degradations", "pies"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} goes only with images; {given[0]} are looked at as they are: leave it out"
                    )
        if given[0] == "images" and self.scale is None:
            raise ValueError(
                "scale is missing: how many times smaller is the input than the image? 1 for the same size"
            )
        if self.pies is not None:
            for name in ("patches", "degradations"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} and pies are both given; pies says itself which patches and degradations: leave {name} out")
        for name, tiles in (("patches", self.patches), ("pies", self.pies)):
            if self.scale is not None and tiles is not None and tiles.size % self.scale:
                raise ValueError(f"{name}.size {tiles.size} is no multiple of scale {self.scale}")
        return self

    @property
    def mixtures(self) -> tuple[Mixture, ...]:
        """What is done to each clean image, in the recipe's order."""
        if self.pies is not None:
            return self.pies.mixtures
        return tuple(parse(entry) for entry in self.degradations or ["clean"])

    def mixture(self, label: str) -> Mixture:
        """The mixture behind a label of the sample table. Raises RecipeError for one that neither this section nor the package knows."""
        return next((mixture for mixture in self.mixtures if mixture.label == label), None) or parse_label(label)

    def versions(self, labels: Iterable[str]) -> dict[str, int]:
        """VERSION of each degradation behind these labels and of resizing; inputs that go in as they are have none."""
        return versions(self.mixture(label) for label in labels if is_made(label))

    def patches_of(self, kind: str) -> PatchSpec | None:
        """Which patches of sources of that kind; None: whole images. Pixels of the target, or of the input where there is no target."""
        if self.pies is None:
            return self.patches
        size = self.pies.size if kind == "images" else self.pies.size // (self.scale or 1)
        return PatchSpec(size=size, per_image=self.pies.most, min_std=self.pies.min_std)


def _as_list(value: Any) -> Any:
    """A single pattern may be written without brackets; an empty list is no source."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and not value:
        raise ValueError("the list is empty; expected at least one glob or URL")
    return value
