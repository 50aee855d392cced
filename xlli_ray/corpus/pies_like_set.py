"""A PIES-like evaluation set: the same patches, clean and under many degradations, and sets of real inputs.

PIES, the patch-based image evaluation set of the SRGA index (Liu et al., "Evaluating the Generalization Ability of Super-Resolution
Networks", TPAMI 45(12), 2023, arXiv 2205.07019), has 41 sets of 800 patches, 128 x 128 pixels and 32 x 32 at x4. A patch is small so that
its degradation is uniform. Its files are not available, and of its list only the clean set and 16 blurs are certain. So this is a set
*like* it, made from any folder: clean; blur 0.5 to 8 in steps of 0.5; noise 5 to 50; blur 1 to 4 with noise 10 and 20; JPEG 90 to 10. These
are 38 sets. Values on them differ from the published ones; rankings may be compared.

All generated sets have the same contents. An index over spectra of features, such as SRGA, depends on the number of patches and, far more
than on most degradations, on their contents: so every set has the same number, and real sets, which have other contents, must be
compared with care. Patches are spread evenly over the images (PIES: few of each), in an order determined by the seed and the files' bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.corpus.degradations import REAL, Mixture, parse, parse_label, with_window
from xlli_ray.corpus.degradations.blur import Blur
from xlli_ray.errors import counted

PUBLISHED = 800  # patches per set in PIES

LEVELS: dict[str, tuple[dict[str, float], ...]] = {
    "clean": ({},),
    "blur": tuple({"blur": step / 2} for step in range(1, 17)),
    "noise": tuple({"noise": level} for level in (5, 10, 15, 20, 25, 30, 40, 50)),
    "blur+noise": tuple({"blur": blur, "noise": noise} for blur, noise in product((1, 2, 3, 4), (10, 20))),
    "jpeg": tuple({"jpeg": quality} for quality in (90, 70, 50, 30, 10)),
}
"""The generated sets by type, in the order of the sample table."""


class PiesSpec(BaseModel):
    """Field `pies` of a recipe's corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patches: int = Field(default=PUBLISHED, ge=1, description="maximum number of patches per set")
    size: int = Field(default=128, ge=1, description="side of a patch in pixels of the image; a multiple of the scale")
    per_image: int | None = Field(default=None, ge=1, description="at most this many from one image; null: no limit")
    min_std: float = Field(default=5.0, ge=0.0, le=127.5, description="flatter patches are left out: standard deviation of 8-bit luma")
    window: int | None = Field(default=None, description="side of the blur's window; null: extends to ceil(4 sigma)")
    sets: Literal["all"] | list[str] = Field(default="all", description="types (clean, blur, …) or labels (blur2, …)")
    real: dict[str, list[str]] = Field(default_factory=dict, description="name of a set -> globs of inputs, used unchanged")

    @field_validator("sets", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) and value != "all" else value

    @field_validator("sets")
    @classmethod
    def _known(cls, value: Literal["all"] | list[str]) -> Any:
        if isinstance(value, list):
            if not value:
                raise ValueError(f"the list is empty; expected all, or some of {', '.join(LEVELS)}, or labels such as blur2")
            labels = [mixture.label for mixture in _chosen(value)]
            if twice := [label for label in labels if labels.count(label) > 1]:
                raise ValueError(f"{twice[0]} is listed twice; each set is made once")
            if windows := [entry for entry in value if entry not in LEVELS and _has_window(parse_label(entry))]:
                raise ValueError(f"{windows[0]}: write the label without its window, and set `window` for all sets")
        return value

    @field_validator("real", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            names = [real_name(pattern) for pattern in value if isinstance(pattern, str)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"two sets would be named {twice[0]!r} after their folders; give them names: {{name: glob, …}}")
            return dict(zip(names, ([pattern] for pattern in value), strict=True)) if len(names) == len(value) else value
        if isinstance(value, Mapping):
            return {name: [globs] if isinstance(globs, str) else globs for name, globs in value.items()}
        return value

    @field_validator("real")
    @classmethod
    def _usable(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, globs in value.items():
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
                raise ValueError(f"{name!r} is not a valid name of a set; expected letters, digits, `_`, `.`, `-`")
            if not globs:
                raise ValueError(f"{name}: the list is empty; expected at least one glob or URL")
        return dict(sorted(value.items()))  # a fixed order, however the keys of a saved recipe are sorted

    @model_validator(mode="after")
    def _window(self) -> PiesSpec:
        if self.window is not None:
            Blur.of({"sigma": 1.0, "window": self.window})  # raises RecipeError, a ValueError, for an invalid window
        return self

    @property
    def mixtures(self) -> tuple[Mixture, ...]:
        """The degradations of each clean patch, in the order of the sample table."""
        named = list(LEVELS) if self.sets == "all" else self.sets
        return tuple(with_window(mixture, self.window) for mixture in _chosen(named))

    @property
    def most(self) -> int:
        """The largest number of patches ever needed from one image."""
        return self.patches if self.per_image is None else min(self.per_image, self.patches)


def real_label(name: str) -> str:
    """Label of a real set: `real-camera`."""
    return REAL + name


def real_name(pattern: str) -> str:
    """Default name of a set of real inputs given by a glob: the last folder before any wildcard.

    >>> real_name("/data/camera/**/*.png")
    'camera'

    Raises ValueError if there is none.
    """
    folder = re.split(r"[*?\[]", pattern.partition("::")[0], maxsplit=1)[0].rpartition("/")[0]
    name = folder.rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(f"{pattern!r} has no folder to name the set after; give it a name: {{name: {pattern!r}}}")
    return name


def spread(available: Sequence[int], order: Sequence[bytes], total: int) -> list[int]:
    """Number of patches taken from each image: `total` altogether, or all if there are fewer, taken round by round.

    `available[i]`: number of patches of image i. In each round every image that has one left contributes one, in the order of the keys
    `order`; the last round ends when the number is reached. So no image contributes two more than another that has some left, and a larger
    total takes as many or more from each image.
    """
    have = np.asarray(available, dtype=np.int64)
    total = min(total, int(have.sum()))
    low, high = 0, int(have.max(initial=0))
    while low < high:  # the largest number of complete rounds
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(have, middle).sum()) <= total else (low, middle - 1)
    quota = np.minimum(have, low)
    more = [i for i in sorted(range(len(have)), key=lambda i: order[i]) if have[i] > low]
    quota[more[: total - int(quota.sum())]] += 1
    return quota.tolist()


def remarks(spec: PiesSpec, number: int) -> list[str]:
    """Notes on the number of patches: fewer than requested, fewer than published. `number`: patches per set."""
    out = []
    if number < spec.patches:
        cap = "" if spec.per_image is None else f", per_image {spec.per_image}"
        how = f"size {spec.size}, min_std {spec.min_std:g}{cap}"
        out.append(f"corpus.pies: {counted(spec.patches, 'patch', 'patches')} per set were requested, the images have {number} ({how})")
    if number < PUBLISHED:
        out.append(
            f"corpus.pies: {counted(number, 'patch', 'patches')} per set, PIES has {PUBLISHED}: intervals are wider, and "
            f"SRGA is comparable only with sets of {number}"
        )
    return out


def _has_window(mixture: Mixture) -> bool:
    return any(isinstance(part, Blur) and part.params.window is not None for part in mixture.parts)


def _chosen(named: Sequence[str]) -> list[Mixture]:
    """Mixtures of types and labels, in the given order. Raises RecipeError for an invalid label."""
    out: list[Mixture] = []
    for name in named:
        if name in LEVELS:
            out += [parse(levels) if levels else Mixture() for levels in LEVELS[name]]
        else:
            out.append(parse_label(name))
    return out
