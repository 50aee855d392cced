"""Reading arrays: rows by number, and scans shard by shard.

Rows: a custom reader (shard index, coalesced ranges, uncompressed bytes straight into the result) because zarr-python's `oindex` on
shards is 10–100 times slower (`docs/decisions/002-own-shard-codec.md`, `tests/benchmarks/row_gather.py`). A row is valid only if its unit
has a record and it did not fail; otherwise the caller gets NaN (float) or an error (integer), never stale bytes.
"""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects, open_regular, regular_handle
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import BucketPlan, Cell
from xlli_ray.store.records.unit_records import Seen, read_receipts
from xlli_ray.store.zarr.layout import ArrayMeta, group_key, shard_key
from xlli_ray.store.zarr.shard import ABSENT, ChunkDecoder, index_bytes, read_index

COALESCE_BYTES = 64 << 10  # gaps up to this are read too: a request to a bucket costs more than 64 KiB
COALESCE_LOCAL = 2 << 10  # a system call costs more than 2 KiB
READ_BYTES = 16 << 20  # maximum size of a request, and of compressed data in memory
_BUFFERS = 512  # per preadv; the operating system allows 1024
_INDICES = 256


@dataclass(frozen=True)
class Block:
    """One shard of a scan."""

    start: int
    values: np.ndarray
    """(rows, *shape); rows that are not valid are NaN (floats) or 0."""
    valid: np.ndarray
    """bool (rows,)."""


def valid_by_bucket(records: Listing, cell: Cell, *, seen: Seen | None = None) -> dict[str, np.ndarray]:
    """bool (rows,) per bucket, from the records: the `valid` arrays are only updated at the end of a run."""
    valid = {bucket.name: np.zeros(bucket.rows, bool) for bucket in cell.buckets}
    for receipt in read_receipts(records, cell, seen=seen):
        of_bucket = valid[receipt.bucket]
        of_bucket[receipt.start : receipt.stop] = True
        of_bucket[[failure.position for failure in receipt.failed]] = False
    return valid


class _File:
    """An open shard of a local folder; reads go straight into the caller's buffers."""

    gap = COALESCE_LOCAL

    def __init__(self, path: str) -> None:
        self._handle = regular_handle(path)
        about = os.fstat(self._handle)
        self._size = about.st_size
        self.stamp: tuple[int, ...] | None = (about.st_ino, about.st_mtime_ns, about.st_size)

    def tail(self, length: int) -> bytes:
        return os.pread(self._handle, length, max(0, self._size - length))

    def into(self, offset: int, buffers: list[Any]) -> int:
        return os.preadv(self._handle, buffers, offset)

    def close(self) -> None:
        os.close(self._handle)


class _Object:
    """The same for a shard in a bucket: one request per range, then copied into the buffers."""

    gap = COALESCE_BYTES
    stamp: tuple[int, ...] | None = None

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects, self._key = objects, key

    def tail(self, length: int) -> bytes:
        return self._objects.get_range(self._key, -length, length)

    def into(self, offset: int, buffers: list[Any]) -> int:
        data = memoryview(self._objects.get_range(self._key, offset, sum(map(len, buffers))))
        at = 0
        for buffer in buffers:
            piece = data[at : at + len(buffer)]
            memoryview(buffer)[: len(piece)] = piece
            at += len(buffer)
        return len(data)

    def close(self) -> None:
        pass


