"""Prove that a study is whole: every unit has its record, every shard its bytes and crc, every valid row its finite numbers.

Reads everything once. Findings are lines that say what, where and what to do; none means that the study is as its plan says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np

from xlli_ray.errors import AnalysisError, StudyError
from xlli_ray.store.layout import array_document, dump, group_key, read_array_meta, read_companion, shard_key
from xlli_ray.store.manifest import Cell, Manifest
from xlli_ray.store.objects import Missing, Objects
from xlli_ray.store.read import ArrayReader, valid_by_bucket
from xlli_ray.store.records import Receipt, read_records
from xlli_ray.store.results import read_file, read_results
from xlli_ray.store.shard import crc32c


def verify(objects: Objects, manifest: Manifest) -> Iterator[str]:
    """Yield one line per finding."""
    if manifest.samples is None:
        yield "samples: the corpus was never scanned; run `xlli run` again"
        return
    for model in manifest.models:
        key = f"weights/{model.weights_sha256}.safetensors"
        if not _exists(objects, key):
            yield f"{key}: missing; run the recipe again where the checkpoint of {model.id} can be read"
    for cell in manifest.cells:
        yield from _verify_cell(objects, cell)
    yield from _verify_results(objects)


def _verify_results(objects: Objects) -> Iterator[str]:
    """Every table and figure of every result has the bytes that its `result.json` names."""
    for name, stored in read_results(objects).items():
        for file in (*stored.tables, *stored.figures):
            try:
                read_file(objects, name, file)
            except AnalysisError as error:
                yield str(error)


def _verify_cell(objects: Objects, cell: Cell) -> Iterator[str]:
    receipts: dict[int, Receipt] = {}
    for receipt, rows in read_records(objects, cell.id):
        receipts[receipt.unit] = receipt
        bucket, start, stop = cell.unit(receipt.unit)
        if (receipt.bucket, receipt.start, receipt.stop) != (bucket.name, start, stop):
            yield f"{cell.id}: the record of unit {receipt.unit} is of rows {receipt.start}–{receipt.stop}, the plan says {start}–{stop}"
        if cell.columns:
            yield from _verify_rows(cell, receipt, rows)
    missing = [unit for unit in range(cell.units) if unit not in receipts]
    if missing:
        yield f"{cell.id}: {len(missing)} of {cell.units} units have no record (first: {missing[0]}); run the same command again"
    by_bucket: dict[str, list[Receipt]] = {bucket.name: [] for bucket in cell.buckets}
    for receipt in receipts.values():
        by_bucket[receipt.bucket].append(receipt)
    valid = valid_by_bucket(objects, cell)
    for bucket in cell.buckets:
        key = group_key(cell.id, bucket.name)
        for meta in bucket.arrays:
            try:
                read_array_meta(objects, f"{key}/{meta.name}")
                if json.loads(objects.get(f"{key}/{meta.name}/zarr.json")) != json.loads(dump(array_document(meta))):
                    yield f"{key}/{meta.name}/zarr.json: differs from the plan"
            except StudyError as error:
                yield str(error)
                continue
            reader = ArrayReader(objects, cell, bucket, meta, valid=valid[bucket.name])
            yield from _verify_array(objects, cell, reader, by_bucket[bucket.name])
        if (
            bucket.arrays
            and not missing
            and not np.array_equal(read_companion(objects, f"{key}/valid", bucket.rows, "bool"), valid[bucket.name])
        ):
            yield f"{key}/valid: does not say what the records say; run the same command again"


def _verify_rows(cell: Cell, receipt: Receipt, rows: object) -> Iterator[str]:
    covered = set(rows["row"].to_pylist())  # type: ignore[index]
    if len(covered) != receipt.stop - receipt.start:
        yield f"{cell.id}: unit {receipt.unit} has scalars of {len(covered)} samples, {receipt.stop - receipt.start} are planned"


def _verify_array(objects: Objects, cell: Cell, reader: ArrayReader, receipts: list[Receipt]) -> Iterator[str]:
    meta, bucket = reader.meta, reader.bucket
    sound: set[int] = set()
    for receipt in receipts:
        shard = receipt.start // meta.shard_rows
        key = shard_key(cell.id, bucket.name, meta, shard)
        wanted = receipt.shards.get(meta.name)
        try:
            data = objects.get(key)
        except Missing:
            yield f"{key}: missing, though unit {receipt.unit} is recorded; run with --replace {cell.id}"
            continue
        if wanted is None or len(data) != wanted.bytes or crc32c([data]) != wanted.crc32c:
            yield f"{key}: bytes differ from the record of unit {receipt.unit} (crc32c); run with --replace {cell.id}"
            continue
        sound.add(shard)
    for block in reader.scan(shards=sorted(sound)):
        expected = reader.valid[block.start : block.start + len(block.valid)]
        if not np.array_equal(block.valid, expected):
            first = block.start + int(np.flatnonzero(block.valid != expected)[0])
            yield f"{reader.cell.id}/{bucket.name}/{meta.name}: row {first} is recorded as measured, its bytes are missing"
        if block.values.dtype.kind == "f":
            flat = block.values[block.valid].reshape(int(block.valid.sum()), math.prod(meta.shape))  # none may be valid
            # where the probe declared gaps, NaN is a value; infinity never is
            finite = ~np.isinf(flat).any(axis=1) if meta.attributes.get("gaps") else np.isfinite(flat).all(axis=1)
            if not finite.all():
                first = block.start + int(np.flatnonzero(block.valid)[np.flatnonzero(~finite)[0]])
                yield f"{reader.cell.id}/{bucket.name}/{meta.name}: row {first} is not finite and not recorded as failed"


def _exists(objects: Objects, key: str) -> bool:
    try:
        objects.get_range(key, 0, 1)
    except Missing:
        return False
    return True
