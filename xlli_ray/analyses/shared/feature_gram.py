"""From a stored layer to its features by sample, read shard by shard, and to their Gram matrix, whatever the available memory.

A Gram matrix is a sum over features and needs all samples at once, while the store returns samples, shard by shard. So the features are
first copied into one float32 matrix, in memory if it fits, else in a temporary file that is deleted afterwards, and then read in blocks of
features (`stats.gram`). The result is the same to the bit either way.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from xlli_ray.analyses.shared.study_access import CellArray
from xlli_ray.errors import AnalysisError, EnvironmentFailure
from xlli_ray.stats.gram import gram
from xlli_ray.store.zarr.size_reader import Reader

MEMORY = 2 << 30
"""Maximum number of bytes of features held in memory."""


def feature_gram(
    array: CellArray, bucket: str | None = None, *, rows: np.ndarray | None = None, memory: int = MEMORY, scratch: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and Gram matrix of the valid samples of one stored array.

    `bucket`: the input size, needed if the array has several. `rows`: only these rows of the sample table, int64, in any order.
    `memory`: bytes of features that may be held; above that a file under `scratch` (the system's temporary folder when None).
    Returns the table rows, int64 (n,), ascending, and the Gram matrix, float64 (n, n), shifted as in `stats.gram.gram`, so still to be
    centred. Samples that were not measured, or contain NaN or infinity, are left out. Raises AnalysisError if none is left, and
    EnvironmentFailure if there is no space for the file.
    """
    reader = reader_of(array, bucket)
    known = valid_rows(reader, rows)
    width = int(np.prod(reader.meta.shape))
    with _room(len(known), width, memory, scratch) as features:
        filled, place = np.empty(len(known), np.int64), 0
        for table_rows, values in feature_rows(reader, rows):
            features[place : place + len(values)] = values
            filled[place : place + len(values)] = table_rows
            place += len(values)
        matrix = gram(features[:place]) if place else np.empty((0, 0))
    good = np.isfinite(np.diagonal(matrix))
    if not good.any():
        reason = "every sample contains NaN or infinity" if place else "no sample was measured; `failures` says why"
        raise AnalysisError(f"{array.cell.id}: {reason}")
    return filled[:place][good], matrix[np.ix_(good, good)]


def reader_of(array: CellArray, bucket: str | None = None) -> Reader:
    """The part of the array for one input size. Raises AnalysisError naming the sizes if the choice is ambiguous."""
    names = [reader.bucket.name for reader in array.readers]
    if bucket is None and len(names) == 1:
        return array.readers[0]
    if bucket not in names:
        asked = "name an input size" if bucket is None else f"no input size {bucket}"
        raise AnalysisError(f"{array.cell.id}: {asked}; there are {', '.join(names)}")
    return array.readers[names.index(bucket)]


def table_rows(reader: Reader) -> np.ndarray:
    """int64 (rows,): row of the sample table behind each row of the array, ascending."""
    return np.concatenate([np.arange(first, first + count) for first, count in reader.bucket.segments])


def valid_rows(reader: Reader, rows: np.ndarray | None = None) -> np.ndarray:
    """int64 (n,): rows of the sample table that were measured, of `rows` if given, ascending."""
    known = table_rows(reader)[reader.valid]
    return known if rows is None else known[np.isin(known, rows)]


def feature_rows(reader: Reader, rows: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(table rows, features) of the measured samples, shard by shard: int64 (n,) and (n, D) of the stored type.

    Shards without a wanted sample are not read.
    """
    known = table_rows(reader)
    wanted = reader.valid if rows is None else reader.valid & np.isin(known, rows)
    shards = np.unique(np.flatnonzero(wanted) // reader.meta.shard_rows)
    for block in reader.scan(shards=shards.tolist()):
        here = slice(block.start, block.start + len(block.valid))
        taken = wanted[here] & block.valid
        values = block.values if taken.all() else block.values[taken]
        yield known[here][taken], values.reshape(len(values), -1)


@contextmanager
def _room(samples: int, width: int, memory: int, scratch: str | None) -> Iterator[np.ndarray]:
    """float32 (samples, width) to be filled: in memory, or in a file that is removed afterwards."""
    size = 4 * samples * width
    if size <= max(memory, 1):
        yield np.empty((samples, width), np.float32)
        return
    with tempfile.TemporaryDirectory(prefix="xlli-features-", dir=scratch) as folder:
        path = Path(folder) / "features.f32"
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # reports a full disk now, instead of killing the process later
        except OSError as error:
            raise EnvironmentFailure(
                f"{folder}: no room for {size / 1e9:.1f} GB of features ({error.strerror}). Use a larger disk (TMPDIR), fewer samples "
                "(`max_rows`), or a pooled layer"
            ) from error
        features = np.memmap(path, np.float32, "r+", shape=(samples, width))
        yield features
        del features
