"""Tables for people: Parquet under `tables/`, a compaction of the records that can be rebuilt at any time, and SQL over it.

    samples   one row per sample (the sample table itself)
    models    id, network, scale, weights_sha256, … and one column per tag
    <probe>   the scalars of each probe kind, e.g. `restore`: stage, model, what, sample_id, row, status, psnr_y, …
    features  what is stored: one row per array and bucket, with shape, dtype and bytes
    failures  every sample that could not be measured or read, with its reason
    <table>   the tables of analyses, e.g. `lam_pairs`: stage, …; stored under `results/`, not here

Sorted by (stage, model, what, row); `model` is null where samples were measured by themselves, and comes first. No seconds, hosts or
attempts, so that two runs of one plan give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.checksum_root import digest_of
from xlli_ray.store.records.digests import INDEX, remembered
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import NO_MODEL, Cell, Manifest
from xlli_ray.store.records.seal import TAIL, Written, check, crc_hex, read_json, sealed_json, write_sealed_parquet
from xlli_ray.store.records.unit_records import ARROW, read_receipts, read_records
from xlli_ray.store.tables.results import folder, read_results
from xlli_ray.store.tables.sample_table import REPAIR
from xlli_ray.store.tables.sql import Database, mentions, text
from xlli_ray.store.zarr.layout import ROOT

RESERVED = ("samples", "models", "features", "failures")
FAILURES = pa.schema(
    [("stage", pa.string()), ("model", pa.string()), ("what", pa.string()), ("sample_id", pa.string()), ("row", pa.int64()),
     ("kind", pa.string()), ("reason", pa.string()), ("source", pa.string())]
)  # fmt: skip
STORED = pa.schema(
    [("stage", pa.string()), ("model", pa.string()), ("what", pa.string()), ("name", pa.string()), ("bucket", pa.string()),
     ("rows", pa.int64()), ("valid", pa.int64()), ("shape", pa.list_(pa.int64())), ("dtype", pa.string()), ("codec", pa.string()),
     ("stride_y", pa.float64()), ("stride_x", pa.float64()), ("bytes", pa.int64()), ("bytes_stored", pa.int64()), ("path", pa.string())]
)  # fmt: skip


def fingerprint(archive: Archive) -> str:
    """Changes when a record is added or removed: tells whether `tables/` is up to date."""
    def units(cell: Cell) -> list[tuple[int, int]]:
        return sorted((entry.unit, entry.epoch) for entry in archive.records.entries(cell).values())

    cells = json.dumps([(cell.id, cell.hash, units(cell)) for cell in archive.manifest.cells])
    tags = json.dumps([[m.id, dict(m.tags), m.weights_sha256] for m in archive.manifest.models], sort_keys=True)
    return hashlib.sha256((cells + tags).encode()).hexdigest()[:16]


def table_kinds(manifest: Manifest) -> dict[str, list[Cell]]:
    """Probe kinds that have scalars → their cells, sorted."""
    kinds: dict[str, list[Cell]] = {}
    for cell in sorted(manifest.cells, key=lambda c: (c.stage, c.model, c.what)):
        if cell.columns:
            kinds.setdefault(cell.kind, []).append(cell)
    return kinds


def kind_columns(cells: Sequence[Cell]) -> dict[str, str]:
    """Scalars of one probe kind over all its cells: older cells have nulls in columns added later."""
    return {name: dtype for cell in cells for name, dtype in cell.columns}


def kind_schema(cells: Sequence[Cell]) -> pa.Schema:
    """Columns of the SQL table of one probe kind."""
    every = {"stage": "string", "model": "string", "what": "string", "sample_id": "string", "row": "int64", "status": "string"}
    return pa.schema([(name, ARROW[dtype]) for name, dtype in {**every, **kind_columns(cells)}.items()])


def kind_batches(records: Listing, cells: Sequence[Cell]) -> Iterator[pa.Table]:
    """Rows of one probe kind, a record at a time, in order."""
    schema = kind_schema(cells)
    for cell in cells:
        for _, rows in read_records(records, cell):
            if not rows.num_rows:
                continue
            about = {"stage": cell.stage, "model": cell.model or None, "what": cell.what}
            known = {name: pa.repeat(pa.scalar(value, pa.string()), rows.num_rows) for name, value in about.items()}
            known |= {name: rows[name] for name in rows.column_names}
            columns = [known[f.name] if f.name in known else pa.nulls(rows.num_rows, f.type) for f in schema]
            yield pa.table(columns, names=schema.names).cast(schema)


def stored_table(archive: Archive) -> pa.Table:
    """The SQL table `features`: every stored array of every probe."""
    rows: list[dict[str, Any]] = []
    for cell in sorted(archive.manifest.cells, key=lambda c: (c.stage, c.model, c.what)):
        sums: dict[tuple[str, str], list[int]] = {}
        if any(bucket.arrays for bucket in cell.buckets):
            for receipt in read_receipts(archive.records, cell):
                for name, shard in receipt.shards.items():
                    entry = sums.setdefault((receipt.bucket, name), [0, 0])
                    entry[0] += receipt.stop - receipt.start - len(receipt.failed)
                    entry[1] += shard.bytes
        for bucket in cell.buckets:
            for meta in bucket.arrays:
                exact = [array for part in bucket.exact for array in part.arrays if array.name == meta.name]
                valid, stored = sums.get((bucket.name, meta.name), (0, 0))
                stride = meta.attributes.get("stride") or (None, None)
                rows.append(
                    {"stage": cell.stage, "model": cell.model or None, "what": cell.what, "name": meta.name, "bucket": bucket.name,
                     "rows": meta.rows, "valid": valid, "shape": list(meta.shape), "dtype": meta.dtype, "codec": meta.codec,
                     "stride_y": stride[0], "stride_x": stride[1], "bytes": sum(array.nbytes for array in exact), "bytes_stored": stored,
                     "path": f"{ROOT}/{cell.id}/{bucket.name}/{meta.name}"}
                )  # fmt: skip
    return pa.Table.from_pylist(rows, STORED)


def failure_table(archive: Archive) -> pa.Table:
    """The SQL table `failures`: rejected files of the scan, then failed samples."""
    rows: list[dict[str, Any]] = []
    for item in rejected(archive.objects).to_pylist():
        rows.append({"stage": "scan", "kind": "rejected", "reason": item["reason"], "source": item["source"]})
    for cell in sorted(archive.manifest.cells, key=lambda c: (c.stage, c.model, c.what)):
        for receipt in read_receipts(archive.records, cell):
            for failure in receipt.failed:
                rows.append(
                    {"stage": cell.stage, "model": cell.model or None, "what": cell.what, "sample_id": failure.sample_id,
                     "row": failure.row, "kind": failure.kind, "reason": failure.reason}
                )  # fmt: skip
    return pa.Table.from_pylist(rows, FAILURES)


_MODELS = pa.schema(
    [("id", pa.string()), ("network", pa.string()), ("scale", pa.int64()), ("channels", pa.int64()), ("source", pa.string()),
     ("weights_sha256", pa.string()), ("source_sha256", pa.string())]
)  # fmt: skip


def model_table(manifest: Manifest) -> pa.Table:
    """The SQL table `models`: common columns, then one column per tag (`tag_NAME` if the name is taken)."""
    table = pa.Table.from_pylist([{name: getattr(m, name) for name in _MODELS.names} for m in manifest.models], _MODELS)
    for tag in sorted({tag for model in manifest.models for tag in model.tags}):
        values = [model.tags.get(tag) for model in manifest.models]
        try:
            column = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # numbers and strings mixed
            column = pa.array([None if value is None else str(value) for value in values])
        table = table.append_column(f"tag_{tag}" if tag in _MODELS.names else tag, column)
    return table


def rejected(objects: Objects) -> pa.Table:
    """Files that the scan could not read: text columns source, target, reason. Raises StudyError if the list is damaged."""
    try:
        data = objects.get("samples/rejected.parquet")
        check(data, f"{objects.url}/samples/rejected.parquet", REPAIR)
        return pq.ParquetFile(io.BytesIO(data)).read().select(["source", "target", "reason"])
    except Missing:
        return pa.table({"source": pa.array([], pa.string()), "target": pa.array([], pa.string()), "reason": pa.array([], pa.string())})
    except EnvironmentFailure:  # also an OSError, but not about the file
        raise
    except (pa.ArrowException, KeyError, OSError) as error:
        raise StudyError(f"{objects.url}/samples/rejected.parquet: damaged ({str(error)[:200]}); {REPAIR}") from error


def tables_are_fresh(archive: Archive, *, read: bool = False) -> bool:
    """Whether `tables/` covers exactly the existing records, in undamaged files.

    `read`: by their digests, as in `run`; else by their sizes and last bytes, which hold the seal: a query over gigabytes of tables reads
    only what it needs; truncated or replaced tables are detected, and flipped bits elsewhere are left to `verify`.
    """
    objects = archive.objects
    try:
        index = read_json(objects.get(INDEX), f"{objects.url}/{INDEX}", "")
        if index.get("fingerprint") != fingerprint(archive):
            return False
        tails = dict(index.get("tails", {}))  # empty in older studies
        for name, (size, crc) in dict(index.get("files", {})).items():
            key = f"tables/{name}.parquet"
            if read:
                same = digest_of(objects, key) == (size, crc)
            else:
                same = objects.size(key) == size and tails.get(name) in (None, crc_hex(objects.get_range(key, -TAIL, TAIL)))
            if not same:
                return False
        return True
    except (Missing, StudyError, ValueError, TypeError):
        return False


def write_tables(archive: Archive) -> None:
    """Rewrite `tables/`; its index comes last."""
    objects, mark = archive.objects, fingerprint(archive)
    made: dict[str, Written] = {}
    for kind, cells in table_kinds(archive.manifest).items():
        made[kind] = _put(objects, kind, kind_schema(cells), _regroup(kind_batches(archive.records, cells)))
    others = {
        "models": model_table(archive.manifest),
        "features": stored_table(archive),
        "failures": failure_table(archive),
    }
    for name, table in others.items():
        made[name] = _put(objects, name, table.schema, [table])
    files = {name: (file.size, file.crc) for name, file in made.items()}
    tails = {name: file.tail for name, file in made.items()}
    index = {"fingerprint": mark, "tables": sorted(made), "files": files, "tails": tails, "digests": remembered(objects)}
    objects.put(INDEX, sealed_json(index))  # older digests still state the records they cover


def _put(objects: Objects, name: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> Written:
    """Write a table as it is made: it is never held as a whole."""
    pending = objects.begin(f"tables/{name}.parquet")
    try:
        written = write_sealed_parquet(pending.write, schema, tables)
        pending.commit()
    except BaseException:
        pending.abandon()
        raise
    if objects.fence:
        objects.fence.known[f"tables/{name}.parquet"] = written.size, written.crc
    return written


def _regroup(tables: Iterator[pa.Table], size: int = 1 << 16) -> Iterator[pa.Table]:
    """Row groups of a fixed size, whatever the units were: the file's bytes do not depend on how the work was divided."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= size:
            merged = pa.concat_tables(waiting).combine_chunks()
            yield merged.slice(0, size)
            waiting, count = [merged.slice(size)], count - size
    if count:
        yield pa.concat_tables(waiting).combine_chunks()


