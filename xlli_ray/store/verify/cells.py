"""Verification of one cell: its records, its shards against them, its Zarr documents, `row` and `valid`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from xlli_ray.errors import StudyError, counted
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.checksum_root import digest_of
from xlli_ray.store.records.listing import PACK_NAME, RECORD_NAME, Listing
from xlli_ray.store.records.manifest import BucketPlan, Cell
from xlli_ray.store.records.seal import crc_hex
from xlli_ray.store.records.unit_records import DamagedRecord, Receipt, Seen, read_object
from xlli_ray.store.verify.findings import Finding, Kind
from xlli_ray.store.zarr.hierarchy import bucket_documents, companions
from xlli_ray.store.zarr.layout import ArrayMeta, companion_chunks, companion_keys, dump, group_key, shard_key
from xlli_ray.store.zarr.size_reader import Reader, SizeReader, size_readers


def verify_cell(records: Listing, cell: Cell, accounted: set[str], saw: Seen) -> Iterator[Finding]:
    """Findings of one cell. `accounted` receives the keys that belong to it, `saw` the digest of each record."""
    objects = records.objects
    receipts: dict[int, Receipt] = {}
    yield from _records(records, cell, receipts, accounted, saw)
    missing = [unit for unit in range(cell.units) if unit not in receipts]
    if missing:
        share = f"{len(missing)} of {counted(cell.units, 'unit')}"
        yield Finding("missing", cell.id, f"{share} without a record (first: {missing[0]})", cell.id)
    valid = {bucket.name: np.zeros(bucket.rows, bool) for bucket in cell.buckets}
    for receipt in receipts.values():
        valid[receipt.bucket][receipt.start : receipt.stop] = True
        valid[receipt.bucket][[failure.position for failure in receipt.failed]] = False
    for bucket in cell.buckets:
        if not bucket.arrays:
            continue
        of_bucket = [receipt for _, receipt in sorted(receipts.items()) if receipt.bucket == bucket.name]
        for place, document in bucket_documents(cell, bucket):
            key = f"{place}/zarr.json"
            accounted.add(key)
            yield from verify_same(objects, key, dump(document), "document", "differs from the plan")
        for meta in bucket.arrays:
            accounted |= {shard_key(cell.id, bucket.name, meta, shard) for shard in range(meta.shards)}
            yield from _array(objects, cell, bucket, meta, valid[bucket.name], of_bucket)
        yield from _companions(objects, cell, bucket, None if missing else valid[bucket.name], accounted)


def _records(
    records: Listing, cell: Cell, receipts: dict[int, Receipt], accounted: set[str], saw: Seen
) -> Iterator[Finding]:
    """All records and packs of the folder; the valid ones go into `receipts`."""
    objects, counting = records.objects, records.entries(cell)
    for key in records.keys(cell):
        name = key.rsplit("/", 1)[-1]
        match = RECORD_NAME.fullmatch(name) or PACK_NAME.fullmatch(name)
        if not match:
            continue
        accounted.add(key)
        if int(match[1]) >= cell.units:
            yield Finding("record", key, f"of a unit that is not planned ({cell.units} are)", cell.id)
            continue
        try:
            data = objects.get(key)
            saw(key, len(data), crc_hex(data))
            content = read_object(objects, cell, key, data)
        except Missing:
            continue
        except DamagedRecord as error:
            yield Finding("record", key, error.why, cell.id)
            continue
        except StudyError as error:
            yield Finding("foreign", key, str(error), cell.id)
            continue
        for unit, (receipt, rows) in content.items():
            if unit in counting and counting[unit].key == key:
                receipts[unit] = receipt
                if cell.columns and (why := _wrong_rows(cell, receipt, rows)):
                    yield Finding("record", key, f"unit {unit} {why}", cell.id, unit)


def _wrong_rows(cell: Cell, receipt: Receipt, rows: pa.Table) -> str:
    """Why the scalars of a unit do not match its samples; '' if they do."""
    bucket, start, stop = cell.unit(receipt.unit)
    planned = {row for first, last in bucket.table_rows(start, stop) for row in range(first, last)}
    wanted = {"row", "sample_id", "status", *(name for name, _ in cell.columns)}
    if set(rows.column_names) != wanted:
        return f"its columns differ from the plan: {', '.join(sorted(wanted ^ set(rows.column_names)))}"
    numbers = rows["row"].to_pylist()
    if set(numbers) != planned:
        return f"has scalars of {counted(len(set(numbers)), 'sample')}, {len(planned)} planned"
    if len(numbers) > len(planned) and len(set(zip(*(map(str, rows[name].to_pylist()) for name in rows.column_names)))) < len(numbers):
        return "has a row twice"
    return ""


def _array(
    objects: Objects, cell: Cell, bucket: BucketPlan, meta: ArrayMeta, valid: np.ndarray, receipts: list[Receipt]
) -> Iterator[Finding]:
    sound: list[int] = []
    for receipt in receipts:
        shard = receipt.start // meta.shard_rows
        key = shard_key(cell.id, bucket.name, meta, shard)
        wanted = receipt.shards.get(meta.name)
        try:
            size, crc = digest_of(objects, key)
        except Missing:
            yield Finding("shard", key, f"missing, although unit {receipt.unit} is recorded", cell.id, receipt.unit)
            continue
        except StudyError as error:
            yield Finding("foreign", key, str(error), cell.id, receipt.unit)
            continue
        if wanted is None or wanted.key != key or size != wanted.bytes or crc != f"{wanted.crc32c:08x}":
            yield Finding("shard", key, f"bytes differ from the record of unit {receipt.unit} (crc32c)", cell.id, receipt.unit)
            continue
        sound.append(shard)
    try:
        for reader in size_readers(objects, cell, bucket, meta, valid=valid):
            yield from _values(reader, reader.meta, sorted(sound))
    except StudyError as error:
        yield Finding("document", f"{group_key(cell.id, bucket.name)}/{meta.name}", str(error), cell.id)


def _values(reader: Reader, meta: ArrayMeta, sound: list[int]) -> Iterator[Finding]:
    """Whether measured values exist and are finite. `sound`: the shards whose bytes match the records."""
    key, cell, bucket = f"{reader.cell.id}/{reader.bucket.name}/{meta.name}", reader.cell.id, reader.bucket
    shards = sound
    if isinstance(reader, SizeReader):
        parts = {shard: reader.stored_shards(shard) for shard in range(meta.shards)}
        shards = [shard for shard, stored in parts.items() if stored <= set(sound)]
    for block in reader.scan(shards=shards):
        unit = bucket.first_unit + (bucket.offset + block.start) // bucket.rows_per_unit
        expected = reader.valid[block.start : block.start + len(block.valid)]
        if not np.array_equal(block.valid, expected):
            first = block.start + int(np.flatnonzero(block.valid != expected)[0])
            yield Finding("shard", key, f"row {first} is recorded as measured, but its bytes are missing", cell, unit)
        if block.values.dtype.kind == "f":
            flat = block.values[block.valid].reshape(int(block.valid.sum()), math.prod(meta.shape))  # none may be valid
            # NaN is valid if the probe declared gaps; infinity never is
            finite = ~np.isinf(flat).any(axis=1) if meta.attributes.get("gaps") else np.isfinite(flat).all(axis=1)
            if not finite.all():
                first = block.start + int(np.flatnonzero(block.valid)[np.flatnonzero(~finite)[0]])
                yield Finding("shard", key, f"row {first} is not finite and not recorded as failed", cell, unit)


def _companions(
    objects: Objects, cell: Cell, bucket: BucketPlan, valid: np.ndarray | None, accounted: set[str]
) -> Iterator[Finding]:
    """`row` and extents from the plan; `valid` from the records (None: some are missing, so it is not written yet)."""
    for name, values in {**companions(bucket), "valid": valid}.items():
        key = f"{group_key(cell.id, bucket.name)}/{name}"
        accounted |= set(companion_keys(key, np.zeros(bucket.rows, bool) if values is None else values))
        if values is None:
            continue
        for place, wanted in zip(companion_keys(key, values), companion_chunks(values)):
            what = "differs from the records" if name == "valid" else "differs from the plan"
            yield from verify_same(objects, place, wanted, "companion", what, cell.id)


def verify_same(objects: Objects, key: str, wanted: bytes, kind: Kind, what: str, cell: str = "") -> Iterator[Finding]:
    """An object whose bytes are determined by the plan or the records."""
    try:
        if objects.get(key) != wanted:
            yield Finding(kind, key, what, cell)
    except Missing:
        yield Finding(kind, key, "missing", cell)
    except StudyError as error:
        yield Finding("foreign", key, str(error), cell)