class ArrayReader:
    """One array of one bucket of one cell."""

    def __init__(self, objects: Objects, cell: Cell, bucket: BucketPlan, meta: ArrayMeta, *, valid: np.ndarray) -> None:
        self.objects, self.cell, self.bucket, self.meta, self.valid = objects, cell, bucket, meta, valid
        self.dtype = np.dtype(meta.dtype)
        self._grid = meta.grid
        self._decoder = ChunkDecoder(self._grid, self.dtype, meta.codec)
        self._chunk_bytes = int(np.prod(self._grid.chunk, dtype=np.int64)) * self.dtype.itemsize
        self._index_bytes = index_bytes(meta.shard_rows, self._grid)
        self._indices: OrderedDict[int, tuple[Any, np.ndarray]] = OrderedDict()
        self._before, self._after = self._key(0).rsplit("/c/0", 1)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(ArrayReader, valid=self.valid), (self.objects, self.cell, self.bucket, self.meta)

    @property
    def key(self) -> str:
        """Key of the array."""
        return f"{group_key(self.cell.id, self.bucket.name)}/{self.meta.name}"

    @property
    def window(self) -> tuple[int, tuple[int, ...]]:
        """(first row, shape) of this reader's part of the array at `key`: all of it."""
        return 0, (self.meta.rows, *self.meta.shape)

    def _key(self, shard: int) -> str:
        return shard_key(self.cell.id, self.bucket.name, self.meta, shard)

    def _open(self, shard: int) -> _File | _Object:
        key = f"{self._before}/c/{shard}{self._after}"
        return _File(f"{self.objects.root}/{key}") if isinstance(self.objects, LocalObjects) else _Object(self.objects, key)

    def _index(self, shard: int, source: _File | _Object) -> np.ndarray:
        """Chunk offsets and lengths of a shard, cached as long as the file is the same (a unit may be run again). Raises Missing."""
        known = self._indices.get(shard)
        if known is not None and known[0] == source.stamp:
            return known[1]
        try:
            index = read_index(source.tail(self._index_bytes), self.meta.shard_rows, self._grid)
        except ValueError as error:
            raise StudyError(f"{self.objects.url}/{self._key(shard)}: {error}; run `xlli verify`") from error
        self._indices[shard] = (source.stamp, index)
        while len(self._indices) > _INDICES:
            self._indices.popitem(last=False)
        return index

    def _empty(self, rows: int) -> np.ndarray:
        return np.empty((rows, *self.meta.shape), self.dtype)

    def _fill(self) -> Any:
        return np.nan if self.dtype.kind == "f" else 0

    def rows(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Rows of the array in the order of `positions`, (n, *shape). Raises StudyError for an invalid row of an integer array.

        Sorted internally, so that each shard is opened once and neighbours are read in one request.
        """
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and (positions.min() < 0 or positions.max() >= self.meta.rows):
            raise IndexError(f"{self.cell.id}/{self.bucket.name}: rows are 0…{self.meta.rows - 1}")
        good = self.valid[positions]
        whole = bool(good.all())
        if self.dtype.kind != "f" and not whole:
            bad = int(positions[np.flatnonzero(~good)[0]])
            raise StudyError(f"{self.cell.id}/{self.bucket.name}: row {bad} was not measured; see `study.failures`")
        out = self._empty(len(positions))
        order = np.argsort(positions, kind="stable")
        if not whole:
            out[~good] = self._fill()
            order = order[good[order]]
        if not len(order):
            return out
        shards, local = np.divmod(positions[order], self.meta.shard_rows)
        cuts = (np.flatnonzero(shards[1:] != shards[:-1]) + 1).tolist()
        for first, last in zip([0, *cuts], [*cuts, len(order)]):
            self._gather(int(shards[first]), local[first:last], order[first:last], out)
        return out

    def _gather(self, shard: int, local: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Rows `local` (ascending) of one shard into `out[places]`."""
        try:
            source = self._open(shard)
            try:
                entries = self._index(shard, source)[local]  # (n, blocks, 2)
                if (absent := entries[:, 0, 0] == ABSENT).any():
                    out[places[absent]] = self._fill()
                    entries, places = entries[~absent], places[~absent]
                if len(places):
                    self._read(shard, source, entries, places, out)
            finally:
                source.close()
        except Missing:
            out[places] = self._fill()

    def _read(self, shard: int, source: _File | _Object, entries: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Read the chunks in as few requests as worthwhile. Uncompressed ones are read directly into `out`, without a copy."""
        blocks = self._grid.blocks
        chunks = out.reshape(len(out) * blocks, *self._grid.chunk)
        bytes_of = chunks.reshape(len(chunks), -1).view(np.uint8)
        where = places if blocks == 1 else (places[:, None] * blocks + np.arange(blocks)).ravel()
        starts, lengths = entries[:, :, 0].ravel().tolist(), entries[:, :, 1].ravel().tolist()
        plain = self.meta.codec == "none"
        if plain and any(length != self._chunk_bytes for length in lengths):
            raise StudyError(f"{self.objects.url}/{self._key(shard)}: length of a chunk does not match its shape; run `xlli verify`")
        first = 0
        for run in _runs(starts, lengths, source.gap):
            low, targets, at = starts[first], where[first:run].tolist(), starts[first]
            if plain:
                buffers: list[Any] = []
                for k, target in zip(range(first, run), targets):
                    if starts[k] > at:
                        buffers.append(bytearray(starts[k] - at))
                    buffers.append(bytes_of[target])
                    at = starts[k] + lengths[k]
            else:
                at = max(starts[k] + lengths[k] for k in range(first, run))
                buffers = [bytearray(at - low)]
            if source.into(low, buffers) != at - low:
                raise StudyError(f"{self.objects.url}/{self._key(shard)}: shorter than its index says; run `xlli verify`")
            if not plain:
                data = memoryview(buffers[0])
                for k, target in zip(range(first, run), targets):
                    self._decode(shard, data[starts[k] - low : starts[k] - low + lengths[k]], chunks[target, ...])
            first = run

    def _entries(self, places: np.ndarray) -> Iterator[tuple[int, _File | _Object, np.ndarray, np.ndarray]]:
        """(shard, its bytes, chunk offsets and lengths, indices into `places`) for each existing shard that holds some of these rows."""
        for shard in np.unique(places // self.meta.shard_rows).tolist():
            indices = np.flatnonzero(places // self.meta.shard_rows == shard)
            try:
                source = self._open(shard)
            except Missing:
                continue
            try:
                yield shard, source, self._index(shard, source)[places[indices] % self.meta.shard_rows], indices
            except Missing:
                continue
            finally:
                source.close()

    def present(self, places: np.ndarray) -> np.ndarray:
        """bool (n,): whether the bytes of these rows exist."""
        out = np.zeros(len(places), bool)
        for _, _, entries, indices in self._entries(places):
            out[indices] = entries[:, 0, 0] != ABSENT
        return out

    def tiles(self, places: np.ndarray, targets: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Rows `places` of an array of tiles, all of the extent of `out[0]`, into `out[targets]`. Returns bool (n,): which exist."""
        existing = np.zeros(len(places), bool)
        pieces = list(self._grid.pieces(out.shape[1:]))
        chunk = np.empty(self._grid.chunk, self.dtype)
        for shard, source, entries, indices in self._entries(places):
            for k, target in zip(range(len(indices)), targets[indices].tolist()):
                spans = [tuple(entries[k, number].tolist()) for number, _ in pieces]
                if spans[0][0] == ABSENT:
                    out[target] = self._fill()
                    continue
                low, high = min(start for start, _ in spans), max(start + length for start, length in spans)
                if high - low > sum(length for _, length in spans):  # a sample's tiles are contiguous
                    raise StudyError(f"{self.objects.url}/{self._key(shard)}: its index contradicts the extents; run `xlli verify`")
                data = bytearray(high - low)
                if source.into(low, [data]) != len(data):
                    raise StudyError(f"{self.objects.url}/{self._key(shard)}: shorter than its index says; run `xlli verify`")
                for (start, length), (_, place) in zip(spans, pieces):
                    self._decode(shard, memoryview(data)[start - low : start - low + length], chunk)
                    out[target][place] = chunk[tuple(slice(axis.stop - axis.start) for axis in place)]
                existing[indices[k]] = True
        return existing

    def _decode(self, shard: int, data: memoryview, target: np.ndarray) -> None:
        try:
            self._decoder.into(data, target)
        except ValueError as error:
            raise StudyError(f"{self.objects.url}/{self._key(shard)}: {error}; run `xlli verify`") from error

    def scan(self, *, prefetch: int = 1, shards: Sequence[int] | None = None) -> Iterator[Block]:
        """All rows (or those of `shards`), a shard at a time, in order; the next shard is read in the background.

        Raises StudyError for a damaged shard.
        """
        wanted = list(range(self.meta.shards) if shards is None else shards)
        with ThreadPoolExecutor(1) as thread:
            ahead = [thread.submit(self._raw, shard) for shard in wanted[:prefetch]]
            for number, shard in enumerate(wanted):
                if number + prefetch < len(wanted):
                    ahead.append(thread.submit(self._raw, wanted[number + prefetch]))
                yield self._block(shard, ahead.pop(0).result() if ahead else self._raw(shard))

    def _raw(self, shard: int) -> bytes | np.ndarray | None:
        key = self._key(shard)
        try:
            if isinstance(self.objects, LocalObjects):
                # mapped, not copied: a scan of uncompressed data then costs the same as a memmap
                with open_regular(self.objects.root / key) as file:
                    return np.memmap(file, dtype=np.uint8, mode="r") if os.fstat(file.fileno()).st_size else b""
            return self.objects.get(key)
        except Missing:
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
        try:
            index = read_index(bytes(view[-self._index_bytes :]), self.meta.shard_rows, self._grid)[: stop - start]
        except ValueError as error:
            raise StudyError(f"{self.objects.url}/{self._key(shard)}: {error}; run `xlli verify`") from error
        plain = self._plain(view, index)
        if plain is not None and valid.all():
            return Block(start, plain, valid)
        values = self._empty(stop - start)
        valid &= index[:, 0, 0] != ABSENT
        values[~valid] = self._fill()
        per = self._grid.per_block
        for row in np.flatnonzero(valid).tolist():
            for block, (offset, length) in enumerate(index[row].tolist()):
                target = values[row, block * per : (block + 1) * per] if self._grid.blocks > 1 else values[row, ...]
                self._decode(shard, view[offset : offset + length], target)
        return Block(start, values, valid)

    def _plain(self, view: memoryview, index: np.ndarray) -> np.ndarray | None:
        """The shard as one array without copying, if its chunks are uncompressed, in order and contiguous."""
        if self.meta.codec != "none":
            return None
        flat = index.reshape(-1, 2)
        size = int(flat[0, 1])
        if not (flat[:, 1] == size).all() or not (flat[:, 0] == np.arange(len(flat), dtype=np.uint64) * np.uint64(size)).all():
            return None
        values = np.frombuffer(view[: len(flat) * size], self.dtype)
        return values.reshape(len(index), *self.meta.shape)


def _runs(starts: list[int], lengths: list[int], gap: int) -> Iterator[int]:
    """Divide chunks, in reading order, into requests: yields one past the last chunk of each run.

    A run ascends without overlap (a row requested twice is read twice), its gaps are at most `gap`, and it respects the limits of one
    request.
    """
    end, low, buffers = starts[0] + lengths[0], starts[0], 1
    for k in range(1, len(starts)):
        start = starts[k]
        if start < end or start - end > gap or start + lengths[k] - low > READ_BYTES or buffers + 2 > _BUFFERS:
            yield k
            low, buffers = start, 0
        buffers += 1 if start == end else 2
        end = start + lengths[k]
    yield len(starts)

