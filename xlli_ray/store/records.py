"""Records: what is done. One create-only object for each finished unit of a cell, written after its bytes are durable.

A record is an Arrow IPC file: the unit's scalar rows as the table, its receipt as JSON in the schema's metadata. Its key carries the
driver's epoch, `records/<cell>/0000012.000003.arrow`; of several epochs the highest wins, and within one epoch the first writer wins, so a
worker that was believed dead finds its key taken. Every 1,000 consecutive finished units are packed into one Parquet object; resuming
needs only the names.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from xlli_ray.store.objects import Missing, Objects

ARROW = {"float64": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
"""Types of scalars, in records, tables and results."""
PACK = 1000
_RECORD = re.compile(r"(\d{7})\.(\d{6})\.arrow")
_PACK = re.compile(r"pack-(\d{7})\.(\d{6})\.parquet")


@dataclass(frozen=True)
class Shard:
    """One shard object of a unit."""

    key: str
    crc32c: int
    bytes: int


@dataclass(frozen=True)
class Failure:
    """One sample that a unit could not measure."""

    row: int
    """Row in the sample table."""
    position: int
    """Row within the bucket group's arrays."""
    sample_id: str
    kind: str
    """sample | crash"""
    reason: str


@dataclass(frozen=True)
class Receipt:
    """What one unit of one cell did. `start`, `stop` are rows of the bucket group's arrays."""

    cell: str
    unit: int
    epoch: int
    bucket: str
    start: int
    stop: int
    shards: Mapping[str, Shard] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    pid: int = 0
    attempt: int = 0
    one_by_one: bool = False
    """True when the unit ran sample by sample after crashes or lack of memory: rounding may differ from a batched run."""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        data = json.loads(text)
        data["shards"] = {name: Shard(**shard) for name, shard in data["shards"].items()}
        data["failed"] = tuple(Failure(**failure) for failure in data["failed"])
        return cls(**data)


@dataclass(frozen=True)
class Entry:
    """Where the newest record of a unit is."""

    unit: int
    epoch: int
    key: str
    packed: bool


def record_key(cell: str, unit: int, epoch: int) -> str:
    return f"records/{cell}/{unit:07d}.{epoch:06d}.arrow"


def write_record(objects: Objects, receipt: Receipt, rows: pa.Table) -> bool:
    """Create the record. False when another worker of the same epoch was first: the unit is then already done."""
    schema = rows.schema.with_metadata({b"receipt": receipt.to_json().encode()})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(rows.replace_schema_metadata(schema.metadata))
    return objects.create(record_key(receipt.cell, receipt.unit, receipt.epoch), sink.getvalue())


def list_records(objects: Objects, cell: str) -> dict[int, Entry]:
    """Unit → its newest record, from the names alone."""
    found: dict[int, Entry] = {}
    prefix = f"records/{cell}"

    def offer(entry: Entry) -> None:
        old = found.get(entry.unit)
        if old is None or (entry.epoch, entry.packed) > (old.epoch, old.packed):
            found[entry.unit] = entry

    for key in objects.list(prefix):
        name = key[len(prefix) + 1 :]
        if match := _RECORD.fullmatch(name):
            offer(Entry(int(match[1]), int(match[2]), key, packed=False))
        elif match := _PACK.fullmatch(name):
            first, epoch = int(match[1]), int(match[2])
            for unit in range(first, first + PACK):
                offer(Entry(unit, epoch, key, packed=True))
    return found


def read_records(objects: Objects, cell: str) -> Iterator[tuple[Receipt, pa.Table]]:
    """The newest record of each unit, in unit order. Holds one record or one pack at a time."""
    entries = list_records(objects, cell)
    pack_key, pack = "", {}
    for unit in sorted(entries):
        entry = entries[unit]
        if not entry.packed:
            yield _read_record(objects.get(entry.key))
            continue
        if entry.key != pack_key:
            pack_key, pack = entry.key, _read_pack(objects.get(entry.key))
        yield pack[unit]


