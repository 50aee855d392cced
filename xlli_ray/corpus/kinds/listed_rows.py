"""The rows of a list as sources, held as Arrow columns: ten million as Python objects would take seven gigabytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xlli_ray.corpus.kinds.kind import InOrder, Source, in_order

TEXTS = ("uri", "target", "mask", "label", "parameters")
"""Columns that a source is sorted by, in this order; those that no row has may be absent."""
BLOCK = 4096  # rows that become Python objects at once


class ListedRows(InOrder):
    """Sources of one kind, sorted, without duplicates. A slice shares the columns; it is pickled as a tuple of its sources."""

    def __init__(
        self, kind: str, columns: Mapping[str, pa.Array], others: Mapping[str, str], start: int = 0, stop: int | None = None
    ) -> None:
        """`columns`: some of `TEXTS`, without nulls, and further columns, whose types are those in `others`; all sorted (`sorted_rows`)."""
        self._kind, self._columns, self._others = kind, columns, others
        self._start, self._stop = start, len(columns["uri"]) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> ListedRows: ...
    def __getitem__(self, index: int | slice) -> Source | ListedRows:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"a step of {step}: only slices of neighbouring rows are supported")
            return ListedRows(self._kind, self._columns, self._others, self._start + start, self._start + max(start, stop))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = (self._stop if index < 0 else self._start) + index
        return next(self._made(row, row + 1))

    def __iter__(self) -> Iterator[Source]:
        for start in range(self._start, self._stop, BLOCK):
            yield from self._made(start, min(start + BLOCK, self._stop))

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (list(self),)

    def _made(self, start: int, stop: int) -> Iterator[Source]:
        cells = {name: column.slice(start, stop - start).to_pylist() for name, column in self._columns.items()}
        nothing: list[Any] = [None] * (stop - start)
        target, mask = cells.get("target", nothing), cells.get("mask", nothing)
        label, parameters = cells.get("label", [""] * len(nothing)), cells.get("parameters", [""] * len(nothing))
        for row, uri in enumerate(cells["uri"]):
            columns = tuple((name, dtype, cells[_own(name)][row]) for name, dtype in self._others.items())
            yield Source(self._kind, uri, target[row], mask=mask[row], label=label[row], parameters=parameters[row], columns=columns)


def _own(name: str) -> str:
    """Key of a further column, which may be called like one of `TEXTS`."""
    return f"column {name}"


def sorted_rows(kind: str, texts: dict[str, pa.ChunkedArray], others: Mapping[str, tuple[str, pa.ChunkedArray]]) -> ListedRows:
    """All rows of a list in the order of sources (`kind.Source.order`), without duplicates. `others`: name → type and cells. The columns
    of `texts` are taken out of it, so that few of them are twice in memory."""
    types = {name: dtype for name, (dtype, _) in others.items()}
    keys = [name for name in TEXTS if name in texts]
    order = pc.sort_indices(pa.table({name: texts[name] for name in keys}), sort_keys=[(name, "ascending") for name in keys])
    taken = {_own(name): _joined(column).take(order) for name, (_, column) in others.items()}
    for name in keys:
        texts[name] = _joined(texts[name])
        taken[name] = texts.pop(name).take(order)
    rows = ListedRows(kind, taken, types)
    alike = _alike(taken, keys)
    if not alike.any():
        return rows
    keep = _distinct(rows, alike)
    return ListedRows(kind, {name: column.take(pa.array(keep)) for name, column in taken.items()}, types)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks or [pa.array([], joined.type)])


def _alike(columns: Mapping[str, pa.Array], keys: Sequence[str]) -> np.ndarray:
    """bool (rows,): whether a row has the texts of the one before."""
    count = len(columns["uri"])
    out = np.zeros(count, bool)
    if count > 1:
        out[1:] = True
        for name in keys:
            out[1:] &= pc.equal(columns[name].slice(1), columns[name].slice(0, count - 1)).to_numpy(zero_copy_only=False)
    return out


def _distinct(rows: ListedRows, alike: np.ndarray) -> np.ndarray:
    """Rows to keep, in order: of those with the same texts, one for each different value of the further columns."""
    keep: list[np.ndarray] = []
    starts = np.flatnonzero(alike & ~np.roll(alike, 1))
    done = 0
    for start in (starts - 1).tolist():
        stop = start + 2
        while stop < len(alike) and alike[stop]:
            stop += 1
        same = list(rows[start:stop])
        number = {id(source): start + k for k, source in enumerate(same)}
        keep += [np.arange(done, start), np.array([number[id(source)] for source in in_order(same)])]
        done = stop
    return np.concatenate([*keep, np.arange(done, len(alike))])
