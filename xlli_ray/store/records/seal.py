"""A seal: the crc32c of a small object, inside the object itself, so that every reader detects a flipped bit before parsing.

The last `xlli:crc32c:` in the bytes is followed by eight hex digits: the crc32c of all other bytes, those before the digits and those
after them. One rule for JSON (the last member, `"seal"`), Arrow and Parquet (a key `seal` in the metadata): all three remain valid
files of their formats. Objects written before seals existed have none; `digests.json` tells which should have one.

A seal does not protect against tampering: anyone who can write can seal.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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


def sealed_parquet(schema: pa.Schema, tables: Iterable[pa.Table]) -> bytes:
    """A Parquet file (zstd, with a checksum of each page), sealed."""
    parts: list[bytes] = []
    write_sealed_parquet(parts.append, schema, tables)
    return b"".join(parts)


@dataclass(frozen=True)
class Written:
    """What was written of an object: bytes, crc32c of all of them and of the last TAIL, in hex."""

    size: int
    crc: str
    tail: str


TAIL = 16 << 10
"""Bytes at the end of a Parquet file that hold its seal."""


def write_sealed_parquet(write: Callable[[bytes], object], schema: pa.Schema, tables: Iterable[pa.Table]) -> Written:
    """The same, given to `write` row group by row group: only the footer, in which the seal is, is held."""
    sink = _Sink(write)
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd", write_page_checksum=True) as writer:
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata({"seal": PLACE.decode()})
        sink.hold()
    return sink.end()


class _Sink(io.RawIOBase):
    """Passes bytes on, and holds those from `hold` on until `end` has sealed them."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self._held, self._holding = write, bytearray(), False
        self._crc = self._size = 0
        self._last = b""

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size + len(self._held)

    def hold(self) -> None:
        self._holding = True

    def write(self, data: Any) -> int:
        if self._holding:
            self._held += data
        else:
            self._pass(bytes(data))
        return len(data)

    def _pass(self, data: bytes) -> None:
        self._crc, self._size = google_crc32c.extend(self._crc, data), self._size + len(data)
        self._last = (self._last + data[-TAIL:])[-TAIL:]
        self._write(data)

    def end(self) -> Written:
        start = self._held.rindex(MARK) + len(MARK)
        head, tail = bytes(self._held[:start]), bytes(self._held[start + 8 :])
        digits = f"{google_crc32c.extend(google_crc32c.extend(self._crc, head), tail):08x}".encode()
        self._pass(head + digits + tail)
        return Written(self._size, f"{self._crc:08x}", crc_hex(self._last))
