"""The parts of causal effect maps that `xlli_ray.cem` has measured, without a study: effects of one window, with what was decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xlli_ray.probes.cem.columns import COLUMNS
from xlli_ray.report.explorer.effect_planes import EFFECT, effect_planes
from xlli_ray.report.explorer.map_parts import MapParts, Shown, Told, map_places, scale_of
from xlli_ray.report.explorer.sample_windows import blocks_of
from xlli_ray.views.cem import Effects, check_comparable


@dataclass
class CemParts(MapParts[Effects]):
    """`results`: of one input, window and block. Raises XlliError if they differ."""

    STAGE: ClassVar[str] = "cem"
    MAP: ClassVar[str] = EFFECT
    TITLE: ClassVar[str] = "Causal effects"
    NUMBERS: ClassVar[Sequence[Told]] = tuple(
        Told(column.name, column.about, column.better, column.unit) for column in COLUMNS if not column.place and column.dtype != "string"
    )

    def __post_init__(self) -> None:
        check_comparable(self.results)

    def maps(self, model: str, result: Effects) -> Iterator[Shown]:
        """See `MapParts`. A window that is restored perfectly has no effects to show."""
        if not np.isfinite(result.effect).any():
            return
        clip = result.effect.ndim == 3
        found = {
            name: values.reshape(-1, *values.shape[-2:])
            for name, values in (("effect", result.effect), ("error", result.error), ("draws", result.draws), ("decided", result.decided))
        }
        places = map_places(found[EFFECT], clip=clip)
        seen = self.seen(model, EFFECT, "effects", clip=clip, title=f"{model} causal effects")
        yield seen, effect_planes(found, places, len(places))

    def numbers(self, result: Effects) -> Mapping[str, Any]:
        """See `MapParts`."""
        return {one.name: result.numbers[one.name] for one in self.NUMBERS}

    def window(self, result: Effects) -> dict[str, Any]:
        """See `MapParts`."""
        return blocks_of(result.block, scale_of(result), str(result.numbers.get("label", "")))
