"""A PIES-like evaluation set: the same patches, clean and under many degradations, and sets of real inputs beside them.

PIES, the patch-based image evaluation set of the SRGA index (Liu et al., "Evaluating the Generalization Ability of Super-Resolution
Networks", TPAMI 45(12), 2023, arXiv 2205.07019), has 41 sets of 800 patches, 128 x 128 pixels and 32 x 32 at x4. A patch is small so
that its degradation is one and the same all over it. Its files could not be had, and of its list only the clean set and 16 blurs are
certain. So this is a set *like* it, made from any folder: clean; blur 0.5 to 8 in steps of 0.5; noise 5 to 50; blur 1 to 4 with noise 10
and 20; JPEG 90 to 10. These are 38 sets. Values on them are not the published ones; orders may be compared.

All made sets show the same contents. An index over spectra of features, as SRGA is, depends on the number of patches and, far more than on
most degradations, on what they show: so every set has the same number, and real sets, which must show something else, are to be
compared with care. Patches are spread evenly over the images (PIES: few of each), in an order that the seed and the files' bytes decide.
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

PUBLISHED = 800  # patches a set in PIES

LEVELS: dict[str, tuple[dict[str, float], ...]] = {
    "clean": ({},),
    "blur": tuple({"blur": step / 2} for step in range(1, 17)),
    "noise": tuple({"noise": level} for level in (5, 10, 15, 20, 25, 30, 40, 50)),
    "blur+noise": tuple({"blur": blur, "noise": noise} for blur, noise in product((1, 2, 3, 4), (10, 20))),
    "jpeg": tuple({"jpeg": quality} for quality in (90, 70, 50, 30, 10)),
}
"""The made sets by type, in the order of the sample table."""


class PiesSpec(BaseModel):
    """Field `pies` of a recipe's corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patches: int = Field(default=PUBLISHED, ge=1, description="patches a set, as many as there are up to this number")
    size: int = Field(default=128, ge=1, description="side of a patch in pixels of the image; a multiple of the scale")
    per_image: int | None = Field(default=None, ge=1, description="at most so many of one image; null: no limit")
    min_std: float = Field(default=5.0, ge=0.0, le=127.5, description="flatter patches are left out: std of 8-bit luma")
    window: int | None = Field(default=None, description="side of the blur's window; null: as far as ceil(4 sigma)")
    sets: Literal["all"] | list[str] = Field(default="all", description="types (clean, blur, …) or labels (blur2, …)")
    real: dict[str, list[str]] = Field(default_factory=dict, description="name of a set -> globs of inputs as they are")

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
                raise ValueError(f"{twice[0]} is named twice; each set is made once")
            if windows := [entry for entry in value if entry not in LEVELS and _has_window(parse_label(entry))]:
                raise ValueError(f"{windows[0]}: write the label without its window, and the window as `window`, for all sets")
        return value

    @field_validator("real", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            names = [real_name(pattern) for pattern in value if isinstance(pattern, str)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"two sets would be called {twice[0]!r}, after their folders; give them names: {{name: glob, …}}")
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
        return dict(sorted(value.items()))  # one order, whatever has sorted the keys of a saved recipe

    @model_validator(mode="after")
    def _window(self) -> PiesSpec:
        if self.window is not None:
            Blur.of({"sigma": 1.0, "window": self.window})  # raises RecipeError, a ValueError, for a window that cannot be
        return self

    @property
    def mixtures(self) -> tuple[Mixture, ...]:
        """What is done to each clean patch, in the order of the sample table."""
        named = list(LEVELS) if self.sets == "all" else self.sets
        return tuple(with_window(mixture, self.window) for mixture in _chosen(named))

    @property
    def most(self) -> int:
        """More patches of one image are never needed."""
        return self.patches if self.per_image is None else min(self.per_image, self.patches)


def real_label(name: str) -> str:
    """Label of a real set: `real-camera`."""
    return REAL + name


def real_name(pattern: str) -> str:
    """What a set of real inputs is called when only its glob is given: the last folder before any wildcard.

    >>> real_name("/data/camera/**/*.png")
    'camera'

    Raises ValueError where there is none.
    """
    folder = re.split(r"[*?\[]", pattern.partition("::")[0], maxsplit=1)[0].rpartition("/")[0]
    name = folder.rpartition("/")[2]
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError(f"{pattern!r} names no folder to call the set after; give it a name: {{name: {pattern!r}}}")
    return name


def spread(available: Sequence[int], order: Sequence[bytes], total: int) -> list[int]:
    """How many patches each image gives: `total`, or all if there are fewer, dealt round by round.

    `available[i]`: patches of image i. In each round every image that has one left gives one, in the order of the keys `order`; the last
    round ends when the number is reached. So no image gives two more than another that has some left, and a larger total takes
    from each image as many or more.
    """
    have = np.asarray(available, dtype=np.int64)
    total = min(total, int(have.sum()))
    low, high = 0, int(have.max(initial=0))
    while low < high:  # the most rounds that are whole
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(have, middle).sum()) <= total else (low, middle - 1)
    quota = np.minimum(have, low)
    more = [i for i in sorted(range(len(have)), key=lambda i: order[i]) if have[i] > low]
    quota[more[: total - int(quota.sum())]] += 1
    return quota.tolist()


def remarks(spec: PiesSpec, found: int) -> list[str]:
    """What to know about the number of patches: fewer than asked for, fewer than published. `found`: patches a set."""
    out = []
    if found < spec.patches:
        cap = "" if spec.per_image is None else f", per_image {spec.per_image}"
        how = f"size {spec.size}, min_std {spec.min_std:g}{cap}"
        out.append(f"corpus.pies: {counted(spec.patches, 'patch', 'patches')} a set were asked for, the images hold {found} ({how})")
    if found < PUBLISHED:
        out.append(
            f"corpus.pies: {counted(found, 'patch', 'patches')} a set, PIES has {PUBLISHED}: intervals are wider, and "
            f"SRGA compares only with sets of {found}"
        )
    return out


def _has_window(mixture: Mixture) -> bool:
    return any(isinstance(part, Blur) and part.params.window is not None for part in mixture.parts)


def _chosen(named: Sequence[str]) -> list[Mixture]:
    """Mixtures of types and labels, in the order given. Raises RecipeError for a label that is none."""
    out: list[Mixture] = []
    for name in named:
        if name in LEVELS:
            out += [parse(levels) if levels else Mixture() for levels in LEVELS[name]]
        else:
            out.append(parse_label(name))
    return out
