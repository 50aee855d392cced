"""Rain: streaks added to the 8-bit patch, as in the deraining generalization work; `rain: hu25-small` names a preset.

    rain layer R    streaks of one amount, width, length and angle (`rain_streaks`), all drawn for the sample; 0..255
    input           B + β R, rounded; what exceeds 255 is 255: 8-bit addition saturates

Gu et al., "Networks are Slacking Off: Understanding Generalization Problem in Image Deraining", NeurIPS 2023, arXiv 2305.15134; Hu et al.,
arXiv 2502.12600. Presets are ranges (`rain_presets`); every parameter may be a number, a range, or a list of ranges, so that training and
test rain can be disjoint. By-products: `rain`, R before β, and `mask`, where R exceeds `threshold`.

>>> from xlli_ray.corpus.degradations import parse
>>> parse({"rain": "hu25-small"}).label, parse({"rain": {"preset": "hu25-small", "ood": "angle"}}).label
('rain-hu25-small', 'rain-hu25-small-ood-angle')
>>> parse({"rain": {"preset": "hu25-small", "ood": "angle"}}).parts[0].params.angle
((-60, -11), (11, 60))

Rain is drawn at the size of the patch or crop, whose least and greatest values are scaled to 0 and 255: coverage depends on its size.
Each quantity is a quantile of the key, whatever the parameters: one patch under two presets has the same rank in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from xlli_ray.corpus.degradations import rain_presets, rain_streaks, ranges
from xlli_ray.corpus.degradations.degradation import PLAIN, Degradation, Degraded, Domain, Extra
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.degradations.rain_presets import DRAWN, PRESETS, Kernel
from xlli_ray.corpus.degradations.ranges import Ranges, WholeRanges
from xlli_ray.errors import closest

DEFAULT = "hu25-medium"
"""Where no preset is named, the parameters that are not given are those of this one."""
MAX_WIDTH = 31
MAX_LENGTH = 200
"""Above, sums in `rain_streaks` could exceed 53 bits."""


def _widths(value: Any) -> dict[int, float]:
    """A width, a list of widths, or {width: probability} → {width: probability}, sorted."""
    given: Mapping[Any, Any] = value if isinstance(value, Mapping) else dict.fromkeys(value if isinstance(value, list | tuple) else [value])
    try:
        widths: dict[int, Any] = {int(str(width)): probability for width, probability in given.items()}
    except ValueError:
        widths = {}
    if not widths or len(widths) < len(given) or not all(width % 2 == 1 and 1 <= width <= MAX_WIDTH for width in widths):
        raise ValueError(
            f"width: {value!r}: expected an odd number of pixels from 1 to {MAX_WIDTH}, a list of them, or {{width: probability}}, e.g. "
            "{3: 0.25, 5: 0.5, 7: 0.25}"
        )
    if not isinstance(value, Mapping):
        return dict.fromkeys(sorted(widths), 1 / len(widths))
    shares = [one for one in widths.values() if isinstance(one, int | float) and not isinstance(one, bool) and 0 < one <= 1]
    if len(shares) < len(widths) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"width: {value!r}: expected probabilities above 0 that sum to 1, found {list(widths.values())}")
    return {width: float(widths[width]) for width in sorted(widths)}


def _promised(value: Any) -> tuple[str, ...]:
    """Names of parameters, in order."""
    named = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [None]
    if any(name not in DRAWN for name in named) or len(set(named)) < len(named):
        raise ValueError(f"ood: {value!r}; expected a parameter or a list of parameters, of {', '.join(DRAWN)}")
    return tuple(name for name in DRAWN if name in named)


class RainParams(BaseModel):
    """Parameters of `rain`, those of the preset where they are not given. One of several ranges is drawn by its size."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    preset: str | None = Field(default=None, description="of rain_presets.PRESETS; null: what is not given is that of hu25-medium")
    ood: tuple[str, ...] = Field(
        default=(), description="parameters outside of the preset's range: where not given, the rest of its family's; else checked"
    )
    amount: Annotated[Ranges, BeforeValidator(lambda value: ranges.read(value, 0.0001, 1))] = Field(description="share of seed pixels")
    width: Annotated[dict[int, float], BeforeValidator(_widths)] = Field(description="of the blur across a streak, odd; with probabilities")
    length: Annotated[WholeRanges, BeforeValidator(lambda value: ranges.read(value, 1, MAX_LENGTH, whole=True))] = Field(
        description="of a streak, whole pixels"
    )
    angle: Annotated[WholeRanges, BeforeValidator(lambda value: ranges.read(value, -89, 90, whole=True))] = Field(
        description="of streaks, whole degrees from the vertical, counter-clockwise; -90 is 90"
    )
    weight: Annotated[Ranges, BeforeValidator(lambda value: ranges.read(value, 0.001, 1))] = Field(description="β, of the rain layer")
    kernel: Kernel = Field(description="plain, or scaled by 1 - length / 100 as in the older version")
    threshold: int = Field(default=50, ge=0, le=254, description="the mask is where the rain layer exceeds it, of 255")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        given = {name: value for name, value in dict(data).items() if value is not None}
        preset = given.get("preset", DEFAULT)
        if preset not in PRESETS:
            near = closest(str(preset), PRESETS, n=1)
            raise ValueError(f"there is no preset {preset!r}. {f'Did you mean {near[0]}? ' if near else ''}All: {rain_presets.names()}")
        promised = _promised(given.get("ood", ()))
        if promised and "preset" not in given:
            raise ValueError("ood: outside of which range? Name the preset of the training as well, e.g. {preset: hu25-small, ood: angle}")
        beyond = {name: rain_presets.outside(preset, name) for name in promised if name not in given}
        return {**PRESETS[preset], **beyond, **given, "ood": promised}

    @model_validator(mode="after")
    def _kept(self) -> RainParams:
        if self.preset is not None:
            apart = rain_presets.disjoint(PRESETS[self.preset], self.drawn)
            if overlapping := [name for name in self.ood if name not in apart]:
                name = overlapping[0]
                shown = [_shown(drawn[name]) for drawn in (self.drawn, PRESETS[self.preset])]
                raise ValueError(f"ood: {name} {shown[0]} overlaps that of {self.preset}, {shown[1]}; expected values outside of it")
        if self.kernel == "scaled" and self.length[-1][1] > 99:
            raise ValueError(f"length: a scaled kernel has at most 99 pixels, got {self.length[-1][1]}")
        return self

    @property
    def drawn(self) -> dict[str, Any]:
        """What is drawn, and from which kernel, as in `PRESETS`."""
        return {name: getattr(self, name) for name in (*DRAWN, "kernel")}


