"""A seal: the crc32c of a small object, inside the object itself, so that every reader detects a flipped bit before parsing.

The last `xlli:crc32c:` in the bytes is followed by eight hex digits: the crc32c of all other bytes, those before the digits and those
after them. One rule for JSON (the last member, `"seal"`), Arrow and Parquet (a key `seal` in the metadata): all three remain valid
files of their formats. Objects written before seals existed have none; `digests.json` tells which should have one.

A seal does not protect against tampering: anyone who can write can seal.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.errors import StudyError

MARK = b"xlli:crc32c:"
PLACE = MARK + b"00000000"
"""Placeholder in an object until it is sealed."""


def crc_hex(*parts: bytes) -> str:
    """crc32c of the concatenation, as 8 hex digits."""
    value = 0
    for part in parts:
        value = google_crc32c.extend(value, part)
    return f"{value:08x}"


def seal(data: bytes) -> bytes:
    """`data` with the digits of its last mark filled in."""
    start = data.rindex(MARK) + len(MARK)
    head, tail = data[:start], data[start + 8 :]
    return head + crc_hex(head, tail).encode() + tail


def is_sealed(data: bytes) -> bool:
    """Whether there is a mark, valid or not."""
    return MARK in data


def fits(data: bytes) -> bool:
    """Whether the bytes match their seal. False without a mark."""
    at = data.rfind(MARK)
    start = at + len(MARK)
    return at >= 0 and data[start : start + 8] == crc_hex(data[:start], data[start + 8 :]).encode()


def check(data: bytes, where: str, way_out: str) -> bool:
    """True if the seal matches, False if there is none. Raises StudyError if it does not match."""
    if not is_sealed(data):
        return False
    if not fits(data):
        raise StudyError(f"{where}: damaged, its bytes are not those that were written (crc32c); {way_out}")
    return True


def sealed_json(document: Mapping[str, Any], **how: Any) -> bytes:
    """A non-empty JSON object with `seal` as its last member. `how`: arguments of `json.dumps`."""
    text = json.dumps(document, sort_keys=True, **how).encode()
    return seal(text.removesuffix(b"}").rstrip() + b',\n "seal": "' + PLACE + b'"\n}\n')


def read_json(data: bytes, where: str, way_out: str) -> dict[str, Any]:
    """The members of a JSON object, with `seal` checked and removed. Raises StudyError if the bytes are damaged or not a JSON object."""
    check(data, where, way_out)
    try:
        members = json.loads(data)
        if not isinstance(members, dict):
            raise ValueError(f"{type(members).__name__} where an object was expected")
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{where}: damaged ({error}); {way_out}") from error
    members.pop("seal", None)
    return members


def sealed_parquet(schema: pa.Schema, tables: Iterable[pa.Table], *, row_group_size: int | None = None) -> bytes:
    """A Parquet file (zstd, with a checksum of each page), sealed."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=row_group_size)
        writer.add_key_value_metadata({"seal": PLACE.decode()})
    return seal(sink.getvalue())