def connect(
    archive: Archive, *, cells: Sequence[Cell] | None = None, unsafe: bool = False, statement: str | None = None
) -> Database:
    """An SQL connection with all tables, shut (`store.tables.sql`). Uses `tables/` when up to date, else reads the records.

    `cells`: only rows of these cells are visible, and neither `features` nor results: the declared inputs of an analysis.
    `unsafe`: statements may use files, network and settings. `statement`: the only one that will be asked; tables that it does not name are
    not opened, which during a run means not made from records. Raises StudyError for a sample table that cannot be read.
    """
    database = Database()
    try:
        _fill(database, archive, cells, (lambda name: True) if statement is None else partial(mentions, statement))
        if not unsafe:
            database.shut()
    except BaseException:
        database.close()
        raise
    return database


def _fill(database: Database, archive: Archive, cells: Sequence[Cell] | None, used: Callable[[str], bool]) -> None:
    objects = archive.objects
    fresh = tables_are_fresh(archive)
    kinds = table_kinds(archive.manifest)
    wanted = {cell.kind for cell in cells} if cells is not None else set(kinds)
    for name in [*(kind for kind in kinds if kind in wanted), "models", "failures", *([] if cells is not None else ["features"])]:
        only = "" if cells is None else _only(name, cells)
        if not used(name):
            database.knows(name)
            continue
        if fresh:
            try:
                database.add_parquet(name, objects, [f"tables/{name}.parquet"], where=only)
                continue
            except StudyError:
                pass  # missing or damaged: the records have the same content
        if name in kinds:
            ids = {cell.id for cell in cells or ()}
            shown = [cell for cell in kinds[name] if cells is None or cell.id in ids]
            table = pa.concat_tables([kind_schema(kinds[name]).empty_table(), *kind_batches(archive.records, shown)])
        else:
            make = {"models": lambda study: model_table(study.manifest), "features": stored_table, "failures": failure_table}[name]
            table = make(archive)
        database.add(name, table, where=only)
    if not used("samples"):
        database.knows("samples")
    elif parts := [key for key in objects.list("samples") if key.rsplit("/", 1)[-1].startswith("part-")]:
        database.add_parquet("samples", objects, parts)
    if cells is None:
        _results(database, objects, {*kinds, *RESERVED}, used)