def _shown(value: Any) -> str:
    """Ranges or widths, for messages."""
    if isinstance(value, Mapping):
        return str(list(value))
    return " and ".join(f"[{low:g}, {high:g}]" for low, high in value)


@dataclass(frozen=True)
class Drawn:
    """What the rain of one sample is. `amount`, `weight`: in units of `rain_streaks.AMOUNT_UNIT` and `WEIGHT_UNIT`. Pixels; degrees."""

    amount: int
    width: int
    length: int
    angle: int
    weight: int


class Rain(Degradation):
    """Degradation `rain`; the level is the mean share of seed pixels. Named by its preset, not by its level."""

    NAME: ClassVar[str] = "rain"
    VERSION: ClassVar[int] = 1
    ORDER: ClassVar[int] = 15
    DOMAIN: ClassVar[Domain] = "input"
    Params: ClassVar[type[BaseModel]] = RainParams
    LEVEL: ClassVar[str] = "amount"
    AXIS: ClassVar[str] = "rain, mean share of seed pixels"
    COLOUR: ClassVar[str | None] = "#56B4E9"
    EXTRAS: ClassVar[Mapping[str, Extra]] = {
        "rain": Extra("the rain layer before its weight β, 0..255", 0, "uint8"),
        "mask": Extra("where the rain layer exceeds the threshold", 0, "bool"),
    }
    params: RainParams

    @classmethod
    def fields(cls, value: float | str | Mapping[str, Any]) -> Mapping[str, Any]:
        """A text is the name of a preset."""
        return {"preset": value} if isinstance(value, str) else super().fields(value)

    @property
    def level(self) -> float:
        return float(f"{ranges.middle(self.params.amount):g}")

    @property
    def label(self) -> str:
        if self.params.preset is None:
            return f"rain{self.level:g}"
        return "-".join(["rain", self.params.preset, *(["ood", *self.params.ood] if self.params.ood else [])])

    @property
    def plain(self) -> bool:
        preset, ood = self.params.preset, self.params.ood
        return self.params == RainParams(**({"amount": self.level} if preset is None else {"preset": preset, "ood": ood}))

    @classmethod
    def from_label(cls, text: str) -> Self:
        if PLAIN.fullmatch(text):
            return cls.of(float(text))
        match = re.fullmatch(r"-([a-z0-9]+-[a-z]+)(?:-ood((?:-[a-z]+)+))?", text)
        if match is None or match[1] not in PRESETS:
            raise ValueError(text)
        return cls.of({"preset": match[1], "ood": match[2][1:].split("-") if match[2] else []})

    def draw(self, key: str) -> Drawn:
        """What the rain of the sample with this key is: `seed|content`."""
        amount, width, length, angle, weight = map(int, generator(f"{key}|rain|parameters").bit_generator.random_raw(5))
        params = self.params
        cuts = accumulate(params.width.values())
        return Drawn(
            ranges.pick(params.amount, amount, rain_streaks.AMOUNT_UNIT),
            next((one for one, cut in zip(params.width, cuts, strict=True) if width / 2**64 < cut), max(params.width)),
            ranges.pick(params.length, length),
            ranges.pick(params.angle, angle),
            ranges.pick(params.weight, weight, rain_streaks.WEIGHT_UNIT),
        )

    def apply(self, array: NDArray[Any], *, key: str) -> Degraded:
        """Add rain to `array`, uint8 (h, w, C). `key` is `seed|content`."""
        if array.dtype != np.uint8:
            raise TypeError(f"rain takes a uint8 patch, not {array.dtype}")
        drawn = self.draw(key)
        streak = rain_streaks.make_streak(drawn.length, drawn.angle, drawn.width, scaled=self.params.kernel == "scaled")
        bits = generator(f"{key}|rain|seeds").bit_generator
        rain = rain_streaks.layer(array.shape[0], array.shape[1], drawn.amount, streak, bits)
        return Degraded(rain_streaks.add(array, rain, drawn.weight), {"rain": rain, "mask": rain > self.params.threshold})


def unseen(trained: Rain, tested: Rain) -> tuple[str, ...]:
    """Parameters of which training and test rain never draw the same value: with one or more, test rain is disjoint from training rain."""
    return rain_presets.disjoint(trained.params.drawn, tested.params.drawn)
