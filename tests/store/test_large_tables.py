"""What must not be held, read or made again when a study has millions of rows."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records import checksum_root
from xlli_ray.store.records.checksum_root import digest_of
from xlli_ray.store.records.seal import PLACE, TAIL, crc_hex, fits, seal, write_sealed_parquet
from xlli_ray.store.tables.sql import Database, mentions

SCHEMA = pa.schema([("row", pa.int64()), ("psnr_y", pa.float64())])


def tables() -> list[pa.Table]:
    rng = np.random.default_rng(0)
    return [pa.table({"row": np.arange(n), "psnr_y": rng.normal(size=n)}, schema=SCHEMA) for n in (70_000, 3, 0, 30_000)]


def test_a_table_that_is_written_as_it_is_made_has_the_bytes_of_one_sealed_as_a_whole() -> None:
    whole = io.BytesIO()
    with pq.ParquetWriter(whole, SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for table in tables():
            writer.write_table(table)
        writer.add_key_value_metadata({"seal": PLACE.decode()})
    parts: list[bytes] = []
    written = write_sealed_parquet(parts.append, SCHEMA, iter(tables()))
    data = b"".join(parts)
    assert data == seal(whole.getvalue())
    assert fits(data)
    assert (written.size, written.crc, written.tail) == (len(data), crc_hex(data), crc_hex(data[-TAIL:]))
    assert len(parts[-1]) < len(data) / 100, "only the footer is held until its seal is known"


def test_a_row_group_is_passed_on_before_the_next_is_made() -> None:
    parts: list[bytes] = []

    def making() -> object:
        for table in tables():
            before = sum(map(len, parts))
            yield table
            assert sum(map(len, parts)) > before or not table.num_rows

    write_sealed_parquet(parts.append, SCHEMA, making())  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 4321])
def test_a_large_object_of_a_bucket_is_read_in_ranges(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = open_objects(f"memory://ranges-{size}")
    data = np.random.default_rng(size).bytes(size)
    objects.put("tables/a.parquet", data)
    asked: list[int] = []
    usual = type(objects).get_range
    monkeypatch.setattr(type(objects), "get_range", lambda self, key, start, n: asked.append(n) or usual(self, key, start, n))
    monkeypatch.setattr(checksum_root, "_RANGE", 1000)
    assert digest_of(objects, "tables/a.parquet") == (size, crc_hex(data))
    assert all(n <= 1000 for n in asked)
    assert sum(asked) == (size if size > 1000 else 0)


def test_a_statement_uses_what_it_names_or_may_ask_for_everything() -> None:
    assert mentions("select count(*) from Failures", "failures")
    assert not mentions("select count(*) from failures", "restore")
    every = ("show tables", "describe", "from duckdb_tables()", "from information_schema.tables", "from query_table('rest' || 'ore')")
    for asking in every:
        assert mentions(asking, "restore")


def test_sql_spills_before_it_fills_the_machine() -> None:
    with Database() as database:
        (row,) = database.query("select current_setting('memory_limit') as value").to_pylist()
        amount, unit = row["value"].split()
        assert unit in ("MiB", "GiB")
        assert float(amount) * {"MiB": 2**20, "GiB": 2**30}[unit] < 17 * 2**30
