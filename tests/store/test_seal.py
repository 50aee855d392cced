"""Seals: any flipped bit of a sealed object is seen before anything is parsed; what others say in it does not confuse them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.seal import MARK, check, fits, read_json, sealed_json, sealed_parquet
from xlli_ray.store.records.unit_records import DamagedRecord, Receipt, read_records, record_key, write_record

TABLE = pa.table({"row": list(range(50)), "x": np.random.default_rng(0).normal(size=50)})


def record(tmp_path: Path) -> bytes:
    objects = open_objects(tmp_path)
    write_record(objects, Receipt("s/m/w", 0, 1, "h1w1", 0, 50), TABLE)
    return objects.get(record_key("s/m/w", 0, 1))


def test_every_flipped_bit_of_a_document_a_table_and_a_record_is_seen(tmp_path: Path) -> None:
    for data in (sealed_json({"a": [1, {"b": "ü"}]}, indent=1), sealed_parquet(TABLE.schema, [TABLE]), record(tmp_path)):
        assert fits(data)
        bits = range(8 * len(data)) if len(data) < 300 else np.random.default_rng(1).integers(0, 8 * len(data), 1500).tolist()
        for bit in bits:
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            assert not fits(bytes(flipped)), bit


def test_sealed_objects_are_what_their_formats_say(tmp_path: Path) -> None:
    assert json.loads(sealed_json({"b": 1, "a": 2}))["a"] == 2
    assert pq.read_table(io.BytesIO(sealed_parquet(TABLE.schema, [TABLE]))).equals(TABLE)
    assert pa.ipc.open_file(io.BytesIO(record(tmp_path))).read_all().equals(TABLE)


def test_a_text_that_looks_like_a_seal_does_not_break_one() -> None:
    text = (MARK + b"12345678").decode()
    data = sealed_json({"source": f"/images/{text}.png", "zz": text})
    assert check(data, "", "")
    assert read_json(data, "", "") == {"source": f"/images/{text}.png", "zz": text}


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"a": 1, "seal": "xlli:crc32c:00000000"}', b"[" * 100_000])
def test_what_is_no_whole_document_is_an_error_that_names_it_and_the_way_out(data: bytes) -> None:
    with pytest.raises(StudyError, match=r"place/x\.json: damaged.*; restore it"):
        read_json(data, "place/x.json", "restore it")


def test_a_damaged_record_and_one_under_another_name_are_named_and_not_believed(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    data = record(tmp_path)
    whole = list(read_records(Listing(objects), "s/m/w"))
    assert len(whole) == 1
    for key, bytes_, why in (
        (record_key("s/m/w", 0, 1), data[:-9], "damaged"),
        (record_key("s/m/w", 0, 1), data[:200] + b"\0" * 8 + data[208:], "damaged"),
        (record_key("s/m/w", 1, 1), data, "unit 0: a copy under another name"),
        (record_key("s/m/w", 0, 2), data, "s/m/w in run 1: a copy under another name"),
        (record_key("s/m/w", 0, 3), b"", "damaged"),
        ("records/s/m/w/pack-0000000.000004.parquet", data, "damaged"),
    ):
        objects.put(key, bytes_)
        with pytest.raises(DamagedRecord, match=f"{key}.*{why}.*computed again") as caught:
            list(read_records(Listing(objects), "s/m/w"))
        assert caught.value.key == key
        objects.delete([key])
        objects.put(record_key("s/m/w", 0, 1), data)
    assert len(list(read_records(Listing(objects), "s/m/w"))) == 1
