"""Records of finished work: one create-only object per finished unit of a cell, written after its bytes are durable.

A record is an Arrow IPC file: the unit's scalar rows as the table, its receipt as JSON in the schema's metadata. Its key carries the
driver's epoch, `records/<cell>/0000012.000003.arrow`; of several epochs the highest wins, and within one epoch the first writer wins, so a
worker that was presumed dead finds its key taken. Every 1,000 consecutive finished units are packed into one Parquet object; resuming
needs only the names (`listing`).

Each is sealed (`seal`), and is valid only if it is about the cell, unit and epoch in its name; otherwise `DamagedRecord` is raised.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records import listing
from xlli_ray.store.records.listing import PACK_NAME, RECORD_NAME, Listing, cell_id
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.seal import PLACE, check, crc_hex, seal, sealed_parquet
from xlli_ray.store.records.strict_types import STRICT, Natural
from xlli_ray.store.zarr.shard import Shard

ARROW = {"float64": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
"""Types of scalars, in records, tables and results."""


class DamagedRecord(StudyError):
    """An invalid record or pack; `key` is its object."""

    def __init__(self, objects: Objects, key: str, why: str) -> None:
        super().__init__(
            f"{objects.url}/{key}: {why}; the same `xlli run`, or `xlli verify --repair`, removes it, and its units are computed again"
        )
        self.key, self.why = key, why


@dataclass(frozen=True)
class Failure:
    """One sample that a unit could not measure."""

    __pydantic_config__ = STRICT

    row: Natural
    """Row in the sample table."""
    position: Natural
    """Row within the bucket group's arrays."""
    sample_id: str
    kind: str
    """sample | crash"""
    reason: str


