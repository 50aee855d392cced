"""The parts of a study for the explorer, each made when asked for: `web/src/data.ts` describes them.

The same study gives the same parts, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import sample_from_row
from xlli_ray.errors import XlliError
from xlli_ray.plots.view import View, to_json
from xlli_ray.report.explorer.columns import ExplorerColumn, explorer_columns
from xlli_ray.report.explorer.run_again import run_again
from xlli_ray.report.explorer.sample_part import SeenArray, array_part, sample_part, seen_arrays
from xlli_ray.report.explorer.source import FORMAT, MissingPart
from xlli_ray.report.explorer.thumbnails import EACH, EMPTY, MOST, ROWS, SIDE, sheet, thumbnail
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_parts.stage import ordered
from xlli_ray.store.records.manifest import ModelRecord

NAMES = 4096
"""Samples in one part of names."""


@dataclass(frozen=True)
class SeenFigure:
    """A figure with data: the section it belongs to, its id on the page, its caption."""

    section: str
    anchor: str
    caption: str
    view: View

    @property
    def about_json(self) -> dict[str, str]:
        """`FigureData`."""
        return {
            "section": self.section, "anchor": self.anchor, "title": self.view.title, "caption": self.caption, "kind": self.view.KIND
        }  # fmt: skip


@dataclass
class Parts:
    """The parts of one study. `context` stays open as long as parts are asked for."""

    context: Context
    place: str
    """As given to the command, for the commands that the page prints."""
    figures: Sequence[SeenFigure] = ()
    _thumbnails: dict[str | int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @cached_property
    def columns(self) -> list[ExplorerColumn]:
        """All columns, with their values."""
        return explorer_columns(self.context)

    @cached_property
    def arrays(self) -> list[SeenArray]:
        """Everything that can be looked at."""
        return seen_arrays([cell for cell in ordered(self.context.study.manifest) if any(bucket.arrays for bucket in cell.buckets)])

    def study(self, held: Sequence[int]) -> dict[str, Any]:
        """Part `study`. `held`: rows whose samples are written."""
        manifest, table = self.context.study.manifest, self.context.table
        looks, families = self.context.looks, self.context.families
        return {
            "format": FORMAT, "name": manifest.name, "place": self.place, "command": run_again(manifest.command, self.place),
            "rows": table.rows, "partRows": NAMES, "thumbnailRows": ROWS, "thumbnailSide": SIDE, "thumbnails": min(MOST, table.rows),
            "models": [_model(model, looks[model.id].colour) for model in manifest.models],
            "labels": [
                {"label": label, "family": families[label], "colour": self.context.colour(label), "rows": rows}
                for label, rows in table.labels.items()
            ],
            "columns": [column.about_json for column in self.columns],
            "arrays": [array.about_json for array in self.arrays],
            "held": sorted(held),
            "figures": [figure.about_json for figure in self.figures],
            "compared": [], "served": False,
        }  # fmt: skip

    def part(self, name: str) -> dict[str, Any]:
        """One part but `study`. Raises MissingPart if there is no such part, StudyError if it cannot be made."""
        match = re.fullmatch(r"(names|thumbnails|column|sample|figure)-(\d{1,9})|array-(\d{1,9})-(\d{1,6})", name)
        if match is None:
            raise self._unknown(name)
        rows = self.context.table.rows
        if match[3] is not None:
            row, index = int(match[3]), int(match[4])
            if row >= rows or index >= len(self.arrays) or not self.arrays[index].cell:
                raise self._unknown(name)
            return self._forgetting(array_part(self.context, row, self.arrays[index]))
        kind, number = match[1], int(match[2])
        ends = {"names": -(-rows // NAMES), "thumbnails": -(-min(rows, MOST) // ROWS), "column": len(self.columns), "sample": rows,
                "figure": len(self.figures)}  # fmt: skip
        if number >= ends[kind]:
            raise self._unknown(name)
        if kind == "names":
            return self._names(number)
        if kind == "thumbnails":
            first = number * ROWS
            return sheet([self.thumbnail_of(row) for row in range(first, min(first + ROWS, rows, MOST))])
        if kind == "column":
            return self.columns[number].part
        if kind == "figure":
            made: dict[str, Any] = json.loads(to_json(self.figures[number].view))
            return made
        return self._forgetting(sample_part(self.context, number, self.arrays))

    def _forgetting(self, part: dict[str, Any]) -> dict[str, Any]:
        """Without the sample's pixels, which nothing else shows: the parts of all would hold the corpus."""
        self.context.samples.forget()
        return part

    def _names(self, number: int) -> dict[str, Any]:
        first = number * NAMES
        last = min(first + NAMES, self.context.table.rows)
        lines: list[Mapping[str, Any]] = self.context.study.sample_rows(first, last).to_pylist()
        for offset, line in enumerate(lines):
            self.context.samples.remember(first + offset, dict(line))
        failures = self.context.tables.rows(
            f"select row, stage, coalesce(model, '') as model, reason from failures where row >= {first} and row < {last} order by all"
        )
        return {
            "ids": [line["sample_id"] for line in lines],
            "names": [self.context.samples.name(first + offset) for offset in range(len(lines))],
            "sources": [line["source"] for line in lines],
            "failures": failures,
        }

    def thumbnail_of(self, row: int) -> NDArray[np.uint8]:
        """Of the sample, or in large studies of the first one that has its content. The image is not kept, unlike those that are drawn."""
        about = self.context.samples.row(row)
        key = about["content"] if self.context.table.rows > EACH else row
        if key not in self._thumbnails:
            try:
                self._thumbnails[key] = thumbnail(self.context.samples.loader.load(sample_from_row(about)).input)
            except (XlliError, OSError, MemoryError):
                self._thumbnails[key] = EMPTY
        return self._thumbnails[key]

    def _unknown(self, name: str) -> MissingPart:
        return MissingPart(f"{self.place}: the page of this study has no part {name[:80]!r}")


def _model(model: ModelRecord, colour: str) -> dict[str, Any]:
    """`ModelData`. `known`: what `xlli_ray.lam` must be told beside the weights, as the recipe did."""
    known = {name: model.entry[name] for name in ("key", "network", "args", "scale", "range", "frames") if model.entry.get(name)}
    return {
        "id": model.id, "colour": colour, "tags": {k: str(v) for k, v in model.tags.items()}, "scale": model.scale,
        "weights": model.entry.get("weights") or "", "known": known,
    }  # fmt: skip
