"""One Zarr v3 shard as bytes: encoded chunks one after another, then the index, then its crc32c.

Zarr v3 core specification and the `sharding_indexed` codec (index at the end, little-endian, crc32c). A shard here is
`rows` samples long; its inner grid is (rows, channel blocks, 1, …) and a failed row has no chunks (fill value on reading).
Encoded chunk by chunk into one object that is invisible until complete, because a partial shard write loses rows.
Why our own 60 lines and not a library: `docs/decisions/002-own-shard-codec.md` (measured, and checked against zarr-python).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c
import numpy as np

from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.strict_types import STRICT, Natural

Codec = Literal["blosc", "none"]
ABSENT = np.uint64(2**64 - 1)
"""Offset and length of a chunk that was never written (a failed row)."""


@dataclass(frozen=True)
class Shard:
    """One shard object of a unit, as listed in a record."""

    __pydantic_config__ = STRICT

    key: str
    crc32c: Natural
    bytes: Natural


@dataclass(frozen=True)
class InnerGrid:
    """Division of one sample into inner chunks: evenly along its first axis (channels), or into tiles.

    Without `tile`: `blocks` chunks of `per_block` channels each; `per_block * blocks >= shape[0]` (the last one padded by Zarr's rule).
    With it, samples may be smaller than `shape`: tiles beyond a sample's extent are not stored.
    """

    shape: tuple[int, ...]
    per_block: int
    tile: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return tuple(-(-size // edge) for size, edge in zip(self.shape, self.chunk))

    @property
    def blocks(self) -> int:
        return math.prod(self.counts)

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of one inner chunk without the sample axis."""
        return self.tile or ((self.per_block, *self.shape[1:]) if self.shape else ())

    def pieces(self, extent: tuple[int, ...]) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """(chunk number, slices of the sample) of the chunks of a sample with this extent."""
        edges = self.chunk
        for index in itertools.product(*(range(-(-size // edge)) for size, edge in zip(extent, edges))):
            number = 0
            for at, count in zip(index, self.counts):
                number = number * count + at
            yield number, tuple(slice(at * edge, min((at + 1) * edge, size)) for at, edge, size in zip(index, edges, extent))


def inner_grid(shape: tuple[int, ...], itemsize: int, *, target: int = 1 << 20) -> InnerGrid:
    """Divide a sample along channels if it exceeds about 1 MiB, so that an analysis can read blocks of features.

    Blocks are equal: the number of channels is divided by the smallest divisor that gives blocks below `target`.
    """
    if len(shape) < 3:
        return InnerGrid(shape, shape[0] if shape else 1)
    per_channel = int(np.prod(shape[1:])) * itemsize
    for blocks in range(1, shape[0] + 1):
        if shape[0] % blocks == 0 and per_channel * (shape[0] // blocks) <= target:
            return InnerGrid(shape, shape[0] // blocks)
    return InnerGrid(shape, 1)


def compressor(codec: Codec, itemsize: int) -> Any | None:
    """The numcodecs object behind `codec`, or None. blosc: lz4 level 1 with bitshuffle (spec engine §4.1)."""
    if codec == "none":
        return None
    from numcodecs import blosc

    # Threads inside blosc would exceed a worker's share of the CPU, with no gain at 1 MiB.
    blosc.use_threads = False
    return blosc.Blosc(cname="lz4", clevel=1, shuffle=blosc.Blosc.BITSHUFFLE, blocksize=0)


class ShardWriter:
    """Encodes up to `rows` samples of one array, chunk by chunk.

    `into` receives each chunk as it is encoded (`Pending.write`), so that no shard is held in memory; without it, `finish` returns all.
    """

    def __init__(
        self, rows: int, grid: InnerGrid, dtype: np.dtype, codec: Codec, *, into: Callable[[bytes], None] | None = None
    ) -> None:
        self.grid = grid
        self.dtype = dtype
        self._encode = compressor(codec, dtype.itemsize)
        self._index = np.full((rows, grid.blocks, 2), ABSENT, dtype="<u8")
        self._parts: list[bytes] = []
        self._into = into or self._parts.append
        self._offset = 0

    def write(self, row: int, block: np.ndarray) -> None:
        """Add the sample at `row` of the shard; `block` has the grid's shape (or, with tiles, at most that) and dtype."""
        fits = block.shape == self.grid.shape
        if self.grid.tile:
            fits = block.ndim == len(self.grid.shape) and all(size <= most for size, most in zip(block.shape, self.grid.shape))
        if not fits or block.dtype != self.dtype:
            raise ValueError(
                f"row {row}: got an array of {block.dtype}{list(block.shape)}, expected "
                f"{self.dtype}{list(self.grid.shape)}: the network's output changed its shape after planning"
            )
        for index, place in self.grid.pieces(block.shape):
            piece = self._whole(block[place])
            data = bytes(self._encode.encode(piece)) if self._encode is not None else piece.tobytes()
            self._index[row, index] = (self._offset, len(data))
            self._into(data)
            self._offset += len(data)

    def _whole(self, piece: np.ndarray) -> np.ndarray:
        """A chunk of full size: tiles at the edge of a sample are padded."""
        if not self.grid.tile or piece.shape == self.grid.tile:
            return np.ascontiguousarray(piece)
        out = np.full(self.grid.tile, np.nan if self.dtype.kind == "f" else 0, self.dtype)
        out[tuple(slice(size) for size in piece.shape)] = piece
        return out

    @property
    def nbytes(self) -> int:
        return self._offset

    def finish(self) -> list[bytes]:
        """Chunks (unless passed to `into`), index and crc32c, in the order of the object."""
        index = self._index.tobytes()
        return [*self._parts, index, google_crc32c.value(index).to_bytes(4, "little")]


class ShardFile:
    """A shard being written. Invisible before `commit`, removed by `abandon`."""

    def __init__(self, objects: Objects, key: str, rows: int, grid: InnerGrid, dtype: np.dtype, codec: Codec) -> None:
        self._key = key
        self._pending = objects.begin(key)
        self._crc32c = self._bytes = 0
        self._writer = ShardWriter(rows, grid, dtype, codec, into=self._add)
        self.write = self._writer.write

    def _add(self, data: bytes) -> None:
        self._pending.write(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)  # now, while the bytes are in the CPU cache
        self._bytes += len(data)

    def commit(self) -> Shard:
        """Put the object. Returns its entry in a record."""
        for part in self._writer.finish():
            self._add(part)
        self._pending.commit()
        return Shard(self._key, self._crc32c, self._bytes)

    def abandon(self) -> None:
        self._pending.abandon()


def crc32c(parts: list[bytes]) -> int:
    """crc32c of the concatenation of `parts`."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return value


def index_bytes(rows: int, grid: InnerGrid) -> int:
    """Length of the index and its checksum at the end of a shard."""
    return rows * grid.blocks * 16 + 4


def read_index(tail: bytes, rows: int, grid: InnerGrid) -> np.ndarray:
    """uint64 (rows, blocks, 2): offset and length of each chunk, 2**64-1 twice if missing.

    Raises ValueError if the checksum does not match: the object is damaged or is not this shard.
    """
    body, check = tail[:-4], tail[-4:]
    if len(tail) != index_bytes(rows, grid) or google_crc32c.value(body) != int.from_bytes(check, "little"):
        raise ValueError("the shard's index fails its crc32c")
    return np.frombuffer(body, dtype="<u8").reshape(rows, grid.blocks, 2)


class ChunkDecoder:
    """Decodes the bytes of one inner chunk."""

    def __init__(self, grid: InnerGrid, dtype: np.dtype, codec: Codec) -> None:
        self.grid = grid
        self.dtype = dtype
        self._decode = compressor(codec, dtype.itemsize)

    def into(self, data: bytes | memoryview, out: np.ndarray) -> None:
        """Decode into `out`, a contiguous array of the chunk's shape. Raises ValueError if the bytes are not such a chunk."""
        try:
            if self._decode is None:
                out[...] = np.frombuffer(data, dtype=self.dtype).reshape(out.shape)
            elif out.flags.c_contiguous:
                self._decode.decode(data, out=out)
            else:
                out[...] = np.frombuffer(self._decode.decode(data), dtype=self.dtype).reshape(out.shape)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"a damaged chunk ({str(error).strip() or type(error).__name__})") from error