@dataclass(frozen=True)
class Receipt:
    """Result of one unit of one cell. `start`, `stop` are rows of the bucket group's arrays."""

    __pydantic_config__ = STRICT

    cell: str
    unit: Natural
    epoch: Natural
    bucket: str
    start: Natural
    stop: Natural
    shards: Mapping[str, Shard] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    pid: int = 0
    attempt: int = 0
    one_by_one: bool = False
    """True if the unit ran sample by sample after crashes or out-of-memory errors: rounding may differ from a batched run."""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Raises ValueError for anything but a receipt."""
        return _receipts().validate_json(text)


@cache
def _receipts() -> TypeAdapter[Receipt]:
    return TypeAdapter(Receipt)


def record_key(cell: str, unit: int, epoch: int) -> str:
    return f"records/{cell}/{unit:07d}.{epoch:06d}.arrow"


def write_record(objects: Objects, receipt: Receipt, rows: pa.Table) -> bool:
    """Create the record. False if another worker of the same epoch was first: the unit is then already done."""
    schema = rows.schema.with_metadata({b"receipt": receipt.to_json().encode(), b"seal": PLACE})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(rows.replace_schema_metadata(schema.metadata))
    return objects.create(record_key(receipt.cell, receipt.unit, receipt.epoch), seal(sink.getvalue()))


def unfinished(records: Listing, cells: Iterable[Cell]) -> bool:
    """Whether any unit lacks its record. Stops at the first cell that has one."""
    return any(len(records.entries(cell)) < cell.units for cell in cells)


Seen = Callable[[str, int, str], None]
"""Called for each object read: key, bytes, crc32c as hex."""


def read_records(records: Listing, cell: Cell | str, *, seen: Seen | None = None) -> Iterator[tuple[Receipt, pa.Table]]:
    """The newest record of each unit, in unit order. Holds one record or one pack at a time.

    Raises DamagedRecord for one that cannot be read, or whose cell, unit or epoch differ from its name; with a `Cell` also for one that
    contradicts its plan.
    """
    objects, entries = records.objects, records.entries(cell)
    pack_key, pack = "", {}
    for unit in sorted(entries):
        entry = entries[unit]
        if entry.key != pack_key:
            data = objects.get(entry.key)
            if seen is not None:
                seen(entry.key, len(data), crc_hex(data))
            content = read_object(objects, cell, entry.key, data)
            if entry.packed:
                pack_key, pack = entry.key, content
        yield (pack if entry.packed else content)[unit]


def read_receipts(records: Listing, cell: Cell | str, *, seen: Seen | None = None) -> Iterator[Receipt]:
    """Like `read_records`, without the rows."""
    for receipt, _ in read_records(records, cell, seen=seen):
        yield receipt


def read_object(objects: Objects, cell: Cell | str, key: str, data: bytes) -> dict[int, tuple[Receipt, pa.Table]]:
    """The content of a record or pack, by unit, verified. Raises DamagedRecord."""
    name = key.rsplit("/", 1)[-1]
    try:
        check(data, "", "")
        if match := RECORD_NAME.fullmatch(name):
            out = _read_record(data)
            units, epochs = range(int(match[1]), int(match[1]) + 1), range(int(match[2]), int(match[2]) + 1)
        elif match := PACK_NAME.fullmatch(name):
            out = _read_pack(data)
            units, epochs = range(int(match[1]), int(match[1]) + listing.PACK), range(int(match[2]) + 1)
        else:
            raise ValueError("not the name of a record")
    except (pa.ArrowException, StudyError, OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = str(error).strip(": ;").splitlines() or [""]
        raise DamagedRecord(objects, key, f"damaged ({why[0][:200]})") from error
    if sorted(out) != list(units):
        raise DamagedRecord(objects, key, f"is about unit {min(out, default='?')}: a copy under another name")
    for receipt, _ in out.values():
        if receipt.cell != cell_id(cell) or receipt.epoch not in epochs:
            raise DamagedRecord(objects, key, f"is of {receipt.cell} in run {receipt.epoch}: a copy under another name")
        if isinstance(cell, Cell) and receipt.unit < cell.units:
            bucket, start, stop = cell.unit(receipt.unit)
            if (receipt.bucket, receipt.start, receipt.stop) != (bucket.name, start, stop):
                rows = f"{receipt.start}–{receipt.stop} of unit {receipt.unit}"
                raise DamagedRecord(objects, key, f"is of rows {rows}, the plan says {start}–{stop}")
            if any(not start <= failure.position < stop for failure in receipt.failed):
                raise DamagedRecord(objects, key, f"names failed rows that are not in unit {receipt.unit}")
    return out


def damaged_records(records: Listing, cell: Cell) -> Iterator[DamagedRecord]:
    """Each invalid record and pack of a planned unit. Reads all."""
    for key in sorted({entry.key for entry in records.entries(cell).values()}):
        try:
            read_object(records.objects, cell, key, records.objects.get(key))
        except DamagedRecord as error:
            yield error


def _read_record(data: bytes) -> dict[int, tuple[Receipt, pa.Table]]:
    with pa.ipc.open_file(io.BytesIO(data)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    receipt = Receipt.from_json((table.schema.metadata or {})[b"receipt"])
    return {receipt.unit: (receipt, table.replace_schema_metadata(None))}


def _read_pack(data: bytes) -> dict[int, tuple[Receipt, pa.Table]]:
    table = pq.ParquetFile(io.BytesIO(data)).read()  # `read_table` would load pandas
    listed = json.loads((table.schema.metadata or {})[b"receipts"])
    table = table.replace_schema_metadata(None)
    out, offset = {}, 0
    for item in listed:
        receipt = Receipt.from_json(item["receipt"])
        out[receipt.unit] = (receipt, table.slice(offset, item["rows"]))
        offset += item["rows"]
    if offset != table.num_rows:
        raise ValueError(f"{table.num_rows} rows where its receipts say {offset}")
    return out


def pack_records(records: Listing, cell: Cell | str, *, epoch: int) -> int:
    """Pack each complete thousand of units into one object, then remove the single ones. Returns the packs written.

    Safe to kill at any point: the pack is durable before any record is removed, and until then both have the same content.
    """
    objects, entries, name = records.objects, records.entries(cell), cell_id(cell)
    written = 0
    for first in range(0, max(entries, default=-1) + 1, listing.PACK):
        units = range(first, first + listing.PACK)
        if any(unit not in entries for unit in units) or all(entries[unit].packed for unit in units):
            continue
        content = [read_object(objects, cell, entries[unit].key, objects.get(entries[unit].key))[unit] for unit in units]
        write_pack(objects, name, first, epoch, content)
        records.wrote(pack_key(name, first, epoch))
        records.delete(key for key in records.keys(name) if _superseded(key, name, units, epoch))
        written += 1
    return written


def write_pack(objects: Objects, cell: str, first: int, epoch: int, content: Iterable[tuple[Receipt, pa.Table]]) -> None:
    """Put the pack of these units: receipt and rows of each, in order."""
    tables, listed = [], []
    for receipt, table in content:
        tables.append(table)
        listed.append({"receipt": receipt.to_json(), "rows": table.num_rows})
    schema = tables[0].schema.with_metadata({b"receipts": json.dumps(listed).encode()})
    merged = pa.concat_tables(tables).replace_schema_metadata(schema.metadata)
    objects.put(pack_key(cell, first, epoch), sealed_parquet(schema, [merged]))


def pack_key(cell: str, first: int, epoch: int) -> str:
    """Key of the pack of units `first … first + 999`."""
    return f"records/{cell}/pack-{first:07d}.{epoch:06d}.parquet"


def _superseded(key: str, cell: str, units: range, epoch: int) -> bool:
    name = key[len(f"records/{cell}") + 1 :]
    if match := RECORD_NAME.fullmatch(name):
        return int(match[1]) in units and int(match[2]) <= epoch
    if match := PACK_NAME.fullmatch(name):
        return int(match[1]) == units.start and int(match[2]) < epoch
    return False


def forget_units(records: Listing, cell: Cell, units: Collection[int], *, epoch: int) -> None:
    """Remove the records of these units, of all epochs; other units in their packs become single records of this epoch first."""
    objects, keys, counting = records.objects, records.keys(cell), records.entries(cell)
    for key in keys:
        match = PACK_NAME.fullmatch(key.rsplit("/", 1)[-1])
        first = int(match[1]) if match else 0
        if not match or not any(first <= unit < first + listing.PACK for unit in units):
            continue
        for unit, (receipt, rows) in read_object(objects, cell, key, objects.get(key)).items():
            if unit not in units and counting[unit].key == key:
                write_record(objects, replace(receipt, epoch=epoch), rows)
                records.wrote(record_key(cell.id, unit, epoch))
        records.delete([key])
    records.delete(key for key in keys if (match := RECORD_NAME.fullmatch(key.rsplit("/", 1)[-1])) and int(match[1]) in units)


def forget_records(records: Listing, cell: str) -> None:
    """Remove all records of a cell (`--replace`)."""
    records.delete(records.keys(cell))


PASSED, COMPUTED = -1, -2
"""Crash notes other than row numbers: every sample ran alone and the batches are running; only writing is left."""


def note_key(cell: str, unit: int, epoch: int, attempt: int) -> str:
    return f"records/{cell}/{unit:07d}.{epoch:06d}.{attempt:03d}.progress"


def write_crash_note(objects: Objects, cell: str, unit: int, epoch: int, attempt: int, row: int) -> None:
    """Record which sample is in progress when a unit runs sample by sample, or PASSED, or COMPUTED."""
    objects.put(note_key(cell, unit, epoch, attempt), str(row).encode())


def read_crash_note(objects: Objects, cell: str, unit: int, epoch: int, attempt: int) -> int | None:
    """The sample-table row that was in progress, PASSED, COMPUTED, or None if this attempt had not started.

    One note per attempt: a unit that only waited in a worker killed by another unit must not be blamed by an old note.
    """
    try:
        return int(objects.get(note_key(cell, unit, epoch, attempt)))
    except Missing:
        return None