def _results(database: Database, objects: Objects, taken: set[str], used: Callable[[str], bool]) -> None:
    """The tables of all results; those of two analyses of one kind are one SQL table, distinguished by `stage`."""
    by_table: dict[str, list[str]] = {}
    for name, stored in read_results(objects).items():
        for file in stored.tables:
            by_table.setdefault(file.name, []).append(f"{folder(name)}/{file.file}")
    for table, files in by_table.items():
        if table in taken:
            continue  # a probe of a later version took the name; the result is still read by `study.result`
        if not used(table):
            database.knows(table)
            continue
        try:
            database.add_parquet(table, objects, files, union=True)
        except StudyError as error:  # must not prevent queries of the others
            database.lacks(f"{table} cannot be read: {error}")


def result_tables(objects: Objects) -> list[str]:
    """Names of the SQL tables from results."""
    return sorted({file.name for stored in read_results(objects).values() for file in stored.tables})


def _only(name: str, cells: Sequence[Cell]) -> str:
    """The condition that selects the rows of these cells."""
    if name == "models":
        return f"id in ({_texts({cell.model for cell in cells})})"
    return f"concat(stage, '/', coalesce(model, {text(NO_MODEL)}), '/', what) in ({_texts({cell.id for cell in cells})})"


def _texts(values: Iterable[str]) -> str:
    """Values as SQL string literals, sorted."""
    return ", ".join(text(value) for value in sorted(values))


