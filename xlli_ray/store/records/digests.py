"""One hash over the records of a cell: an analysis is current as long as the digests of its inputs are unchanged.

A digest covers content only (units, rows, the crc32c of shards, failures, scalars), no epochs, seconds or hosts: a run that was killed five
times and one that was not have the same digests. Reading all records takes seconds on a large study, so `tables/index.json` caches each
digest with a hash of the records' names, and it is recomputed only when a record was added or removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.seal import read_json, sealed_json
from xlli_ray.store.records.unit_records import read_records

INDEX = "tables/index.json"


def records_mark(records: Listing, cell: Cell) -> str:
    """Changes when a record of the cell is added or removed. Computed from the names only."""
    units = sorted((entry.unit, entry.epoch) for entry in records.entries(cell).values())
    return hashlib.sha256(json.dumps([cell.id, cell.hash, units]).encode()).hexdigest()[:16]


def cell_digest(records: Listing, cell: Cell) -> str:
    """16 hex digits over the content of the cell's records, in unit order."""
    digest = hashlib.sha256(f"{cell.id}\n{cell.hash}\n".encode())
    for receipt, rows in read_records(records, cell):
        shards = sorted((name, shard.crc32c, shard.bytes) for name, shard in receipt.shards.items())
        failed = [(f.row, f.position, f.sample_id, f.kind, f.reason) for f in receipt.failed]
        head = [receipt.unit, receipt.bucket, receipt.start, receipt.stop, shards, failed, rows.column_names]
        digest.update(json.dumps(head).encode())
        for name in rows.column_names:
            digest.update(_column(rows[name]))
    return digest.hexdigest()[:16]


def cell_digests(records: Listing, cells: Iterable[Cell]) -> dict[str, str]:
    """Cell id → digest; the records are read only for cells missing from `tables/index.json`."""
    known = remembered(records.objects)
    out = {}
    for cell in cells:
        mark = records_mark(records, cell)
        cached = known.get(cell.id)
        out[cell.id] = cached[1] if cached and cached[0] == mark else cell_digest(records, cell)
    return out


def remember_digests(records: Listing, cells: Iterable[Cell], digests: Mapping[str, str]) -> None:
    """Cache the digests in `tables/index.json`. Only for the holder of the lease."""
    objects = records.objects
    try:
        index = read_json(objects.get(INDEX), INDEX, "")
    except (Missing, StudyError):
        return
    marks = {cell.id: [records_mark(records, cell), digests[cell.id]] for cell in cells}
    cached = remembered(objects)
    if any(cached.get(name) != mark for name, mark in marks.items()):
        index["digests"] = {**cached, **marks}
        objects.put(INDEX, sealed_json(index))


def remembered(objects: Objects) -> dict[str, list[str]]:
    """Cell → [mark, digest], as far as `tables/index.json` is intact."""
    try:
        digests = read_json(objects.get(INDEX), INDEX, "").get("digests")
    except (Missing, StudyError):
        return {}
    pairs = digests.items() if isinstance(digests, dict) else ()
    return {cell: pair for cell, pair in pairs if isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, str) for x in pair)}


def _column(column: pa.ChunkedArray) -> bytes:
    """Canonical bytes of a column: the same whether it comes from a record or from a pack, whose buffers differ."""
    import pyarrow.compute as pc  # takes 50 ms to load, and remembered digests need none of it

    nulls = column.is_null().to_numpy().tobytes()
    if pa.types.is_string(column.type):
        lengths = pc.fill_null(pc.binary_length(column), -1).to_numpy().tobytes()
        return nulls + lengths + "".join(text for text in column.to_pylist() if text is not None).encode()
    filler: Any = False if pa.types.is_boolean(column.type) else 0
    return nulls + np.ascontiguousarray(pc.fill_null(column, filler).to_numpy()).tobytes()
