"""Selection of samples and rows to show, and their pixels. Reads only single rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.corpus.degradations import is_real
from xlli_ray.corpus.sample import Loaded, Loader, sample_from_row
from xlli_ray.errors import XlliError
from xlli_ray.store.records.manifest import BucketPlan, SampleTable
from xlli_ray.store.zarr.size_reader import Reader
from xlli_ray.study import Study
from xlli_ray.views.image_reader import ImageReader

ROW_BYTES = 256 << 20
"""A single sample larger than this is not drawn."""


@dataclass
class Samples:
    """Sample rows and their pixels, each loaded once."""

    study: Study
    loader: Loader
    _rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    _loaded: dict[int, Loaded | str] = field(default_factory=dict)

    def row(self, number: int) -> dict[str, Any]:
        """Row `number` of the sample table."""
        if number not in self._rows:
            self._rows[number] = self.study.sample_rows(number, number + 1).to_pylist()[0]
        return self._rows[number]

    def remember(self, number: int, row: dict[str, Any]) -> None:
        """Row `number`, read before with others."""
        self._rows.setdefault(number, row)

    def load(self, number: int) -> Loaded | str:
        """Input and target of that sample, or the reason why they cannot be shown (a page is also made without its corpus)."""
        if number not in self._loaded:
            try:
                self._loaded[number] = self.loader.load(sample_from_row(self.row(number)))
            except (XlliError, OSError, MemoryError) as error:
                self._loaded[number] = str(error) or type(error).__name__
        return self._loaded[number]

    def forget(self) -> None:
        """Give up the pixels of all samples: who shows one after another would hold the corpus."""
        self._loaded.clear()

    @property
    def whole(self) -> bool:
        """Whether each sample that was asked for could be loaded."""
        return not any(isinstance(loaded, str) for loaded in self._loaded.values())

    def name(self, number: int) -> str:
        """A short name: file, patch; of a clip also its folder, since frames of all clips are often called the same."""
        row = self.row(number)
        name = "/".join(re.split(r"[/\\]", row["source"])[-2 if row.get("frames") else -1 :]) or row["source"]
        return f"{name} @{row['top']},{row['left']}" if row["top"] is not None else name

    def label(self, number: int) -> str:
        """Degradation label."""
        return str(self.row(number)["label"])

    def colour(self, number: int) -> str:
        """The colour of its degradation, for a dot; empty if the study has only one degradation."""
        return self._meaning.colour(self.label(number)) if self.several else ""

    @cached_property
    def read(self) -> ImageReader:
        """Reads the arrays named by image panels."""
        return ImageReader(self.study.archive, self.load, self.row)

    @cached_property
    def _meaning(self) -> Labels:
        return Labels.of(self.study.manifest.samples)

    def head(self, number: int) -> str:
        """Name, and degradation if there are several."""
        return self.name(number) + (f" · {self.label(number)}" if self.several else "")

    @cached_property
    def several(self) -> bool:
        """Whether the study has more than one degradation."""
        table = self.study.manifest.samples
        return table is not None and len({block[0] for bucket in table.buckets for block in bucket.blocks}) > 1


def table_row(bucket: BucketPlan, place: int) -> int:
    """Table row behind array row `place`."""
    ((first, _),) = bucket.table_rows(place, place + 1)
    return first


def positions_by_label(table: SampleTable, plan: BucketPlan) -> dict[str, list[int]]:
    """Degradation label → array rows of its first samples (at most 64), in table order: the same contents in each label.

    Real sets have other contents and are left out.
    """
    bucket = next(b for b in table.buckets if b.name == plan.name)
    out: dict[str, list[int]] = {}
    for label, first, rows in bucket.blocks:
        if is_real(label):
            continue
        offset = 0
        for start, count in plan.segments:
            low, high = max(first, start), min(first + rows, start + count)
            out.setdefault(label, []).extend(range(offset + low - start, offset + high - start)[: 64 - len(out[label])])
            offset += count
    return {label: places for label, places in out.items() if places}


def spread(count: int, items: Sequence[Any]) -> list[Any]:
    """At most `count` of `items`, evenly spaced, first and last included."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]


Place = tuple[Reader, int]
"""One row of one array."""


def usable_readers(readers: Sequence[Reader]) -> list[Reader]:
    """Readers with valid rows that are not too large to draw, most rows first; only small ones if there are any."""
    usable = [r for r in readers if r.valid.any() and r.meta.nbytes / max(1, r.meta.rows) <= ROW_BYTES]
    light = [r for r in usable if r.meta.nbytes / r.meta.rows <= ROW_BYTES / 8]
    return sorted(light or usable, key=lambda r: (-int(r.valid.sum()), r.meta.nbytes))


def pick(table: SampleTable, readers: Sequence[Reader], count: int) -> list[Place]:
    """The rows to show: with several degradations, one content under the first and the last; otherwise different contents."""
    first = readers[0]
    groups = positions_by_label(table, first.bucket)
    labels = spread(count, list(groups))
    if len(labels) == 1:
        good = [(reader, int(place)) for reader in readers for place in np.flatnonzero(reader.valid)[:64]]
        return spread(count, good)
    for k in range(min(len(groups[label]) for label in labels)):
        chosen = [groups[label][k] for label in labels]
        if first.valid[chosen].all():
            return [(first, place) for place in chosen]
    return [(first, int(place)) for place in np.flatnonzero(first.valid)[:count]]


def natural(text: str) -> list[tuple[int, int | str]]:
    """Natural sort key: `body.10` comes after `body.2`."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part]
