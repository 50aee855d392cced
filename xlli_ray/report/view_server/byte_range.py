"""The header `Range` of a request for a part of an object (RFC 9110, 14.2): Zarr readers ask for the end of a shard, then for samples."""

from __future__ import annotations

import re

_ONE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of the object is in the range: status 416."""


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """(start, length ≥ 1) of a single range of an object of `size` bytes; None: the whole object, as for no range, several, and one of
    another form, which a server may ignore. Raises Unsatisfiable."""
    match = _ONE.fullmatch(text.strip()) if text else None
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if not length:
            raise Unsatisfiable
        return size - length, length
    start = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, last - start + 1
