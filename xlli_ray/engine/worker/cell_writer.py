"""One cell's part of a unit: measurements become shards and rows, and failed samples keep their position.

Arrays go into shards that are invisible before `commit`; those of a probe for complete sets are collected in its `Gathering` until the set
is complete. Scalars become the rows of the record: measured ones, and NaN for samples that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from xlli_ray.corpus.sample import Sample
from xlli_ray.probes import make_probe
from xlli_ray.probes.measurement import Gathering, Measurement, SetProbe
from xlli_ray.probes.probe import Probe
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.unit_records import ARROW
from xlli_ray.store.zarr.layout import shard_key
from xlli_ray.store.zarr.shard import Shard, ShardFile


@dataclass
class CellPart:
    """See the module docstring."""

    cell: Cell
    probe: Probe
    shards: dict[str, ShardFile]
    columns: dict[str, list[Any]]
    """Scalars of measured samples; `position` is the one in the unit."""
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Position in the unit → (kind, reason)."""
    gathering: Gathering | None = None
    """For a `SetProbe`: collects samples, and returns the unit's arrays once complete."""
    lead: int = 0
    """Samples run before the unit's own, from a batch cut by its boundary."""
    rows: int = 0
    """Number of samples of the unit."""
    expected: Mapping[str, Sequence[tuple[int, tuple[int, ...]]]] = field(default_factory=dict)
    """For arrays whose samples differ in size: array → (end position in the unit, shape of a sample)."""

    @classmethod
    def begin(cls, objects: Objects, cell: Cell, unit: int, device: str, *, lead: int = 0) -> CellPart:
        """An empty part, with a shard begun for each array. `lead`: samples run before the unit's own."""
        bucket, start, stop = cell.unit(unit)
        probe = make_probe(cell.kind, cell.params, cell.spec, cell.code)
        shards = {
            meta.name: ShardFile(
                objects, shard_key(cell.id, bucket.name, meta, start // meta.shard_rows),
                meta.shard_rows, meta.grid, np.dtype(meta.dtype), meta.codec,
            )
            for meta in bucket.arrays
        }  # fmt: skip
        columns: dict[str, list[Any]] = {name: [] for name, _ in cell.columns}
        gathering = probe.gather(stop - start, device) if isinstance(probe, SetProbe) else None
        rows = {"position": [], **columns} if cell.columns else {}
        expected = {
            meta.name: [(part.offset + part.rows - start, part.arrays[number].shape) for part in bucket.exact if not part.refused]
            for number, meta in enumerate(bucket.arrays) if meta.tile
        }  # fmt: skip
        return cls(cell, probe, shards, rows, gathering=gathering, lead=lead, rows=stop - start, expected=expected)

    def fail(self, kind: str, reasons: Mapping[int, str]) -> None:
        """Position among the samples that are run → why it is not measured. Samples of other units are ignored."""
        mine = {position - self.lead: reason for position, reason in reasons.items()}
        self.failed.update({position: (kind, reason) for position, reason in mine.items() if 0 <= position < self.rows})

    def add(self, positions: range, ok: np.ndarray, result: Measurement) -> None:
        """Add the results of a batch at `positions` among the samples that are run; `ok`: bool, which of them could be loaded."""
        self.fail("sample", {positions[i]: reason for i, reason in result.failed.items()})
        positions = range(positions.start - self.lead, positions.stop - self.lead)
        ok = ok & np.array([0 <= position < self.rows for position in positions])
        rows = range(len(ok)) if result.positions is None else result.positions
        good = [k for k, i in enumerate(rows) if ok[i] and i not in result.failed]
        for name, values in result.columns.items():
            self.columns[name] += [values[k] for k in good]
        if self.columns:
            self.columns["position"] += [positions[rows[k]] for k in good]
        if result.arrays:
            for i in sorted({rows[k] for k in good}):
                self._write(positions[i], {name: array[i] for name, array in result.arrays.items()})

    def _write(self, position: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Store one sample's arrays, or keep them until the set is complete."""
        if self.gathering is not None:
            self.gathering.add(position, arrays)
            return
        for name, array in arrays.items():
            if name in self.expected:
                shape = next(shape for end, shape in self.expected[name] if position < end)
                if array.shape != shape:
                    raise ValueError(f"an array of shape {list(array.shape)}, planned {list(shape)} for this input size")
            self.shards[name].write(position, array)

    def conclude(self, samples: int) -> None:
        """Store the arrays of the whole set."""
        if self.gathering is None:
            return
        ok = np.ones(samples, bool)
        ok[list(self.failed)] = False
        for name, array in self.gathering.conclude(ok).items():
            for position in np.flatnonzero(ok).tolist():
                self.shards[name].write(position, array[position])

    def commit(self) -> dict[str, Shard]:
        """Put all shards. Returns their entries in a record."""
        return {name: shard.commit() for name, shard in self.shards.items()}

    def abandon(self) -> None:
        """Discard what was not committed."""
        for shard in self.shards.values():
            shard.abandon()
        if self.gathering is not None:
            self.gathering.close()

    def table(self, samples: Sequence[Sample]) -> pa.Table:
        """The unit's scalar rows: measured ones, and one NaN row for each failed sample; in sample order."""
        if not self.columns:
            return pa.table({"row": pa.array([], pa.int64())})
        measured = self.columns["position"]
        failed = sorted(self.failed.keys() - set(measured))
        where = [*measured, *failed]
        order = np.argsort(where, kind="stable")
        data: dict[str, pa.Array] = {
            "row": pa.array([samples[where[k]].row for k in order], pa.int64()),
            "sample_id": pa.array([samples[where[k]].sample_id for k in order], pa.string()),
            "status": pa.array(["failed" if where[k] in self.failed else "ok" for k in order], pa.string()),
        }
        for name, dtype in self.cell.columns:
            values = [*self.columns[name], *([float("nan") if dtype == "float64" else None] * len(failed))]
            data[name] = pa.array([values[k] for k in order], ARROW[dtype])
        return pa.table(data)
