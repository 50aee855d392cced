"""The parts of maps that `xlli_ray.lam` has computed, without a study: map, signed map and contribution area of one window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from xlli_ray.errors import XlliError
from xlli_ray.report.explorer.encoding import number_planes
from xlli_ray.report.explorer.map_parts import MapParts, Shown, Told, map_places
from xlli_ray.report.explorer.sample_part import Form
from xlli_ray.views.lam import Map


class Mapped(Map, Protocol):
    """`api.LamResult`; of a clip, `input`, `map`, `area` and `attribution` have an axis of frames first."""


@dataclass
class LamParts(MapParts[Mapped]):
    """`results`: of one input and window. Raises XlliError if they differ."""

    STAGE: ClassVar[str] = "lam"
    MAP: ClassVar[str] = "map"
    TITLE: ClassVar[str] = "LAM"
    NUMBERS: ClassVar[Sequence[Told]] = (
        Told("di", "diffusion index, 0..100, larger: wider; comparable at equal image size only"),
        Told("error_estimate", "estimated relative L2 error of the map", "lower"),
    )

    def __post_init__(self) -> None:
        first = self.results[0]
        for other in self.results[1:]:
            if other.window != first.window or not np.array_equal(other.input, first.input):
                raise XlliError(
                    f"{other.model}: input or window differs from {first.model}'s; give `xlli_ray.lam` the same image and window"
                )

    def maps(self, model: str, result: Mapped) -> Iterator[Shown]:
        """See `MapParts`."""
        clip = result.map.ndim == 3
        stack = result.map.reshape(-1, *result.map.shape[-2:])
        forms: tuple[tuple[str, Any, Form], ...] = (
            ("map", stack, "map"), ("attribution", result.attribution.sum(axis=-3), "signed"), ("area", result.area, "map")
        )  # fmt: skip
        for name, values, form in forms:
            planes = values.reshape(stack.shape).astype(np.float32)
            yield self.seen(model, name, form, clip=clip), number_planes(planes, map_places(stack, clip=clip), len(stack))

    def numbers(self, result: Mapped) -> Mapping[str, Any]:
        """See `MapParts`."""
        return {one.name: getattr(result, one.name) for one in self.NUMBERS}
