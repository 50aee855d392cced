"""The read-only view that an analysis has of a study: SQL and arrays of its declared inputs.

Nothing else is visible, so a fingerprint of the inputs covers everything that a result can depend on: there are no tables of other stages,
and no rows of models that were not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.errors import AnalysisError, counted
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.manifest import Cell, ModelRecord
from xlli_ray.store.tables.sql import Database
from xlli_ray.store.tables.study_tables import connect
from xlli_ray.store.zarr.size_reader import Reader, open_readers


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of one array, while streaming."""

    table_rows: np.ndarray
    """int64 (n,): rows of the sample table."""
    values: np.ndarray
    """(n, *shape); invalid rows are NaN or 0."""
    valid: np.ndarray
    """bool (n,)."""


class CellArray:
    """One stored array of one cell, over all its buckets, by rows of the sample table."""

    def __init__(self, cell: Cell, readers: Sequence[Reader]) -> None:
        self.cell = cell
        self.readers = tuple(readers)
        """One per bucket (input size); their shapes may differ."""
        self._segments = [(first, first + count, number, offset) for number, reader in enumerate(self.readers)
                          for first, count, offset in _offsets(reader)]  # fmt: skip

    def row(self, table_row: int) -> np.ndarray | None:
        """The array of one sample, (*shape); None if the cell does not cover it or it was not measured."""
        for first, last, number, offset in self._segments:
            if first <= table_row < last:
                reader, position = self.readers[number], offset + table_row - first
                return reader.rows([position])[0] if reader.valid[position] else None
        return None

    def blocks(self, bucket: str | None = None) -> Iterator[Rows]:
        """All rows, shard by shard: at most two shards are in memory. `bucket`: only this input size."""
        for reader in self.readers:
            if bucket not in (None, reader.bucket.name):
                continue
            rows = np.concatenate([np.arange(first, first + count) for first, count in reader.bucket.segments])
            for block in reader.scan():
                yield Rows(rows[block.start : block.start + len(block.valid)], block.values, block.valid)


def _offsets(reader: Reader) -> Iterator[tuple[int, int, int]]:
    offset = 0
    for first, count in reader.bucket.segments:
        yield first, count, offset
        offset += count


class View:
    """The inputs of one analysis. A context manager, which holds one SQL connection."""

    def __init__(self, archive: Archive, cells: Sequence[Cell]) -> None:
        self._archive, self._manifest = archive, archive.manifest
        self.cells = tuple(cells)
        self._opened: dict[str, None] = {}
        self._begun = "begins"

    @property
    def standing(self) -> str:
        """Progress, for people: the array opened last, and how many of the cells with arrays have been opened."""
        arrays = sum(any(bucket.arrays for bucket in cell.buckets) for cell in self.cells)
        return f"{self._begun}, {len(self._opened)} of {counted(arrays, 'input')} opened" if self._opened else self._begun

    def __enter__(self) -> View:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if "_connection" in self.__dict__:
            self._connection.close()

    @cached_property
    def _connection(self) -> Database:
        return connect(self._archive, cells=self.cells)

    @cached_property
    def models(self) -> tuple[ModelRecord, ...]:
        """Models of the inputs, in the recipe's order: the order of every table and figure."""
        used = {cell.model for cell in self.cells}
        return tuple(model for model in self._manifest.models if model.id in used)

    @property
    def study_models(self) -> tuple[str, ...]:
        """Ids of all models of the study, including those that are not inputs: they determine the colours of networks."""
        return tuple(model.id for model in self._manifest.models)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Degradation labels in the recipe's order."""
        samples = self._manifest.samples
        return tuple(dict.fromkeys(label for bucket in (samples.buckets if samples else ()) for label, _, _ in bucket.blocks))

    @cached_property
    def meaning(self) -> Labels:
        """Meaning of the labels: type, level, axis, colour."""
        return Labels.of(self._manifest.samples)

    @property
    def corpus(self) -> Mapping[str, Any]:
        """The recipe's corpus section."""
        return self._manifest.recipe.get("corpus") or {}

    def sql(self, statement: str, values: Sequence[Any] = ()) -> pa.Table:
        """Run SQL over `samples`, `models`, `failures` and one table per probe among the inputs; `values`: for its placeholders `?`."""
        self._begun = "reads tables"
        return self._connection.query(statement, values)

    def array(self, cell: str, name: str | None = None) -> CellArray:
        """The stored array of the cell `stage/model/what`; `name` chooses one of several. Raises AnalysisError."""
        match = next((item for item in self.cells if item.id == cell), None)
        if match is None:
            raise AnalysisError(f"{cell} is not among the inputs of this analysis: {', '.join(item.id for item in self.cells[:5])}, …")
        self._opened[cell] = None
        self._begun = f"at {cell}"
        readers = [reader for reader in open_readers(self._archive.records, match) if name in (None, reader.meta.name)]
        names = {reader.meta.name for reader in readers}
        if len(names) != 1:
            listed = f"name one of its arrays: {', '.join(sorted(names))}" if names else f"it stores no array{f' {name!r}' if name else ''}"
            raise AnalysisError(f"{cell}: {listed}")
        return CellArray(match, readers)
