"""The plan of a study: the resolved recipe, the sample table's summary, the models, and the cells with their identity and row ranges.

A **cell** is the unit of identity: (sample table, model, stage, one output). Its `identity` holds everything that can change its numbers
and nothing else; adding a model, a layer or a stage adds cells and does not change the others. A **unit** is a row range of one bucket
of one cell, and owns one whole shard of each array. Cells of one `group` share their ranges, so that one forward pass serves them.

Storage as `study/<epoch>.<number>.json` with the copy `study.json`: see `documents`.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from xlli_ray.errors import StudyError
from xlli_ray.store.records.probe_description import KindRecord
from xlli_ray.store.records.strict_types import STRICT, Natural, Positive
from xlli_ray.store.zarr.layout import ArrayMeta

FORMAT = 2
"""Format of these documents. 1: only `study.json`, without a seal; it is read, and written as 2."""


@dataclass(frozen=True)
class Bucket:
    """All samples of one input size: a contiguous range of the sample table, cut by degradation."""

    __pydantic_config__ = STRICT

    name: str
    height: Positive
    width: Positive
    start: Natural
    rows: Natural
    blocks: tuple[tuple[str, Natural, Natural], ...] = ()
    """(degradation label, first row of the table, rows), in table order."""
    targets: Natural = 0
    """Number of rows with a target."""
    scales: tuple[Natural, ...] = ()
    """The scales that occur (0: unknown, inputs without target)."""
    frames: Natural = 0
    """Frames of a clip; 0: images."""


@dataclass(frozen=True)
class LabelRecord:
    """Meaning of a degradation label: which degradations, at which levels."""

    __pydantic_config__ = STRICT

    label: str
    type: str
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FamilyRecord:
    """One kind of degradation as shown in tables and figures."""

    __pydantic_config__ = STRICT

    name: str
    axis: str
    higher_is_worse: bool = True
    colour: str | None = None


@dataclass(frozen=True)
class SampleTable:
    """Summary of `samples/` for planning."""

    __pydantic_config__ = STRICT

    hash: str
    corpus_hash: str
    rows: Natural
    rejected: Natural
    buckets: tuple[Bucket, ...]
    row_group: Positive
    part_rows: Positive
    meanings: tuple[LabelRecord, ...] = ()
    """Of the labels, in table order; empty for tables written before such records existed."""
    families: tuple[FamilyRecord, ...] = ()
    masks: bool = False
    """Whether samples come with a mask from a file: the table then has the columns `mask` and `mask_sha`."""

    @property
    def labels(self) -> dict[str, int]:
        """Degradation label → its samples in all sizes, in table order."""
        counts: dict[str, int] = {}
        for bucket in self.buckets:
            for label, _, rows in bucket.blocks:
                counts[label] = counts.get(label, 0) + rows
        return counts


NO_MODEL = "-"
"""In the id and the keys of a cell that belongs to samples alone, where others have their model's id."""
SIZES = "sizes"
"""Name of the bucket for inputs of many sizes (`docs/decisions/010-many-sizes.md`)."""


@dataclass(frozen=True)
class SizePlan:
    """The run of rows of one exact input size in a bucket that holds many."""

    __pydantic_config__ = STRICT

    name: str
    """Name that a bucket of this size has, also in the sample table."""
    height: Positive
    width: Positive
    rows: Positive
    batch: Positive
    extents: Mapping[str, tuple[Positive, ...]]
    """Array → shape of its samples; without arrays whose shape is the same for all sizes."""
    macs: float = 0.0
    refused: str = ""


