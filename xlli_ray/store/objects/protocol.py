"""The small interface to a folder or a bucket: get, range, put, begin, create, list, delete.

Everything that a study stores passes through here; implementations (`local`, `bucket_objects`) guarantee two properties:

- **put is atomic and durable**: a reader sees the old object or the complete new one; when `put` returns, the bytes survive a power cut
  (local: temporary file, fsync, rename, fsync of the folder).
- **create is create-only**: of two writers exactly one gets True, even on other machines (local: hard link; buckets:
  `If-None-Match: *`). Leases and records depend on this, so `client.probe_create_only` tests it before a run and refuses others.

Keys are relative, `/`-separated, `[A-Za-z0-9_.=-]` only: never derived from file names of a corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from xlli_ray.remote.answers import Missing as Missing

Buffers = bytes | Sequence[bytes]
KEY = re.compile(r"[A-Za-z0-9_.=\-]+(/[A-Za-z0-9_.=\-]+)*")


class Pending(Protocol):
    """An object being written: invisible before `commit`. Not thread-safe."""

    def write(self, data: bytes) -> None:
        """Append."""

    def commit(self) -> None:
        """Like `Objects.put` of everything written."""

    def abandon(self) -> None:
        """Discard the object. Safe at any time; no effect after a commit."""


class Fence(Protocol):
    """Checked before every change by a driver: `store.records.fence`."""

    known: dict[str, tuple[int, str] | None]
    """Key → (bytes, crc32c as hex) of objects put or read since; None if deleted."""

    def saw(self, key: str, size: int, crc: str) -> None:
        """Called for each object that was read completely and verified."""

    def check(self) -> None:
        """Raises LeaseError if another driver has taken over the study."""

    def wrote(self, key: str, data: bytes | Iterable[bytes]) -> None:
        """Called after each put."""

    def gone(self, key: str) -> None:
        """Called after each deletion."""


class Objects(Protocol):
    """A folder or bucket prefix."""

    url: str
    fence: Fence | None
    """Checked before changes; None for readers and workers."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises Missing."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; a negative `start` counts from the end. Raises Missing."""

    def size(self, key: str) -> int:
        """Bytes of the object. Raises Missing."""

    def put(self, key: str, data: Buffers) -> None:
        """Create or replace the object, atomically and durably."""

    def begin(self, key: str) -> Pending:
        """An object that is written in parts and put when complete."""

    def create(self, key: str, data: Buffers) -> bool:
        """Create the object if none has this key. Otherwise return False and change nothing."""

    def list(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix` + "/", sorted."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; missing ones are not an error."""


def check_key(key: str) -> str:
    """`key` itself, or ValueError if it could leave the folder or hide a file name."""
    if not KEY.fullmatch(key) or ".." in key.split("/"):
        raise ValueError(f"{key!r} is not a store key: only letters, digits, '_', '.', '=', '-' and '/', and no '..'")
    return key
