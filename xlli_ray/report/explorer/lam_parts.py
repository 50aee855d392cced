"""The parts of maps that `xlli_ray.lam` has computed, without a study: one sample, its outputs, maps and window under each network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import XlliError
from xlli_ray.plots.palette import network_looks
from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.explorer.encoding import image_planes, number_planes
from xlli_ray.report.explorer.sample_part import SeenArray
from xlli_ray.report.explorer.source import FORMAT, MissingPart
from xlli_ray.report.explorer.thumbnails import ROWS, SIDE, sheet, thumbnail
from xlli_ray.views.lam import Map

STAGE = "lam"
COLUMNS = (
    ("di", "diffusion index, 0..100, larger: wider; comparable at equal image size only", None),
    ("error_estimate", "estimated relative L2 error of the map", "lower"),
)


class Mapped(Map, Protocol):
    """`api.LamResult`; of a clip, `input`, `map`, `area` and `attribution` have an axis of frames first."""


@dataclass
class LamParts:
    """`results`: of one input and window. Raises XlliError if they differ."""

    results: Sequence[Mapped]

    def __post_init__(self) -> None:
        first = self.results[0]
        for other in self.results[1:]:
            if other.window != first.window or not np.array_equal(other.input, first.input):
                raise XlliError(
                    f"{other.model}: input or window differs from {first.model}'s; give `xlli_ray.lam` the same image and window"
                )

    @cached_property
    def models(self) -> list[str]:
        """An id for each result: the network's, with a number where several have the same."""
        names = [result.model for result in self.results]
        return [name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)]

    @cached_property
    def columns(self) -> list[ExplorerColumn]:
        """One value for each network."""
        return [
            ExplorerColumn(STAGE, name, "number", about, "", better, tuple(self.models),
                           values=np.array([[getattr(result, name)] for result in self.results], np.float32))
            for name, about, better in COLUMNS
        ]  # fmt: skip

    @cached_property
    def _arrays(self) -> list[tuple[SeenArray, dict[str, Any]]]:
        """What can be looked at, with its planes."""
        return list(self._seen())

    def _seen(self) -> Iterator[tuple[SeenArray, dict[str, Any]]]:
        first = self.results[0]
        yield _image("input", "", _still(first.input))
        if first.target is not None:
            yield _image("target", "", first.target)
        for model, result in zip(self.models, self.results):
            yield _image("output", model, result.output)
            maps = result.map[None] if result.map.ndim == 2 else result.map
            signed = result.attribution.sum(axis=-3)
            area = result.area[None] if result.area.ndim == 2 else result.area
            for name, values, form in (("map", maps, "map"), ("attribution", signed.reshape(maps.shape), "signed"), ("area", area, "map")):
                clip = result.map.ndim == 3
                places = [[0, frame] for frame in range(len(values))] if clip else [[0]]
                dims = ("window", "frame", "y", "x") if clip else ("window", "y", "x")
                seen = SeenArray(_key(model, name), STAGE, model, STAGE, form, f"{model} {name}", "float32", dims)  # type: ignore[arg-type]
                yield seen, number_planes(values.astype(np.float32), places, len(values))

    def study(self, held: Sequence[int]) -> dict[str, Any]:
        """See `PartSource`."""
        looks = network_looks(self.models)
        return {
            "format": FORMAT, "name": f"LAM of {', '.join(self.models)}", "place": "", "command": "",
            "rows": 1, "partRows": 1, "thumbnailRows": ROWS, "thumbnailSide": SIDE, "thumbnails": 1,
            "models": [
                {"id": model, "colour": looks[model].colour, "tags": {}, "scale": result.output.shape[-1] // result.input.shape[-1],
                 "weights": "", "known": {}}
                for model, result in zip(self.models, self.results)
            ],
            "labels": [{"label": "", "family": "", "colour": "#6b7280", "rows": 1}],
            "columns": [column.about_json for column in self.columns],
            "arrays": [seen.about_json for seen, _ in self._arrays],
            "held": list(held), "figures": [], "compared": [], "served": False,
        }  # fmt: skip

    def part(self, name: str) -> dict[str, Any]:
        """See `PartSource`."""
        if name == "names-0":
            return {"ids": ["input"], "names": ["input"], "sources": [""], "failures": []}
        if name == "thumbnails-0":
            return sheet([thumbnail(_still(self.results[0].input))])
        if name == "sample-0":
            return self._sample()
        for i, column in enumerate(self.columns):
            if name == f"column-{i}":
                return column.part
        for i, (_, planes) in enumerate(self._arrays):
            if name == f"array-0-{i}":
                return planes
        raise MissingPart(f"there is no part {name[:80]!r}")

    def _sample(self) -> dict[str, Any]:
        height, width = self.results[0].input.shape[-2:]
        windows = []
        for model, result in zip(self.models, self.results):
            place = result.window
            windows.append(
                {"stage": STAGE, "model": model, "key": _key(model, "map"), "place": 0, "top": place.top, "left": place.left,
                 "size": place.size, "scale": result.output.shape[-1] // width,
                 "values": {name: _number(getattr(result, name)) for name, _, _ in COLUMNS}}
            )  # fmt: skip
        return {
            "row": 0, "id": "input", "height": height, "width": width, "images": {seen.key: planes for seen, planes in self._arrays},
            "windows": windows, "missing": [],
            "values": {c.id: {model: _number(value[0]) for model, value in zip(self.models, c.values)} for c in self.columns},
        }  # fmt: skip


def _key(model: str, name: str) -> str:
    return f"{STAGE}/{model}/{STAGE}:{name}"


def _still(planes: NDArray[Any]) -> NDArray[Any]:
    """Of a clip, the centre frame."""
    return planes if planes.ndim == 3 else planes[len(planes) // 2]


def _image(name: str, model: str, planes: NDArray[Any]) -> tuple[SeenArray, dict[str, Any]]:
    """(C, H, W) around 0..1, in grey levels; of other than three channels the first."""
    shown = planes if len(planes) in (1, 3) else planes[:1]
    levels = np.floor(np.clip(np.nan_to_num(shown), 0, 1) * 255 + 0.5).astype(np.uint8)
    seen = SeenArray(_key(model, name) if model else name, STAGE if model else "", model, STAGE if model else "", "image", model or name,
                     "uint8", ("channel", "y", "x"))  # fmt: skip
    return seen, image_planes(levels[None], [[]], 1)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
