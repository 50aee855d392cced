"""Inputs of many sizes: one bucket for all, instead of one per size (`docs/decisions/010-many-sizes.md`).

A folder of whole photographs has as many sizes as files. A bucket costs a group, its documents, `valid`, `row`, and a unit with its own
record and shard, regardless of its content. From `MANY` sizes on the samples of a cell are in one bucket, in the order of the table, i.e.
grouped by size; units are cut as for one size. Each forward pass keeps its exact size and batch, and therefore its numbers.

Arrays whose samples have the same shape for all sizes are unchanged. The inner chunks of the others are tiles: those beyond a sample's
extent are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xlli_ray.engine.run.input_sizes import SizeFacts
from xlli_ray.engine.run.ranges import MACS_A_SECOND, SHARD_BYTES, UNIT_BYTES, UNITS_A_BUCKET
from xlli_ray.engine.run.wanted_cells import WantedCell, unit_cost
from xlli_ray.probes.measurement import ArrayPlan, SetProbe
from xlli_ray.store.records.manifest import SIZES, Bucket, BucketPlan, SampleTable, SizePlan
from xlli_ray.store.zarr.layout import ArrayMeta, extent_name

MANY = 17
"""From this many input sizes on; recipes with fewer keep one bucket per size."""
TILES = 6
"""Tiles along each varying axis of a sample of mean extent: edge tiles extend beyond it by about a sixth, filled with a constant."""
TILE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Size:
    """One input size and the arrays that each member stores for it."""

    bucket: Bucket
    rows: int
    batch: int
    macs: float
    refused: str
    arrays: tuple[tuple[ArrayPlan, ...], ...]


def many_sizes(
    members: Sequence[WantedCell], table: SampleTable, facts: Mapping[str, SizeFacts], unit_seconds: float
) -> list[BucketPlan] | None:
    """The single bucket of each member; None if each size keeps its own: few sizes, sets that are measured together, clips, or arrays that
    differ in more than their extents."""
    first = members[0]
    covered = [(bucket, sum(count for _, count in first.segments[bucket.name])) for bucket in table.buckets]
    covered = [(bucket, rows) for bucket, rows in covered if rows]
    if len(covered) < MANY or any(isinstance(want.probe, SetProbe) for want in members) or any(b.frames for b, _ in covered):
        return None
    sizes = []
    for bucket, rows in covered:
        here = facts[bucket.name]
        arrays = tuple(want.probe.arrays(here.shapes) if here.shapes else () for want in members)
        sizes.append(_Size(bucket, rows, first.batches[bucket.name], here.macs, here.refused, arrays))
    if not any(not size.refused for size in sizes) or any(not _alike(sizes, number) for number in range(len(members))):
        return None
    total = sum(size.rows for size in sizes)
    cost = unit_cost(members)
    each = _rows_a_unit(sizes, cost, unit_seconds)
    segments = tuple(segment for size in sizes for segment in first.segments[size.bucket.name])
    mean = sum(size.macs * size.rows for size in sizes) / total
    out = []
    for number, want in enumerate(members):
        metas = _metas(sizes, number, total, each)
        tiled = [meta.name for meta in metas if meta.tile]
        plans = tuple(
            SizePlan(
                size.bucket.name, size.bucket.height, size.bucket.width, size.rows, size.batch,
                {array.name: array.shape for array in size.arrays[number] if array.name in tiled}, size.macs * want.probe.cost,
                size.refused,
            ) for size in sizes
        )  # fmt: skip
        out.append(BucketPlan(
            SIZES, max(size.bucket.height for size in sizes), max(size.bucket.width for size in sizes), total,
            max(size.batch for size in sizes), each, 0, segments, tuple(metas), mean * want.probe.cost, sizes=plans,
        ))  # fmt: skip
    return out


def _alike(sizes: Sequence[_Size], number: int) -> bool:
    """Whether the arrays of a member differ between sizes only in their extents."""
    layouts = {tuple((a.name, a.dtype, a.dims, len(a.shape), a.codec, repr(a.described)) for a in size.arrays[number])
            for size in sizes if not size.refused}  # fmt: skip
    return len(layouts) == 1


def _rows_a_unit(sizes: Sequence[_Size], cost: float, unit_seconds: float) -> int:
    """Rows of one unit: as many as keep every unit within the limits of `ranges`, and at most a sixteenth of all."""
    ends = np.cumsum([0, *(size.rows for size in sizes)])
    total = int(ends[-1])
    loads = []
    for limit, load in (
        (SHARD_BYTES, lambda size: max((_bytes(a) for arrays in size.arrays for a in arrays), default=0)),
        (UNIT_BYTES, lambda size: sum(_bytes(a) for arrays in size.arrays for a in arrays)),
        (unit_seconds, lambda size: size.macs * cost / MACS_A_SECOND),
    ):
        loads.append((limit, np.cumsum([0.0, *(load(size) * size.rows for size in sizes)])))
    rows = max(-(-total // UNITS_A_BUCKET), max(size.batch for size in sizes))
    while rows > 1:
        edges = np.minimum(np.arange(0, total + rows, rows), total)
        if all(np.diff(np.interp(edges, ends, sums)).max() <= limit for limit, sums in loads):
            break
        rows = max(1, rows * 3 // 4)
    return rows


def _bytes(array: ArrayPlan) -> int:
    return int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize


def _metas(sizes: Sequence[_Size], number: int, rows: int, each: int) -> list[ArrayMeta]:
    """The stored arrays of a member: along each axis as large as their largest sample."""
    usable = [size for size in sizes if not size.refused]
    out = []
    for place, array in enumerate(usable[0].arrays[number]):
        shapes = [size.arrays[number][place].shape for size in usable]
        largest = tuple(int(max(along)) for along in zip(*shapes))
        tile: tuple[int, ...] = ()
        if len(set(shapes)) > 1:
            weights = [size.rows for size in usable]
            means = [sum(w * n for w, n in zip(weights, along)) / sum(weights) for along in zip(*shapes)]
            tile = _tile(largest, means, [len(set(along)) > 1 for along in zip(*shapes)], np.dtype(array.dtype).itemsize)
        about = {**array.described, **({"extent": extent_name(array.name)} if tile else {})}
        out.append(ArrayMeta(array.name, rows, each, largest, array.dtype, array.dims, array.codec, about, tile))
    return out


def _tile(largest: Sequence[int], means: Sequence[float], differs: Sequence[bool], itemsize: int) -> tuple[int, ...]:
    """Shape of an inner chunk: about `TILES` of them along each axis that differs for a sample of mean extent; below `TILE_BYTES`, by
    cutting the first of the other axes."""
    tile = [max(1, -(-round(mean) // TILES)) if differ else size for size, mean, differ in zip(largest, means, differs)]
    if not differs[0]:
        rest = int(np.prod(tile[1:], dtype=np.int64)) * itemsize
        tile[0] = next((size for size in range(largest[0], 0, -1) if largest[0] % size == 0 and size * rest <= TILE_BYTES), 1)
    return tuple(tile)
