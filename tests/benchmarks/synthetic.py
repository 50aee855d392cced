"""Made-up studies: a sample table of any length, and a study whose one array is filled with given numbers instead of a network's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa

REJECTED = pa.schema([("source", pa.string()), ("target", pa.string()), ("reason", pa.string())])
CELL = "features/net/layer.out"
PATCHES_AN_IMAGE = 8


def sample_batches(
    rows: int, *, degradations: tuple[str, ...] = ("given",), size: int = 64, batch: int = 1 << 16
) -> Iterator[pa.RecordBatch]:
    """Batches of `corpus.table.SCHEMA`, in order: one bucket, `degradations` blocks of equal length, eight patches an image."""
    from xlli_ray.corpus.degradations import parse_label
    from xlli_ray.corpus.size import Size
    from xlli_ray.corpus.table import SCHEMA

    each = rows // len(degradations)
    given = degradations == ("given",)
    start = 0
    for label in degradations:
        count = each if label != degradations[-1] else rows - start
        mixture = None if given else parse_label(label)
        for first in range(0, count, batch):
            n = min(batch, count - first)
            content = np.arange(first, first + n)
            image, patch = np.divmod(content, PATCHES_AN_IMAGE)
            same = {
                "bucket": Size(size, size).bucket, "label": label, "type": mixture.type if mixture else "given",
                **{name: mixture.level(name) if mixture else None for name in ("blur", "noise", "jpeg")},
                "seed": 0, "scale": 0 if given else 4, "kind": "inputs" if given else "images",
                "target": None, "target_sha": None,
                "size": None if given else 4 * size, "height": size, "width": size,
                "target_height": None if given else 4 * size, "target_width": None if given else 4 * size,
            }  # fmt: skip
            shas = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(int(image[0]), int(image[-1]) + 1)]
            which = image - int(image[0])
            box = None if given else patch
            made: dict[str, Any] = {
                "row": pa.array(np.arange(start, start + n)),
                "sample_id": _ids(content, label),
                "content": _ids(content, ""),
                "source": pa.array([f"/photos/{name[:2]}/{name}.png" for name in shas]).take(pa.array(which)),
                "source_sha": pa.array(shas).take(pa.array(which)),
                "top": pa.nulls(n, pa.int32()) if box is None else pa.array((box // 4 * 4 * size).astype(np.int32)),
                "left": pa.nulls(n, pa.int32()) if box is None else pa.array((box % 4 * 4 * size).astype(np.int32)),
                "aliases": pa.ListArray.from_arrays(pa.array(np.zeros(n + 1, np.int32)), pa.array([], pa.string())),
                **{name: pa.repeat(pa.scalar(value, SCHEMA.field(name).type), n) for name, value in same.items()},
            }
            yield pa.RecordBatch.from_arrays([made[name] for name in SCHEMA.names], schema=SCHEMA)
            start += n


def _ids(content: np.ndarray, salt: str) -> pa.Array:
    """16 hex digits each, all different: a number scrambled by an odd factor."""
    offset = int(hashlib.sha256(salt.encode()).hexdigest()[:12], 16)
    scrambled = (content.astype(np.uint64) + np.uint64(offset)) * np.uint64(0x9E3779B97F4A7C15)
    text = scrambled.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(len(content) + 1, dtype=np.int32) * np.int32(16)
    return pa.StringArray.from_buffers(len(content), pa.py_buffer(offsets), pa.py_buffer(text))


def write_study(
    folder: Path, *, rows: int, shape: tuple[int, ...], dtype: str, codec: str, shard_rows: int, values: Callable[[int, int], np.ndarray]
) -> None:
    """A whole study (manifest, sample table, array, records) whose array holds `values(start, stop)`: (stop - start, *shape)."""
    from xlli_ray.corpus.table import SCHEMA
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import save_manifest
    from xlli_ray.store.records.manifest import BucketPlan, Cell, Manifest, ModelRecord
    from xlli_ray.store.records.unit_records import Receipt, Shard, write_record
    from xlli_ray.store.tables.sample_table import write_sample_table
    from xlli_ray.store.zarr.layout import ROOT, ArrayMeta, array_document, create_document, group_document, group_key, shard_key
    from xlli_ray.store.zarr.shard import ShardWriter, crc32c

    objects = open_objects(folder)
    table = write_sample_table(objects, sample_batches(rows), SCHEMA, REJECTED.empty_table(), corpus_hash="made-up")
    dims = ("channel", "y", "x")[: len(shape)]
    meta = ArrayMeta("features", rows, shard_rows, shape, dtype, dims, codec)  # type: ignore[arg-type]
    bucket = BucketPlan("h0064w0064", 64, 64, rows, 32, shard_rows, 0, ((0, rows),), (meta,))
    stage, model, what = CELL.split("/")
    cell = Cell(stage, "features", model, what, {}, {}, {"made": "up"}, (), "net-0", 1, (bucket,))
    record = ModelRecord(model, "0" * 64, "made-up", "", "none", 1, 1, 3, (0.0, 1.0), "none", {})
    save_manifest(objects, Manifest("made-up", 0, {}, table, (record,), (cell,)))
    for key in (ROOT, f"{ROOT}/{stage}", f"{ROOT}/{stage}/{model}", f"{ROOT}/{CELL}", group_key(CELL, bucket.name)):
        create_document(objects, key, group_document({}))
    create_document(objects, f"{group_key(CELL, bucket.name)}/features", array_document(meta))
    for unit, start in enumerate(range(0, rows, shard_rows)):
        stop = min(start + shard_rows, rows)
        writer = ShardWriter(shard_rows, meta.grid, np.dtype(dtype), meta.codec)
        for row, block in enumerate(values(start, stop)):
            writer.write(row, block)
        parts = writer.finish()
        key = shard_key(CELL, bucket.name, meta, unit)
        objects.put(key, parts)
        shards = {"features": Shard(key, crc32c(parts), sum(map(len, parts)))}
        write_record(objects, Receipt(CELL, unit, 1, bucket.name, start, stop, shards), pa.table({"row": pa.array([], pa.int64())}))


def feature_like(rng: np.random.Generator, rows: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that compress about like signed convolution features: smooth in space, a scale of its own for each channel."""
    count, height, width = shape
    small = rng.normal(0, 1, (rows, count, height // 4 + 1, width // 4 + 1)).astype(np.float32)
    wide = small.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]
    scale = rng.uniform(0.05, 0.5, (count, 1, 1)).astype(np.float32)
    return ((wide + rng.normal(0, 0.3, wide.shape).astype(np.float32)) * scale).astype(dtype)


assert common.CPU_METHOD  # sets the import path
