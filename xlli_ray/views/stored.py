"""The stored values of single samples: their array row, and whether they are images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xlli_ray.store.records.manifest import BucketPlan
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.store.zarr.size_reader import Reader


def is_image(meta: ArrayMeta) -> bool:
    """Whether an array can be displayed directly: an image, or a clip."""
    clip = tuple(meta.dims[:1]) == ("frame",)
    shape, dims = meta.shape[clip:], tuple(meta.dims[clip:])
    return meta.dtype == "uint8" and len(shape) == 3 and shape[0] in (1, 3) and dims[1:] == ("y", "x")


def position(bucket: BucketPlan, row: int) -> int | None:
    """Array row of the sample in table row `row`, None when the cell does not cover it."""
    offset = 0
    for first, count in bucket.segments:
        if first <= row < first + count:
            return offset + row - first
        offset += count
    return None


def row_of(readers: Sequence[Reader], number: int) -> np.ndarray | None:
    """The array's values for the sample in table row `number`, None where they are not stored or not valid."""
    for reader in readers:
        place = position(reader.bucket, number)
        if place is not None and reader.valid[place]:
            return reader.rows([place])[0]
    return None
