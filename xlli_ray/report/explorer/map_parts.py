"""The parts of maps without a study, as `xlli_ray.lam` and `xlli_ray.cem` return them: one sample, with outputs and maps of one window
under each network. What differs between kinds of maps is in `lam_parts` and `cem_parts`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.palette import network_looks
from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.explorer.encoding import image_planes
from xlli_ray.report.explorer.sample_part import Form, SeenArray
from xlli_ray.report.explorer.sample_windows import finite
from xlli_ray.report.explorer.source import FORMAT, MissingPart
from xlli_ray.report.explorer.thumbnails import ROWS, SIDE, sheet, thumbnail
from xlli_ray.views.lam import WindowResult

Shown = tuple[SeenArray, dict[str, Any]]
"""An array that can be looked at, with its planes."""


Result = TypeVar("Result", bound=WindowResult)


@dataclass(frozen=True)
class Told:
    """A number of a map: a column of the explorer."""

    name: str
    about: str
    better: str | None = None
    unit: str = ""


@dataclass
class MapParts(ABC, Generic[Result]):
    """A `PartSource`. `results`: of one input and window."""

    results: Sequence[Result]
    STAGE: ClassVar[str]
    MAP: ClassVar[str]
    """Name of the array of maps."""
    TITLE: ClassVar[str]
    NUMBERS: ClassVar[Sequence[Told]]

    @abstractmethod
    def maps(self, model: str, result: Result) -> Iterator[Shown]:
        """The arrays of one network's maps, `MAP` first."""

    @abstractmethod
    def numbers(self, result: Result) -> Mapping[str, Any]:
        """Those of NUMBERS."""

    def window(self, result: Result) -> dict[str, Any]:
        """More of a `WindowData` than its place and numbers."""
        return {}

    @cached_property
    def models(self) -> list[str]:
        """An id for each result: the network's, with a number where several have the same."""
        names = [result.model for result in self.results]
        return [name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)]

    @cached_property
    def columns(self) -> list[ExplorerColumn]:
        """One value for each network."""
        found = [self.numbers(result) for result in self.results]
        return [
            ExplorerColumn(self.STAGE, one.name, "number", one.about, one.unit, one.better, tuple(self.models),
                           values=np.array([[numbers[one.name]] for numbers in found], np.float32))
            for one in self.NUMBERS
        ]  # fmt: skip

    @cached_property
    def _arrays(self) -> list[Shown]:
        return list(self._seen())

    def _seen(self) -> Iterator[Shown]:
        first = self.results[0]
        if first.input.ndim == 3:
            yield _image("input", "", "", first.input)
        else:
            yield _image("input", "", "", self._still(first), [[_frame(first)]], len(first.input))
        if first.target is not None:
            yield _image("target", "", "", first.target)
        for model, result in zip(self.models, self.results):
            yield _image("output", self.STAGE, model, result.output)
            yield from self.maps(model, result)

    def seen(self, model: str, name: str, form: Form, *, clip: bool, title: str = "") -> SeenArray:
        """An array of maps, one window each."""
        dims = ("window", "frame", "y", "x") if clip else ("window", "y", "x")
        return SeenArray(_key(self.STAGE, model, name), self.STAGE, model, self.STAGE, form, title or f"{model} {name}", "float32", dims)

    def study(self, held: Sequence[int]) -> dict[str, Any]:
        """See `PartSource`."""
        looks = network_looks(self.models)
        return {
            "format": FORMAT, "name": f"{self.TITLE} of {', '.join(self.models)}", "place": "", "command": "",
            "rows": 1, "partRows": 1, "thumbnailRows": ROWS, "thumbnailSide": SIDE, "thumbnails": 1,
            "models": [
                {"id": model, "colour": looks[model].colour, "tags": {}, "scale": scale_of(result), "weights": "", "known": {}}
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
            return sheet([thumbnail(self._still(self.results[0]))])
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
        windows = [
            {"stage": self.STAGE, "model": model, "key": _key(self.STAGE, model, self.MAP), "place": 0, "top": result.window.top,
             "left": result.window.left, "size": result.window.size, "scale": scale_of(result),
             "values": {name: finite(value) for name, value in self.numbers(result).items()}, **self.window(result)}
            for model, result in zip(self.models, self.results)
        ]  # fmt: skip
        return {
            "row": 0, "id": "input", "height": height, "width": width, "images": {seen.key: planes for seen, planes in self._arrays},
            "windows": windows, "missing": [],
            "values": {c.id: {model: finite(value[0]) for model, value in zip(self.models, c.values)} for c in self.columns},
        }  # fmt: skip

    def _still(self, result: Result) -> NDArray[Any]:
        """Of a clip, the explained frame."""
        return result.input if result.input.ndim == 3 else result.input[_frame(result)]


def scale_of(result: WindowResult) -> int:
    """Output pixels per input pixel."""
    return result.output.shape[-1] // result.input.shape[-1]


def map_places(stack: NDArray[Any], *, clip: bool) -> list[list[int]]:
    """Places of the planes of one window's maps, (1, H, W) or (T, H, W)."""
    return [[0, frame] for frame in range(len(stack))] if clip else [[0]]


def _frame(result: WindowResult) -> int:
    """The explained frame of a clip."""
    frame: int | None = getattr(result, "frame", None)
    return len(result.input) // 2 if frame is None else frame


def _key(stage: str, model: str, name: str) -> str:
    return f"{stage}/{model}/{stage}:{name}"


def _image(
    name: str, stage: str, model: str, planes: NDArray[Any], places: Sequence[Sequence[int]] = ((),), total: int = 1
) -> Shown:
    """(C, H, W) around 0..1, in grey levels; of other than three channels the first."""
    shown = planes if len(planes) in (1, 3) else planes[:1]
    levels = np.floor(np.clip(np.nan_to_num(shown), 0, 1) * 255 + 0.5).astype(np.uint8)
    key = _key(stage, model, name) if model else name
    seen = SeenArray(key, stage, model, stage, "image", model or name, "uint8", ("channel", "y", "x"))
    return seen, image_planes(levels[None], places, total)
