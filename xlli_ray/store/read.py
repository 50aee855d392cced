"""Reading arrays: rows by number, scans shard by shard, and lazy xarray.

Rows: a reader of our own (shard index, coalesced ranges) because zarr-python's `oindex` on shards is 10–100 times slower
(`docs/decisions/002-own-shard-codec.md`, `tests/benchmarks/row_gather.py`). A row counts only if its unit has a record and did not
fail; the caller gets NaN (float) or an error (integer), never somebody's old bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlli_ray.errors import StudyError
from xlli_ray.store.layout import ArrayMeta, group_key, shard_key
from xlli_ray.store.manifest import BucketPlan, Cell
from xlli_ray.store.objects import LocalObjects, Missing, Objects
from xlli_ray.store.records import read_receipts
from xlli_ray.store.shard import ChunkDecoder, index_bytes, is_absent, read_index

COALESCE_BYTES = 64 << 10  # gaps up to this are read through: one request is dearer than 64 KiB
_INDICES = 256


@dataclass(frozen=True)
class Block:
    """One shard of a scan."""

    start: int
    values: np.ndarray
    """(rows, *shape); rows that are not valid are NaN (floats) or 0."""
    valid: np.ndarray
    """bool (rows,)."""


def valid_by_bucket(objects: Objects, cell: Cell) -> dict[str, np.ndarray]:
    """bool (rows,) per bucket, from the records themselves: the `valid` arrays are only as fresh as the last run's end."""
    valid = {bucket.name: np.zeros(bucket.rows, bool) for bucket in cell.buckets}
    for receipt in read_receipts(objects, cell.id):
        here = valid[receipt.bucket]
        here[receipt.start : receipt.stop] = True
        here[[failure.position for failure in receipt.failed]] = False
    return valid