@dataclass(frozen=True)
class BucketPlan:
    """The part of a cell in one bucket."""

    __pydantic_config__ = STRICT

    name: str
    height: Positive
    width: Positive
    rows: Natural
    batch: Positive
    rows_per_unit: Positive
    first_unit: Natural
    segments: tuple[tuple[Natural, Natural], ...]
    """(first table row, rows): which samples, in array order."""
    arrays: tuple[ArrayMeta, ...]
    macs: float = 0.0
    """Multiply-adds per sample, for the projection."""
    refused: str = ""
    """Why the network does not accept inputs of this size; all rows of the bucket are then failed rows."""
    frames: Natural = 0
    """Frames of a clip; 0: images."""
    sizes: tuple[SizePlan, ...] = ()
    """Of the bucket `sizes`: the runs of its rows, in order. Height, width and batch are then the largest, `macs` is a mean."""
    offset: Natural = 0
    """For one size in such a bucket (`exact`): index of its first row there."""

    @cached_property
    def exact(self) -> tuple[BucketPlan, ...]:
        """The bucket as if each input size had its own, with the shapes of its samples; itself if it has one size."""
        if not self.sizes:
            return (self,)
        out, offset = [], 0
        left = deque(self.segments)
        for size in self.sizes:
            segments: list[tuple[int, int]] = []
            missing = size.rows
            while missing:
                first, count = left.popleft()
                if count > missing:
                    left.appendleft((first + missing, count - missing))
                segments.append((first, min(count, missing)))
                missing -= segments[-1][1]
            arrays = tuple(
                replace(meta, rows=size.rows, shape=size.extents.get(meta.name, meta.shape), tile=())
                for meta in ((), self.arrays)[not size.refused]
            )
            out.append(replace(
                self, name=size.name, height=size.height, width=size.width, rows=size.rows, batch=size.batch, segments=tuple(segments),
                arrays=arrays, macs=size.macs, refused=size.refused, sizes=(), offset=offset,
            ))  # fmt: skip
            offset += size.rows
        return tuple(out)

    def forwards(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Array rows [first, last) of each forward pass of the unit [start, stop): batches of one size, without refused sizes.

        In a bucket of many sizes, the edge of a unit may cut a batch. Then both units run all of it, and each keeps its own rows: the
        output of a network may depend on the rest of the batch, but must not depend on where units are cut.
        """
        if not self.sizes:
            return [] if self.refused else [(first, min(first + self.batch, stop)) for first in range(start, stop, self.batch)]
        out = []
        for part in self.exact:
            low, high = max(start, part.offset), min(stop, part.offset + part.rows)
            if low < high and not part.refused:
                begin = part.offset + (low - part.offset) // part.batch * part.batch
                out += [(first, min(first + part.batch, part.offset + part.rows)) for first in range(begin, high, part.batch)]
        return out

    def refusals(self, start: int, stop: int) -> dict[int, str]:
        """Array row in [start, stop) → why the network does not accept its size."""
        return {row: part.refused for part in self.exact if part.refused
                for row in range(max(start, part.offset), min(stop, part.offset + part.rows))}  # fmt: skip

    @property
    def units(self) -> int:
        return -(-self.rows // self.rows_per_unit)

    def table_rows(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Table ranges [first, last) behind array rows [start, stop)."""
        out, offset = [], 0
        for first, count in self.segments:
            low, high = max(start, offset), min(stop, offset + count)
            if low < high:
                out.append((first + low - offset, first + high - offset))
            offset += count
        return out


@dataclass(frozen=True)
class Cell:
    """One output of one stage, for one model or for the samples alone."""

    __pydantic_config__ = STRICT

    stage: str
    kind: str
    model: str
    """Id; "" where it belongs to the samples alone."""
    what: str
    spec: Mapping[str, Any]
    params: Mapping[str, Any]
    identity: Mapping[str, Any]
    columns: tuple[tuple[str, str], ...]
    group: str
    threads: int
    buckets: tuple[BucketPlan, ...]
    code: str = ""
    """Location of the probe's class as given in the recipe, `package.module:Class`; "" for one in a registry. Never executed by itself."""
    needs: tuple[str, ...] = ()
    """Ids of the cells that its probe is given the measurements of."""

    @property
    def owner(self) -> str:
        """The model's id, or NO_MODEL."""
        return self.model or NO_MODEL

    @property
    def id(self) -> str:
        return f"{self.stage}/{self.owner}/{self.what}"

    @property
    def hash(self) -> str:
        return identity_hash(self.identity)

    @property
    def units(self) -> int:
        return sum(bucket.units for bucket in self.buckets)

    @property
    def rows(self) -> int:
        return sum(bucket.rows for bucket in self.buckets)

    @property
    def sizes(self) -> tuple[BucketPlan, ...]:
        """The exact input sizes, whether each has its own bucket or many share one."""
        return tuple(part for bucket in self.buckets for part in bucket.exact)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays before compression."""
        return sum(array.nbytes for part in self.sizes for array in part.arrays)

    @cached_property
    def _first_units(self) -> list[int]:
        return [bucket.first_unit for bucket in self.buckets]

    def unit(self, number: int) -> tuple[BucketPlan, int, int]:
        """(bucket, first array row, one past the last) of a unit."""
        bucket = self.buckets[bisect.bisect_right(self._first_units, number) - 1]
        start = (number - bucket.first_unit) * bucket.rows_per_unit
        return bucket, start, min(start + bucket.rows_per_unit, bucket.rows)

    def bucket(self, name: str) -> BucketPlan:
        if name not in self._by_name:
            raise StudyError(f"{self.id}: no bucket {name!r}; buckets: {', '.join(b.name for b in self.buckets)}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, BucketPlan]:
        return {bucket.name: bucket for bucket in self.buckets}


@dataclass(frozen=True)
class ModelRecord:
    """A model as stored in a study; its tensors are in `weights/<weights_sha256>.safetensors`."""

    __pydantic_config__ = STRICT

    id: str
    weights_sha256: str
    source: str
    source_sha256: str
    network: str
    network_version: int
    scale: int
    channels: int
    range: tuple[float, float]
    output: str
    entry: Mapping[str, Any]
    """The recipe's entry, from which a worker rebuilds it."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Decisions made while reading it, for people."""
    folder: str = ""
    """For a factory: where its file was found, "" for an installed package."""
    sizes: tuple[int, int, bool] | None = None
    """(multiple, minimum, square) of the sizes that the network accepts; None in older studies: to be determined again."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """VERSIONs of the registered classes that the network consists of, e.g. {"alignment patch": 1}."""


@dataclass(frozen=True)
class Manifest:
    """The content of a study's document."""

    __pydantic_config__ = STRICT

    name: str
    seed: int
    recipe: Mapping[str, Any]
    samples: SampleTable | None
    models: tuple[ModelRecord, ...] = ()
    cells: tuple[Cell, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    command: str = ""
    planned: str = ""
    """Hash of everything that the last plan depends on: if unchanged, the cells above are the plan."""
    format: int = FORMAT
    document: str = ""
    """`<epoch>.<number>`: which of the study's documents this is; `study.json` is a copy of one."""
    kinds: tuple[KindRecord, ...] = ()
    """Of the cells' probes; empty in older studies."""

    @property
    def measurements(self) -> int:
        """Samples, counted once per model that measures them, and once if measured without one, regardless of the number of stages."""
        rows: dict[str, int] = {}
        for cell in self.cells:
            rows[cell.model] = max(rows.get(cell.model, 0), cell.rows)
        return sum(rows.values())

    def cell(self, cell_id: str) -> Cell:
        if cell_id not in self._by_id:
            raise StudyError(f"no cell {cell_id!r} in this study")
        return self._by_id[cell_id]

    @cached_property
    def _by_id(self) -> dict[str, Cell]:
        return {cell.id: cell for cell in self.cells}

    def model(self, model_id: str) -> ModelRecord:
        for model in self.models:
            if model.id == model_id:
                return model
        raise StudyError(f"no model {model_id!r} in this study; models: {', '.join(m.id for m in self.models)}")


def chosen(which: Any, model: str, tags: Mapping[str, Any], *, kind: str, baseline: bool) -> bool:
    """Whether a stage's `models` field chooses this model: `all`, a list of ids, or {tag: value}, all of which must match.

    A `baseline` belongs to every stage of the kind `restore`, and to others only if it is named.
    """
    if baseline and kind == "restore":
        return True
    if which == "all":
        return not baseline
    if isinstance(which, Mapping):
        return all(tags.get(tag) == value for tag, value in which.items())
    return model in which


def identity_hash(identity: Mapping[str, Any]) -> str:
    """First 16 hex digits of the sha256 of the identity's canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
