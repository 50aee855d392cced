"""The Zarr documents and `row` companions of a plan: created before the first unit, compared by `xlli verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xlli_ray.store.records.manifest import BucketPlan, Cell, Manifest
from xlli_ray.store.zarr.layout import FORMAT, ROOT, array_document, companion_document, extent_name, group_document, group_key

ABOUT_VALID = {"about": "only rows with true may be read"}
ABOUT_EXTENT = {"about": "how large the sample is along each axis of the array; what lies beyond is fill"}
ABOUT_ROW = {"about": "row number in the sample table"}


def group_documents(manifest: Manifest, cell: Cell) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, document) of the groups above a cell's buckets and of the cell itself, outermost first; none if it stores no array."""
    if not any(bucket.arrays for bucket in cell.buckets):
        return
    yield ROOT, group_document({"xlli_ray": {"format": FORMAT}})
    yield f"{ROOT}/{cell.stage}", group_document({})
    yield f"{ROOT}/{cell.stage}/{cell.owner}", group_document({})
    facts = {"cell": cell.hash, "kind": cell.kind}
    if cell.model:
        model = manifest.model(cell.model)
        facts |= {"weights_sha256": model.weights_sha256, "network": model.network}
    yield f"{ROOT}/{cell.id}", group_document(facts)


def bucket_documents(cell: Cell, bucket: BucketPlan) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, document) of a bucket with arrays. `row` comes last: its document marks the group as complete."""
    key = group_key(cell.id, bucket.name)
    frames = {"frames": bucket.frames} if bucket.frames else {}
    yield key, group_document({**frames, "height": bucket.height, "width": bucket.width})
    for meta in bucket.arrays:
        yield f"{key}/{meta.name}", array_document(meta)
        if meta.tile:
            yield f"{key}/{extent_name(meta.name)}", companion_document(bucket.rows, "int64", ABOUT_EXTENT, axes=len(meta.shape))
    yield f"{key}/valid", companion_document(bucket.rows, "bool", ABOUT_VALID)
    yield f"{key}/row", companion_document(bucket.rows, "int64", ABOUT_ROW)


def companions(bucket: BucketPlan) -> dict[str, np.ndarray]:
    """The companions determined by the plan, by name: the extents of arrays whose samples differ in size, then `row`."""
    by_name = {extent_name(meta.name): extents(bucket, meta.name) for meta in bucket.arrays if meta.tile}
    return {**by_name, "row": row_numbers(bucket)}


def extents(bucket: BucketPlan, array: str) -> np.ndarray:
    """int64 (rows, axes): extent of each sample of the array; zeros where the network does not accept the size."""
    axes = next(len(meta.shape) for meta in bucket.arrays if meta.name == array)
    sizes = [size.extents.get(array, (0,) * axes) for size in bucket.sizes]
    return np.repeat(np.array(sizes, np.int64).reshape(-1, axes), [size.rows for size in bucket.sizes], axis=0)


def row_numbers(bucket: BucketPlan) -> np.ndarray:
    """int64 (rows,): the companion `row`."""
    return np.concatenate([np.arange(first, first + count) for first, count in bucket.segments]).astype(np.int64)