def read_receipts(objects: Objects, cell: str) -> Iterator[Receipt]:
    """As `read_records`, without the rows."""
    for receipt, _ in read_records(objects, cell):
        yield receipt


def _read_record(data: bytes) -> tuple[Receipt, pa.Table]:
    with pa.ipc.open_file(io.BytesIO(data)) as reader:
        table = reader.read_all()
    receipt = Receipt.from_json(table.schema.metadata[b"receipt"])
    return receipt, table.replace_schema_metadata(None)


def _read_pack(data: bytes) -> dict[int, tuple[Receipt, pa.Table]]:
    table = pq.read_table(io.BytesIO(data))
    listed = json.loads(table.schema.metadata[b"receipts"])
    table = table.replace_schema_metadata(None)
    out, offset = {}, 0
    for item in listed:
        receipt = Receipt.from_json(item["receipt"])
        out[receipt.unit] = (receipt, table.slice(offset, item["rows"]))
        offset += item["rows"]
    return out


def pack_records(objects: Objects, cell: str, *, epoch: int) -> int:
    """Pack each complete thousand of units into one object, then remove the single ones. Returns the packs written.

    Safe to kill at any point: the pack is durable before a record goes, and until then both say the same.
    """
    entries = list_records(objects, cell)
    written = 0
    for first in range(0, max(entries, default=-1) + 1, PACK):
        units = range(first, first + PACK)
        if any(unit not in entries for unit in units) or all(entries[unit].packed for unit in units):
            continue
        tables, listed = [], []
        for unit in units:
            entry = entries[unit]
            data = objects.get(entry.key)
            receipt, table = _read_pack(data)[unit] if entry.packed else _read_record(data)
            tables.append(table)
            listed.append({"receipt": receipt.to_json(), "rows": table.num_rows})
        merged = pa.concat_tables(tables)
        sink = io.BytesIO()
        pq.write_table(merged.replace_schema_metadata({b"receipts": json.dumps(listed).encode()}), sink, compression="zstd")
        objects.put(f"records/{cell}/pack-{first:07d}.{epoch:06d}.parquet", sink.getvalue())
        stale = [key for key in objects.list(f"records/{cell}") if _superseded(key, cell, units, epoch)]
        objects.delete(stale)
        written += 1
    return written


def _superseded(key: str, cell: str, units: range, epoch: int) -> bool:
    name = key[len(f"records/{cell}") + 1 :]
    if match := _RECORD.fullmatch(name):
        return int(match[1]) in units and int(match[2]) <= epoch
    if match := _PACK.fullmatch(name):
        return int(match[1]) == units.start and int(match[2]) < epoch
    return False


def forget_records(objects: Objects, cell: str) -> None:
    """Remove all records of a cell (`--replace`)."""
    objects.delete(list(objects.list(f"records/{cell}")))


PASSED, COMPUTED = -1, -2
"""Crash notes beside row numbers: every sample ran alone and the batches are running; nothing is left but writing."""


def note_key(cell: str, unit: int, epoch: int, attempt: int) -> str:
    return f"records/{cell}/{unit:07d}.{epoch:06d}.{attempt:03d}.progress"


def write_crash_note(objects: Objects, cell: str, unit: int, epoch: int, attempt: int, row: int) -> None:
    """Say which sample is in progress when a unit runs sample by sample, or PASSED, or COMPUTED."""
    objects.put(note_key(cell, unit, epoch, attempt), str(row).encode())


def read_crash_note(objects: Objects, cell: str, unit: int, epoch: int, attempt: int) -> int | None:
    """The sample-table row that was in progress, PASSED, COMPUTED, or None when this attempt had not begun.

    One note per attempt: a unit that only waited in a worker that another unit killed must not be blamed by an old note.
    """
    try:
        return int(objects.get(note_key(cell, unit, epoch, attempt)))
    except Missing:
        return None
