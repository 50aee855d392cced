"""The sample table: `samples/part-00000.parquet` …, one row per sample, in the order of the arrays.

Written once by the scan, then only read: by workers a row range at a time, by people through SQL. Parts hold a fixed number of rows, so
a row number determines its part and row group. Its hash covers what determines the numbers (ids, sizes, order), not paths of files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.store.objects.atomic_file import environment_errors
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects, open_regular
from xlli_ray.store.records.manifest import Bucket, SampleTable
from xlli_ray.store.records.seal import PLACE, seal, sealed_parquet

PART_ROWS = 1 << 20
ROW_GROUP = 1 << 14
REPAIR = "`xlli verify --repair`, then the same `xlli run`, makes the sample table again from what the scan recorded"
_HASHED = ("sample_id", "content", "bucket", "label", "scale")


def part_key(part: int) -> str:
    return f"samples/part-{part:05d}.parquet"


class _Window(io.RawIOBase):
    """A read-only, seekable view of an object, by range requests: for pyarrow to read a Parquet footer and row groups."""

    def __init__(self, objects: Objects, key: str, size: int) -> None:
        self._objects, self._key, self._size, self._at = objects, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        data = self._objects.get_range(self._key, self._at, size) if size else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_parquet(objects: Objects, key: str) -> pq.ParquetFile:
    """Open a Parquet object without reading it whole."""
    if isinstance(objects, LocalObjects):
        path = objects.root / key
        with environment_errors(objects.url):  # pyarrow reports a missing permission like damage
            open_regular(path).close()
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    data = objects.get_range(key, -(1 << 16), 1 << 16)  # raises Missing; the footer does not contain the size
    if len(data) < 1 << 16:
        return pq.ParquetFile(io.BytesIO(objects.get(key)))
    return pq.ParquetFile(pa.PythonFile(_Window(objects, key, objects.size(key)), mode="r"))


def write_sample_table(
    objects: Objects | None, batches: Iterable[pa.RecordBatch], schema: pa.Schema, rejected: pa.Table, *, corpus_hash: str
) -> SampleTable:
    """Write all batches, in the order given, and return the summary. Memory is bounded by one part's row groups.

    Without `objects` nothing is written: the summary suffices to tell whether a corpus still gives the same samples.
    """
    digest = hashlib.sha256()
    buckets: list[dict[str, Any]] = []
    rows = 0
    part, in_part, sink, writer = 0, 0, io.BytesIO(), None

    def close() -> None:
        nonlocal part, in_part, sink, writer
        if writer is not None:
            writer.add_key_value_metadata({"seal": PLACE.decode()})
            writer.close()
            assert objects is not None
            objects.put(part_key(part), seal(sink.getvalue()))
            part, in_part, sink, writer = part + 1, 0, io.BytesIO(), None

    for batch in _regroup(batches, schema):
        table = pa.Table.from_batches([batch])
        if objects is not None:
            writer = writer or pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True)
            writer.write_table(table, row_group_size=ROW_GROUP)
        for name in _HASHED:
            for value in (table[name].combine_chunks(),):
                digest.update(_column_bytes(value))
        _count_buckets(buckets, table, rows)
        rows += batch.num_rows
        in_part += batch.num_rows
        if in_part == PART_ROWS:
            close()
    close()
    if objects is not None:
        if rows == 0:
            objects.put(part_key(0), sealed_parquet(schema, [schema.empty_table()]))
        objects.delete([key for key in objects.list("samples") if "/part-" in key and key >= part_key(max(1, part))])
        objects.put("samples/rejected.parquet", sealed_parquet(rejected.schema, [rejected]))
    return SampleTable(
        hash=digest.hexdigest()[:16],
        corpus_hash=corpus_hash,
        rows=rows,
        rejected=rejected.num_rows,
        buckets=tuple(
            Bucket(**{**b, "blocks": tuple(map(tuple, b["blocks"])), "scales": tuple(sorted(b["scales"]))}) for b in buckets
        ),
        row_group=ROW_GROUP,
        part_rows=PART_ROWS,
        masks="mask_sha" in schema.names,
    )


def _column_bytes(column: Any) -> bytes:
    # One value per line in canonical text: the same on any machine and for any chunking of the table.
    return ("\n".join(map(str, column.to_pylist())) + "\n").encode()


def _regroup(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly ROW_GROUP (the last one shorter)."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= ROW_GROUP:
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            yield table.slice(0, ROW_GROUP).to_batches()[0]
            rest = table.slice(ROW_GROUP)
            waiting, count = rest.to_batches(), rest.num_rows
    if count:
        yield pa.Table.from_batches(waiting, schema).combine_chunks().to_batches()[0]


def _count_buckets(buckets: list[dict[str, Any]], table: pa.Table, offset: int) -> None:
    """Extend the summary of buckets and degradation blocks by the rows of `table`, which start at table row `offset`."""
    bucket = table["bucket"].combine_chunks()
    label = table["label"].combine_chunks()
    import pyarrow.compute as pc  # takes 50 ms to load, which readers of a table need not wait for

    changed = pc.or_(
        pc.not_equal(bucket.slice(1), bucket.slice(0, len(bucket) - 1)),
        pc.not_equal(label.slice(1), label.slice(0, len(label) - 1)),
    )
    starts = [0, *(np.flatnonzero(changed.to_numpy(zero_copy_only=False)) + 1).tolist()]
    ends = [*starts[1:], len(bucket)]
    has_target = pc.invert(pc.is_null(table["target_height"].combine_chunks())).to_numpy(zero_copy_only=False)
    scales = table["scale"].to_numpy()
    frames = table["frames"].combine_chunks() if "frames" in table.column_names else None  # only for clips
    for start, end in zip(starts, ends):
        name = bucket[start].as_py()
        if not buckets or buckets[-1]["name"] != name:
            buckets.append(
                {
                    "name": name, "height": table["height"][start].as_py(), "width": table["width"][start].as_py(),
                    "start": offset + start, "rows": 0, "blocks": [], "targets": 0, "scales": set(),
                    "frames": frames[start].as_py() or 0 if frames is not None else 0,
                }
            )  # fmt: skip
        last = buckets[-1]
        last["rows"] += end - start
        last["targets"] += int(has_target[start:end].sum())
        last["scales"] |= set(np.unique(scales[start:end]).tolist())
        text = label[start].as_py()
        if last["blocks"] and last["blocks"][-1][0] == text:
            last["blocks"][-1][2] += end - start
        else:
            last["blocks"].append([text, offset + start, end - start])


class SampleReader:
    """Row ranges of the sample table; caches the last few row groups."""

    def __init__(self, objects: Objects, summary: SampleTable) -> None:
        self._objects, self._summary = objects, summary
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[int, pa.Table] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleReader, (self._objects, self._summary)

    def _group(self, number: int) -> pa.Table:
        if number not in self._groups:
            per_part = self._summary.part_rows // self._summary.row_group
            part, group = divmod(number, per_part)
            if part not in self._files:
                self._files[part] = self._open(part)
            try:
                self._groups[number] = self._files[part].read_row_group(group, use_threads=False)
            except EnvironmentFailure:
                raise
            except (pa.ArrowException, OSError, IndexError) as error:
                raise self._damaged(part, error) from error
            while len(self._groups) > 2:
                self._groups.popitem(last=False)
            pa.default_memory_pool().release_unused()  # what decoding took: groups are read by any thread, and each would keep its own
        return self._groups[number]

    def _open(self, part: int) -> pq.ParquetFile:
        try:
            file = open_parquet(self._objects, part_key(part))
        except Missing as error:
            raise StudyError(f"{self._objects.url}/{part_key(part)}: gone; {REPAIR}") from error
        except EnvironmentFailure:
            raise
        except (pa.ArrowException, EOFError, OSError) as error:  # a damaged footer is an OSError to pyarrow
            raise self._damaged(part, error) from error
        expected = min(self._summary.part_rows, self._summary.rows - part * self._summary.part_rows)
        if file.metadata.num_rows != expected or "sample_id" not in file.schema_arrow.names:
            raise self._damaged(part, ValueError(f"another table of {file.metadata.num_rows} rows, not {expected} samples"))
        return file

    def _damaged(self, part: int, error: Exception) -> StudyError:
        why = (str(error).splitlines() or [""])[0]
        return StudyError(f"{self._objects.url}/{part_key(part)}: damaged ({why}); {REPAIR}")

    def rows(self, start: int, stop: int) -> pa.Table:
        """Table rows [start, stop). Raises StudyError naming the part if it is damaged."""
        size = self._summary.row_group
        pieces = []
        for number in range(start // size, -(-stop // size)):
            low, high = max(start, number * size), min(stop, (number + 1) * size)
            pieces.append(self._group(number).slice(low - number * size, high - low))
        return pa.concat_tables(pieces)


def corpus_hash(corpus: Any, seed: int, versions: dict[str, int]) -> str:
    """Identity of the input of a scan: the corpus section, the seed and the versions of decoding and degradations."""
    text = json.dumps({"corpus": corpus, "seed": seed, "versions": versions}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
