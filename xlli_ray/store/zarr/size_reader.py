"""One input size out of a bucket that holds many: read as if the size had a bucket of its own.

Arrays whose samples all have one shape (pooled features) are read where they lie. Of the others a sample is the tiles that its extent
touches, one behind the other in its shard; what a tile has beyond the extent is fill, and is cut off here.
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
    """Rows of one size: `bucket` and `meta` are those of the size, `stored` reads the array in which they lie."""

    def __init__(self, stored: ArrayReader, part: BucketPlan, meta: ArrayMeta) -> None:
        self.stored, self.bucket, self.meta = stored, part, meta
        self.objects, self.cell, self.dtype = stored.objects, stored.cell, stored.dtype
        self.valid = stored.valid[part.offset : part.offset + part.rows]

    def __reduce__(self) -> tuple[Any, ...]:
        return SizeReader, (self.stored, self.bucket, self.meta)

    @property
    def key(self) -> str:
        """Of the stored array."""
        return self.stored.key

    @property
    def window(self) -> tuple[int, tuple[int, ...]]:
        """(first row, shape) of what is ours in the stored array."""
        return self.bucket.offset, (self.meta.rows, *self.meta.shape)

    def stored_shards(self, shard: int) -> set[int]:
        """Shards of the stored array that hold the rows of `shard` of ours."""
        each, first = self.meta.shard_rows, self.bucket.offset + shard * self.meta.shard_rows
        last = min(first + each, self.bucket.offset + self.meta.rows) - 1
        return set(range(first // each, last // each + 1))

    def rows(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """As `ArrayReader.rows`."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.meta.rows):
            raise IndexError(f"{self.cell.id}/{self.bucket.name}: rows are 0…{self.meta.rows - 1}")
        good = self.valid[positions]
        if self.dtype.kind != "f" and not good.all():
            bad = int(positions[np.flatnonzero(~good)[0]])
            raise StudyError(f"{self.cell.id}/{self.bucket.name}: row {bad} was not measured; see `study.failures`")
        return self._take(positions, good)[0]

    def scan(self, *, prefetch: int = 1, shards: Sequence[int] | None = None) -> Iterator[Block]:
        """All rows (or those of `shards`: runs of `meta.shard_rows` rows of ours), in order."""
        for shard in range(self.meta.shards) if shards is None else shards:
            start = shard * self.meta.shard_rows
            positions = np.arange(start, min(start + self.meta.shard_rows, self.meta.rows))
            values, there = self._take(positions, self.valid[positions])
            yield Block(start, values, there)

    def _take(self, positions: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, and which are there; what is not, or not `good`, is fill."""
        out = np.empty((len(positions), *self.meta.shape), self.dtype)
        out[~good] = np.nan if self.dtype.kind == "f" else 0
        wanted = np.flatnonzero(good)
        there = good.copy()
        if len(wanted):
            places = positions[wanted] + self.bucket.offset
            if self.stored.meta.tile:
                there[wanted] = self.stored.tiles(places, wanted, out)
            else:
                out[wanted] = self.stored.rows(places)
                there[wanted] = self.stored.present(places)
        return out, there


Reader = ArrayReader | SizeReader
"""Of one array and one input size."""


def size_readers(objects: Objects, cell: Cell, bucket: BucketPlan, meta: ArrayMeta, *, valid: np.ndarray) -> list[Reader]:
    """The readers of one stored array: itself, or one for each input size that lies in it."""
    stored = ArrayReader(objects, cell, bucket, meta, valid=valid)
    if not bucket.sizes:
        return [stored]
    return [SizeReader(stored, part, mine) for part in bucket.exact for mine in part.arrays if mine.name == meta.name]


def open_readers(records: Listing, cell: Cell) -> list[Reader]:
    """One reader per array and input size of a cell."""
    valid = valid_by_bucket(records, cell)
    return [
        reader for bucket in cell.buckets for meta in bucket.arrays
        for reader in size_readers(records.objects, cell, bucket, meta, valid=valid[bucket.name])
    ]  # fmt: skip
