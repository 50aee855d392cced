"""The parts of two studies for one explorer: rows are the samples of both, networks and arrays stand side by side."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import StudyError
from xlli_ray.plots.embedding import Cloud, Embedding
from xlli_ray.plots.palette import network_looks
from xlli_ray.plots.view import View, to_json
from xlli_ray.report.comparison.joined_columns import Joined, Names, called, joined_columns
from xlli_ray.report.comparison.same_samples import SameSamples
from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.explorer.parts import NAMES, Parts
from xlli_ray.report.explorer.sample_part import SeenArray
from xlli_ray.report.explorer.source import FORMAT, MissingPart
from xlli_ray.report.explorer.thumbnails import MOST, ROWS, SIDE, sheet


@dataclass(frozen=True)
class _Place:
    """An array of the comparison: of which study, and its number there; −1 for the corpus."""

    array: SeenArray
    side: int
    index: int


@dataclass
class JoinedParts:
    """A `PartSource` of two others."""

    sides: tuple[Parts, Parts]
    names: Names
    same: SameSamples

    @property
    def rows(self) -> int:
        return len(self.same.one)

    @cached_property
    def joined(self) -> list[Joined]:
        return joined_columns(self.sides[0].columns, self.sides[1].columns, self.same, self.names)

    @cached_property
    def columns(self) -> list[ExplorerColumn]:
        """All columns, with their values."""
        return [joined.column for joined in self.joined]

    @cached_property
    def _arrays(self) -> list[_Place]:
        out = [_Place(array, 0, -1) for array in self.sides[0].arrays if not array.cell]
        if self.same.by_content:  # other noise, another scale: what the networks saw differs
            own = [replace(place.array, key=called(self.names[1], place.array.key), title=called(self.names[1], place.array.title))
                   for place in out]  # fmt: skip
            out += [_Place(array, 1, -1) for array in own]
        for side, name in enumerate(self.names):
            for index, array in enumerate(self.sides[side].arrays):
                if array.cell:
                    model = called(name, array.model) if array.model else ""
                    seen = replace(array, key=called(name, array.key), title=called(name, array.title), model=model)
                    out.append(_Place(seen, side, index))
        return out

    def study(self, held: Sequence[int]) -> dict[str, Any]:
        """See `PartSource`. It has no place: what the page prints to run again is of one study."""
        abouts = [parts.study([]) for parts in self.sides]
        models = [{**model, "id": called(name, model["id"])} for name, about in zip(self.names, abouts) for model in about["models"]]
        looks = network_looks([model["id"] for model in models])
        labels = {one["label"]: one for about in reversed(abouts) for one in about["labels"]}
        counts = Counter(self._labels)
        order = dict.fromkeys(one["label"] for about in abouts for one in about["labels"])
        return {
            "format": FORMAT, "name": " and ".join(self.names), "place": "", "command": "", "rows": self.rows, "partRows": NAMES,
            "thumbnailRows": ROWS, "thumbnailSide": SIDE, "thumbnails": min(MOST, self.rows),
            "models": [{**model, "colour": looks[model["id"]].colour} for model in models],
            "labels": [{**labels[label], "rows": counts[label]} for label in order],
            "columns": [column.about_json for column in self.columns],
            "arrays": [place.array.about_json for place in self._arrays],
            "held": sorted(held),
            "figures": [
                {**figure, **{key: called(name, figure[key]) for key in ("section", "title", "caption")}, "anchor": ""}
                for name, about in zip(self.names, abouts) for figure in about["figures"]
            ],
            "compared": list(self.names), "served": False,
        }  # fmt: skip

    def part(self, name: str) -> dict[str, Any]:
        """See `PartSource`."""
        match = re.fullmatch(r"(names|thumbnails|column|sample|figure)-(\d{1,9})|array-(\d{1,9})-(\d{1,6})", name)
        if match is None:
            raise self._unknown(name)
        if match[3] is not None:
            return self._array(name, int(match[3]), int(match[4]))
        kind, number = match[1], int(match[2])
        figures = [len(parts.figures) for parts in self.sides]
        ends = {"names": -(-self.rows // NAMES), "thumbnails": -(-min(self.rows, MOST) // ROWS), "column": len(self.columns),
                "sample": self.rows, "figure": sum(figures)}  # fmt: skip
        if number >= ends[kind]:
            raise self._unknown(name)
        if kind == "names":
            return self._names(number)
        if kind == "thumbnails":
            return sheet([self._thumbnail(row) for row in range(number * ROWS, min((number + 1) * ROWS, self.rows, MOST))])
        if kind == "column":
            return self.columns[number].part
        if kind == "figure":
            side = int(number >= figures[0])
            return self._figure(side, self.sides[side].figures[number - side * figures[0]].view)
        return self._sample(number)

    def _array(self, name: str, row: int, index: int) -> dict[str, Any]:
        if row >= self.rows or index >= len(self._arrays) or self._arrays[index].index < 0:
            raise self._unknown(name)
        place = self._arrays[index]
        own = int(self.same.of(place.side)[row])
        if own < 0:
            raise StudyError(f"{place.array.title}: this sample is not in {self.names[place.side]}")
        return self.sides[place.side].part(f"array-{own}-{place.index}")

    def _sample(self, row: int) -> dict[str, Any]:
        images: dict[str, Any] = {}
        windows: list[dict[str, Any]] = []
        missing: dict[str, str] = {}
        values: dict[str, dict[str, Any]] = {}
        first: dict[str, Any] = {}
        for side, name in enumerate(self.names):
            own = int(self.same.of(side)[row])
            if own < 0:
                continue
            part = self.sides[side].part(f"sample-{own}")
            first = first or part
            stored = {array.key for array in self.sides[side].arrays if array.cell}
            for key, planes in part["images"].items():
                if key in stored:
                    images[called(name, key)] = planes
                elif key not in images:
                    images[key] = planes
                elif images[key] != planes:
                    images[called(name, key)] = planes
            missing |= {called(name, item["key"]) if item["key"] in stored else item["key"]: item["reason"] for item in part["missing"]}
            windows += [
                {**window, "model": called(name, window["model"]), "key": called(name, window["key"]) if window["key"] else ""}
                for window in part["windows"]
            ]
            for joined in self.joined:
                for model, value in part["values"].get(joined.ids[side], {}).items():
                    values.setdefault(joined.column.id, {}).setdefault(called(name, model) if model else "", value)
        return {
            "row": row, "id": first["id"], "height": first["height"], "width": first["width"], "images": images, "windows": windows,
            "values": values, "missing": [{"key": key, "reason": reason} for key, reason in missing.items() if key not in images],
        }  # fmt: skip

    def _names(self, number: int) -> dict[str, Any]:
        first, last = number * NAMES, min((number + 1) * NAMES, self.rows)
        lines = [self._named[row] for row in range(first, last)]
        return {
            "ids": [line[0] for line in lines], "names": [line[1] for line in lines], "sources": [line[2] for line in lines],
            "failures": [failure for failure in self._failures if first <= failure["row"] < last],
        }  # fmt: skip

    @cached_property
    def _listed(self) -> list[list[dict[str, Any]]]:
        """All parts of names of each study."""
        return [[parts.part(f"names-{i}") for i in range(-(-parts.context.table.rows // NAMES))] for parts in self.sides]

    @cached_property
    def _named(self) -> list[tuple[str, str, str]]:
        """(id, name, source) of each row."""
        lists = [[line for part in parts for line in zip(part["ids"], part["names"], part["sources"])] for parts in self._listed]
        return [lists[0][one] if one >= 0 else lists[1][other] for one, other in zip(self.same.one, self.same.other)]

    @cached_property
    def _failures(self) -> list[dict[str, Any]]:
        out = []
        for side, (name, parts) in enumerate(zip(self.names, self._listed)):
            joined = self.same.joined(side)
            for failure in (failure for part in parts for failure in part["failures"]):
                model = called(name, failure["model"]) if failure["model"] else ""
                out.append({**failure, "row": int(joined[failure["row"]]), "model": model})
        return sorted(out, key=lambda failure: failure["row"])

    @cached_property
    def _labels(self) -> list[str]:
        """Degradation label of each row."""
        lists = [parts.context.study.sample_rows(0, parts.context.table.rows)["label"].to_pylist() for parts in self.sides]
        return [lists[0][one] if one >= 0 else lists[1][other] for one, other in zip(self.same.one, self.same.other)]

    def _thumbnail(self, row: int) -> NDArray[np.uint8]:
        one, other = int(self.same.one[row]), int(self.same.other[row])
        return self.sides[0].thumbnail_of(one) if one >= 0 else self.sides[1].thumbnail_of(other)

    def _figure(self, side: int, view: View) -> dict[str, Any]:
        """Points of embeddings are samples: their rows are those of the comparison."""
        if isinstance(view, Embedding):
            joined = self.same.joined(side)

            def moved(cloud: Cloud | None) -> Cloud | None:
                return cloud and replace(cloud, rows=tuple(int(joined[row]) for row in cloud.rows))

            view = replace(view, panels=tuple(tuple(map(moved, line)) for line in view.panels))
        made: dict[str, Any] = json.loads(to_json(view))
        return made

    def _unknown(self, name: str) -> MissingPart:
        return MissingPart(f"the comparison of {self.names[0]} and {self.names[1]} has no part {name[:80]!r}")
