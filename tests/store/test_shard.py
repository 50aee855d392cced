"""Shards of our own are Zarr v3: zarr-python reads what we write, and our reader reads it back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.manifest import BucketPlan, Cell
from xlli_ray.store.zarr.layout import ArrayMeta, array_document, create_document, read_array_meta, shard_key
from xlli_ray.store.zarr.read import ArrayReader
from xlli_ray.store.zarr.shard import ShardFile, ShardWriter, crc32c, inner_grid


def cell_of(meta: ArrayMeta) -> Cell:
    bucket = BucketPlan("h0004w0004", 4, 4, meta.rows, 1, meta.shard_rows, 0, ((0, meta.rows),), (meta,))
    return Cell("s", "features", "m", "w", {}, {}, {}, (), "m-0", 1, (bucket,))


def write(place: Path, meta: ArrayMeta, values: np.ndarray, missing: set[int]) -> ArrayReader:
    objects, cell = open_objects(place), cell_of(meta)
    create_document(objects, "arrays.zarr/s/m/w/h0004w0004/" + meta.name, array_document(meta))
    for shard in range(meta.shards):
        writer = ShardWriter(meta.shard_rows, meta.grid, np.dtype(meta.dtype), meta.codec)
        for row in range(shard * meta.shard_rows, min((shard + 1) * meta.shard_rows, meta.rows)):
            if row not in missing:
                writer.write(row - shard * meta.shard_rows, values[row])
        objects.put(shard_key(cell.id, "h0004w0004", meta, shard), writer.finish())
    valid = np.array([row not in missing for row in range(meta.rows)])
    return ArrayReader(objects, cell, cell.buckets[0], meta, valid=valid)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 23), shard_rows=st.integers(1, 9), shape=st.lists(st.integers(1, 5), max_size=3).map(tuple),
    dtype=st.sampled_from(["float16", "float32", "uint8", "int64"]), codec=st.sampled_from(["blosc", "none"]),
    seed=st.integers(0, 10**6), data=st.data(),
)  # fmt: skip
def test_zarr_python_and_our_reader_read_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: int, shard_rows: int, shape: tuple[int, ...], dtype: str, codec: str,
    seed: int, data: st.DataObject,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(rows, *shape)) * 50).astype(dtype)
    missing = set(data.draw(st.lists(st.integers(0, rows - 1), max_size=3)))
    dims = tuple(f"d{i}" for i in range(len(shape)))
    meta = ArrayMeta("features", rows, shard_rows, shape, dtype, dims, codec)  # type: ignore[arg-type]
    place = tmp_path_factory.mktemp("s")
    reader = write(place, meta, values, missing)

    theirs = zarr.open_array(place / "arrays.zarr/s/m/w/h0004w0004/features", mode="r")[:]
    expected = values.copy()
    for row in missing:
        expected[row] = np.nan if dtype.startswith("float") else 0
    np.testing.assert_array_equal(theirs, expected)

    blocks = list(reader.scan())
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), expected)
    np.testing.assert_array_equal(np.concatenate([block.valid for block in blocks]), reader.valid)
    good = np.flatnonzero(reader.valid)
    if len(good):
        wanted = rng.choice(good, size=min(30, 3 * len(good)))
        np.testing.assert_array_equal(reader.rows(wanted), values[wanted])
    if missing and not dtype.startswith("float"):
        with pytest.raises(StudyError, match="was not measured"):
            reader.rows(sorted(missing))
    assert read_array_meta(reader.objects, "arrays.zarr/s/m/w/h0004w0004/features") == meta


def test_a_large_sample_is_cut_over_channels_and_still_reads_the_same(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 24, 128, 128)).astype(np.float32)
    meta = ArrayMeta("features", 3, 2, (24, 128, 128), "float32", ("channel", "y", "x"), "blosc")
    assert meta.grid.blocks > 1
    assert meta.grid.per_block * 128 * 128 * 4 <= 1 << 20
    reader = write(tmp_path, meta, values, set())
    np.testing.assert_array_equal(reader.rows([2, 0, 1, 0]), values[[2, 0, 1, 0]])
    theirs = zarr.open_array(tmp_path / "arrays.zarr/s/m/w/h0004w0004/features", mode="r")
    np.testing.assert_array_equal(theirs[:, 3:5], values[:, 3:5])


def test_a_prime_number_of_channels_is_cut_to_single_ones() -> None:
    assert inner_grid((7, 512, 512), 4).per_block == 1


def test_a_shard_with_a_damaged_index_is_named(tmp_path: Path) -> None:
    meta = ArrayMeta("features", 4, 4, (2, 3, 3), "float32", ("channel", "y", "x"), "none")
    reader = write(tmp_path, meta, np.zeros((4, 2, 3, 3), np.float32), set())
    key = shard_key(reader.cell.id, "h0004w0004", meta, 0)
    data = bytearray(reader.objects.get(key))
    data[-6] ^= 1
    reader.objects.put(key, bytes(data))
    with pytest.raises(StudyError, match="crc32c"):
        reader.rows([0])


def test_an_array_of_another_shape_than_planned_is_refused() -> None:
    writer = ShardWriter(2, inner_grid((2, 3, 3), 4), np.dtype("float32"), "none")
    with pytest.raises(ValueError, match="changed its shape after planning"):
        writer.write(0, np.zeros((2, 3, 4), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(zarr_format=2), "not a Zarr v3"),
        (lambda d: d["codecs"][0]["configuration"]["codecs"].append({"name": "pickle"}), "pickle"),
        (lambda d: d.update(data_type="object"), "object"),
    ],
)
def test_arrays_that_could_run_code_are_not_opened(tmp_path: Path, change: object, message: str) -> None:
    import json

    meta = ArrayMeta("features", 4, 4, (2, 3, 3), "float32", ("channel", "y", "x"), "none")
    document = array_document(meta)
    change(document)  # type: ignore[operator]
    objects = open_objects(tmp_path)
    objects.put("a/features/zarr.json", json.dumps(document).encode())
    with pytest.raises(StudyError, match=message):
        read_array_meta(objects, "a/features")


def test_a_document_that_differs_is_refused_with_the_field_named(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    meta = ArrayMeta("features", 4, 4, (2, 3, 3), "float32", ("channel", "y", "x"), "none")
    create_document(objects, "a/features", array_document(meta))
    create_document(objects, "a/features", array_document(meta))
    other = ArrayMeta("features", 5, 4, (2, 3, 3), "float32", ("channel", "y", "x"), "none")
    with pytest.raises(StudyError, match=r"shape is \[4, 2, 3, 3\].*needs \[5, 2, 3, 3\]"):
        create_document(objects, "a/features", array_document(other))


@pytest.mark.parametrize("codec", ["blosc", "none"])
def test_a_shard_written_chunk_by_chunk_is_the_one_that_is_put_at_once(tmp_path: Path, codec: str) -> None:
    values = np.random.default_rng(0).normal(size=(5, 24, 128, 128)).astype(np.float32)
    meta = ArrayMeta("features", 7, 7, (24, 128, 128), "float32", ("channel", "y", "x"), codec)  # type: ignore[arg-type]
    objects, dtype = open_objects(tmp_path), np.dtype(meta.dtype)
    whole = ShardWriter(7, meta.grid, dtype, meta.codec)
    grows = ShardFile(objects, "c/0", 7, meta.grid, dtype, meta.codec)
    for row in (3, 0, 6, 1):  # the order of work is the order of chunks; rows 2, 4 and 5 failed
        whole.write(row, values[row % 5])
        grows.write(row, values[row % 5])
    parts = whole.finish()
    told = grows.commit()
    assert objects.get("c/0") == b"".join(parts)
    assert (told.key, told.crc32c, told.bytes) == ("c/0", crc32c(parts), sum(map(len, parts)))


@pytest.mark.parametrize("codec", ["blosc", "none"])
def test_a_shard_that_is_a_fifo_a_folder_or_empty_is_named_and_nobody_waits(tmp_path: Path, codec: str) -> None:
    meta = ArrayMeta("features", 2, 2, (3,), "float32", ("c",), codec)  # type: ignore[arg-type]
    reader = write(tmp_path, meta, np.ones((2, 3), np.float32), set())
    shard = tmp_path / shard_key("s/m/w", "h0004w0004", meta, 0)
    shard.unlink()
    for make in (lambda: os.mkfifo(shard), shard.mkdir, shard.touch):
        make()
        for ask in (lambda: reader.rows([0]), lambda: list(reader.scan())):
            with pytest.raises(StudyError, match=r"features/c/0/0.*(a FIFO|a folder|fails its crc32c)"):
                ask()
        if shard.is_dir():
            shard.rmdir()
        else:
            shard.unlink()