def count_failed(archive: Archive) -> int:
    """Samples that could not be measured, once per model, regardless of the number of stages: out of `Manifest.measurements`."""
    return failed_by_stage(archive)[1]


def count_in_status(archive: Archive) -> tuple[dict[str, int], int, bool]:
    """`failed_by_stage`, and whether that is of all records. While a run goes on, failures are in its records: where these are too many to
    be read for a look, they are counted as of the last run that ended."""
    many = sum(len({entry.key for entry in archive.records.entries(cell).values()}) for cell in archive.manifest.cells) > LOOKED_AT
    if not many or tables_are_fresh(archive):
        return *failed_by_stage(archive), True
    try:
        table = pq.ParquetFile(io.BytesIO(archive.objects.get("tables/failures.parquet"))).read()
    except (Missing, pa.ArrowException, OSError):
        table = FAILURES.empty_table()
    return *_counts(table), False


LOOKED_AT = 2000
"""Records that `status` reads at most."""


def failed_by_stage(archive: Archive) -> tuple[dict[str, int], int]:
    """Stage → failed measurements, sorted; and the samples that could not be measured, as `count_failed`."""
    return _counts(_failures(archive))


def _counts(table: pa.Table) -> tuple[dict[str, int], int]:
    if table.num_rows > _MANY:  # a tenth of ten million as Python's objects would be gigabytes
        kept = table.filter(_others(table["stage"], "scan")).select(["stage", "model", "row"])
        stages = kept.group_by("stage").aggregate([([], "count_all")]).to_pydict()
        return dict(sorted(zip(stages["stage"], stages["count_all"]))), kept.group_by(["model", "row"]).aggregate([]).num_rows
    rows = zip(table["stage"].to_pylist(), table["model"].to_pylist(), table["row"].to_pylist())
    failed = [(stage, model, row) for stage, model, row in rows if stage != "scan"]
    return dict(sorted(Counter(stage for stage, _, _ in failed).items())), len({(model, row) for _, model, row in failed})


_MANY = 10_000
"""Rows of `failures` from which they are counted by Arrow."""


def _others(column: pa.ChunkedArray, value: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc  # takes 50 ms to load, which a study without many failures need not wait for

    return pc.not_equal(column, value)


def _failures(archive: Archive) -> pa.Table:
    return _small(archive, "failures", failure_table)


def stored_arrays(archive: Archive) -> tuple[int, int]:
    """Number of stored arrays, by bucket, and their bytes."""
    sizes = _small(archive, "features", stored_table)["bytes_stored"].to_pylist()
    return len(sizes), sum(sizes)


def _small(archive: Archive, name: str, make: Callable[[Archive], pa.Table]) -> pa.Table:
    """A table that is small enough to be held, from `tables/` when up to date."""
    if tables_are_fresh(archive):
        with suppress(Missing, pa.ArrowException, OSError):
            return pq.ParquetFile(io.BytesIO(archive.objects.get(f"tables/{name}.parquet"))).read()
    return make(archive)


def query(archive: Archive, sql: str, *, unsafe: bool = False) -> pa.Table:
    """Run SQL over the study's tables. Raises StudyError with DuckDB's reason and the table names."""
    with connect(archive, unsafe=unsafe, statement=sql) as database:
        return database.query(sql)