class ArrayReader:
    """One array of one bucket of one cell."""

    def __init__(self, objects: Objects, cell: Cell, bucket: BucketPlan, meta: ArrayMeta, *, valid: np.ndarray) -> None:
        self.objects, self.cell, self.bucket, self.meta, self.valid = objects, cell, bucket, meta, valid
        self.dtype = np.dtype(meta.dtype)
        self._decoder = ChunkDecoder(meta.grid, self.dtype, meta.codec)
        self._indices: OrderedDict[int, np.ndarray | None] = OrderedDict()

    def _key(self, shard: int) -> str:
        return shard_key(self.cell.id, self.bucket.name, self.meta, shard)

    def _index(self, shard: int) -> np.ndarray | None:
        """Chunk offsets and lengths of a shard, None when it is not there."""
        if shard not in self._indices:
            length = index_bytes(self.meta.shard_rows, self.meta.grid)
            try:
                tail = self.objects.get_range(self._key(shard), -length, length)
                self._indices[shard] = read_index(tail, self.meta.shard_rows, self.meta.grid)
            except Missing:
                self._indices[shard] = None
            except ValueError as error:
                raise StudyError(f"{self.objects.url}/{self._key(shard)}: {error}; run `xlli verify`") from error
            while len(self._indices) > _INDICES:
                self._indices.popitem(last=False)
        return self._indices[shard]

    def _empty(self, rows: int) -> np.ndarray:
        return np.empty((rows, *self.meta.shape), self.dtype)

    def _fill(self) -> Any:
        return np.nan if self.dtype.kind == "f" else 0

    def rows(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows of the array in the order asked, (n, *shape). Raises StudyError for an integer array's row that is not valid.

        Sorted inside, neighbours read in one request; duplicates are decoded once each.
        """
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.meta.rows):
            raise IndexError(f"{self.cell.id}/{self.bucket.name}: rows are 0…{self.meta.rows - 1}")
        good = self.valid[positions]
        if self.dtype.kind != "f" and not good.all():
            bad = int(positions[np.flatnonzero(~good)[0]])
            raise StudyError(f"{self.cell.id}/{self.bucket.name}: row {bad} was not measured; see `study.failures`")
        out = self._empty(len(positions))
        order = np.argsort(positions, kind="stable")
        shards = positions[order] // self.meta.shard_rows
        for shard in np.unique(shards):
            chosen = order[shards == shard]
            self._gather(int(shard), positions[chosen] - int(shard) * self.meta.shard_rows, chosen, out)
        out[~good] = self._fill()
        return out

    def _gather(self, shard: int, local: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        index = self._index(shard)
        if index is None:
            out[places] = self._fill()
            return
        wanted = index[local]  # (n, blocks, 2)
        present = wanted[:, 0, 0] != np.uint64(2**64 - 1)
        out[places[~present]] = self._fill()
        local, places, wanted = local[present], places[present], wanted[present]
        if not len(places):
            return
        starts = wanted[:, :, 0].min(axis=1).astype(np.int64)
        ends = (wanted[:, :, 0] + wanted[:, :, 1]).max(axis=1).astype(np.int64)
        cuts = np.flatnonzero(starts[1:] > np.maximum.accumulate(ends)[:-1] + COALESCE_BYTES) + 1
        for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(starts)]):
            low, high = int(starts[first]), int(ends[first:last].max())
            data = memoryview(self.objects.get_range(self._key(shard), low, high - low))
            for k in range(first, last):
                self._decode(wanted[k], data, low, out[places[k], ...])

    def _decode(self, entries: np.ndarray, data: memoryview, offset: int, out: np.ndarray) -> None:
        per = self.meta.grid.per_block
        for block, entry in enumerate(entries):
            start = int(entry[0]) - offset
            piece = data[start : start + int(entry[1])]
            self._decoder.into(piece, out[block * per : (block + 1) * per] if self.meta.grid.blocks > 1 else out)

    def scan(self, *, prefetch: int = 1) -> Iterator[Block]:
        """All rows, a shard at a time, in order; the next shard is read while this one is used."""
        with ThreadPoolExecutor(1) as thread:
            ahead = [thread.submit(self._raw, shard) for shard in range(min(prefetch, self.meta.shards))]
            for shard in range(self.meta.shards):
                if shard + prefetch < self.meta.shards:
                    ahead.append(thread.submit(self._raw, shard + prefetch))
                yield self._block(shard, ahead.pop(0).result() if ahead else self._raw(shard))

    def _raw(self, shard: int) -> bytes | np.ndarray | None:
        key = self._key(shard)
        try:
            if isinstance(self.objects, LocalObjects):
                # mapped, not copied: a scan of stored bytes then costs what a memmap of them costs
                return np.memmap(self.objects.root / key, dtype=np.uint8, mode="r")
            return self.objects.get(key)
        except (Missing, FileNotFoundError):
            return None

    def _block(self, shard: int, data: bytes | np.ndarray | None) -> Block:
        start = shard * self.meta.shard_rows
        stop = min(start + self.meta.shard_rows, self.meta.rows)
        valid = self.valid[start:stop].copy()
        if data is None:
            values = self._empty(stop - start)
            values[:] = self._fill()
            return Block(start, values, np.zeros(stop - start, bool))
        view = memoryview(data)  # type: ignore[arg-type]
        length = index_bytes(self.meta.shard_rows, self.meta.grid)
        index = read_index(bytes(view[-length:]), self.meta.shard_rows, self.meta.grid)[: stop - start]
        plain = self._plain(view, index)
        if plain is not None and valid.all():
            return Block(start, plain, valid)
        values = self._empty(stop - start)
        for k, entries in enumerate(index):
            if is_absent(entries[0]) or not valid[k]:
                valid[k] = False
                values[k] = self._fill()
            else:
                self._decode(entries, view, 0, values[k, ...])
        return Block(start, values, valid)

    def _plain(self, view: memoryview, index: np.ndarray) -> np.ndarray | None:
        """The shard as one array without copying, when its chunks are uncompressed and lie in order without a gap."""
        if self.meta.codec != "none" or (self.meta.grid.blocks > 1 and self.meta.shape[0] % self.meta.grid.per_block):
            return None
        flat = index.reshape(-1, 2)
        size = int(flat[0, 1])
        if not (flat[:, 1] == size).all() or not (flat[:, 0] == np.arange(len(flat), dtype=np.uint64) * np.uint64(size)).all():
            return None
        values = np.frombuffer(view[: len(flat) * size], self.dtype)
        return values.reshape(len(index), *self.meta.shape)


def open_readers(objects: Objects, cell: Cell) -> list[ArrayReader]:
    """One reader per array and bucket of a cell."""
    valid = valid_by_bucket(objects, cell)
    return [
        ArrayReader(objects, cell, bucket, meta, valid=valid[bucket.name]) for bucket in cell.buckets for meta in bucket.arrays
    ]


def open_xarray(objects: Objects, reader: ArrayReader, samples: Any) -> Any:
    """Lazy DataArray of one bucket, through zarr, with the sample columns as coordinates along `sample`.

    `samples`: pyarrow table of the array's rows, in order.
    """
    import xarray as xr

    key = group_key(reader.cell.id, reader.bucket.name)
    data = xr.open_zarr(_zarr_store(objects, key), consolidated=False, chunks=None)[reader.meta.name]
    coordinates = {"valid": ("sample", reader.valid)}
    for name in samples.column_names:
        column = samples[name]
        if str(column.type).startswith("list"):
            continue
        coordinates[name] = ("sample", column.to_numpy())
    return data.assign_coords(coordinates)


def _zarr_store(objects: Objects, key: str) -> Any:
    if isinstance(objects, LocalObjects):
        return str(objects.root / key)
    from obstore.store import PrefixStore
    from zarr.storage import ObjectStore

    return ObjectStore(PrefixStore(objects._store, key), read_only=True)  # type: ignore[attr-defined]
