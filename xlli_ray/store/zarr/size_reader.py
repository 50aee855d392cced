"""One input size from a bucket of many sizes: read as if the size had its own bucket.

Arrays whose samples all have one shape (pooled features) are read directly. In the others a sample consists of the tiles within its
extent, contiguous in its shard; the fill of a tile beyond the extent is cropped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import BucketPlan, Cell
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.store.zarr.read import ArrayReader, Block, valid_by_bucket


class SizeReader:
    """Rows of one size: `bucket` and `meta` are those of the size, `stored` reads the array that holds them."""

    def __init__(self, stored: ArrayReader, part: BucketPlan, meta: ArrayMeta) -> None:
        self.stored, self.bucket, self.meta = stored, part, meta
        self.objects, self.cell, self.dtype = stored.objects, stored.cell, stored.dtype
        self.valid = stored.valid[part.offset : part.offset + part.rows]

    def __reduce__(self) -> tuple[Any, ...]:
        return SizeReader, (self.stored, self.bucket, self.meta)

    @property
    def key(self) -> str:
        """Key of the stored array."""
        return self.stored.key

    @property
    def window(self) -> tuple[int, tuple[int, ...]]:
        """(first row, shape) of this size in the stored array."""
        return self.bucket.offset, (self.meta.rows, *self.meta.shape)

    def stored_shards(self, shard: int) -> set[int]:
        """Shards of the stored array that hold the rows of `shard` of this reader."""
        each, first = self.meta.shard_rows, self.bucket.offset + shard * self.meta.shard_rows
        last = min(first + each, self.bucket.offset + self.meta.rows) - 1
        return set(range(first // each, last // each + 1))

    def rows(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Like `ArrayReader.rows`."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.meta.rows):
            raise IndexError(f"{self.cell.id}/{self.bucket.name}: rows are 0…{self.meta.rows - 1}")
        good = self.valid[positions]
        if self.dtype.kind != "f" and not good.all():
            bad = int(positions[np.flatnonzero(~good)[0]])
            raise StudyError(f"{self.cell.id}/{self.bucket.name}: row {bad} was not measured; see `study.failures`")
        return self._take(positions, good)[0]

    def scan(self, *, prefetch: int = 1, shards: Sequence[int] | None = None) -> Iterator[Block]:
        """All rows (or those of `shards`: runs of `meta.shard_rows` rows of this size), in order."""
        for shard in range(self.meta.shards) if shards is None else shards:
            start = shard * self.meta.shard_rows
            positions = np.arange(start, min(start + self.meta.shard_rows, self.meta.rows))
            values, exists = self._take(positions, self.valid[positions])
            yield Block(start, values, exists)

    def _take(self, positions: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, and which exist; missing ones, or not `good`, are fill."""
        out = np.empty((len(positions), *self.meta.shape), self.dtype)
        out[~good] = np.nan if self.dtype.kind == "f" else 0
        wanted = np.flatnonzero(good)
        exists = good.copy()
        if len(wanted):
            places = positions[wanted] + self.bucket.offset
            if self.stored.meta.tile:
                exists[wanted] = self.stored.tiles(places, wanted, out)
            else:
                out[wanted] = self.stored.rows(places)
                exists[wanted] = self.stored.present(places)
        return out, exists


Reader = ArrayReader | SizeReader
"""Reader of one array and one input size."""


def size_readers(objects: Objects, cell: Cell, bucket: BucketPlan, meta: ArrayMeta, *, valid: np.ndarray) -> list[Reader]:
    """The readers of one stored array: itself, or one per input size that it holds."""
    stored = ArrayReader(objects, cell, bucket, meta, valid=valid)
    if not bucket.sizes:
        return [stored]
    return [SizeReader(stored, part, of_size) for part in bucket.exact for of_size in part.arrays if of_size.name == meta.name]


def open_readers(records: Listing, cell: Cell) -> list[Reader]:
    """One reader per array and input size of a cell."""
    valid = valid_by_bucket(records, cell)
    return [
        reader for bucket in cell.buckets for meta in bucket.arrays
        for reader in size_readers(records.objects, cell, bucket, meta, valid=valid[bucket.name])
    ]  # fmt: skip
