"""The fence of a lease: every change that a driver makes first looks whether the study is still its own.

A driver that was stopped for minutes (SIGSTOP, a laptop's lid, a virtual machine that moved) and goes on after another took over would
replace or delete what its successor wrote. `fenced(objects, Fence(lease))` gives the folder in which it cannot: `put`, `create`, `delete`
and `sweep` look at the lease at the last moment, locally between the fsync and the rename. What is left of the race, and why it is
harmless, is told in `docs/recovery.md`.

The fence also keeps the digest of what passes through it (bytes, crc32c), from bytes at hand: `digests.json` is made of that.
"""

from __future__ import annotations

import google_crc32c

from xlli_ray.store.objects.client import Buffers
from xlli_ray.store.records.lease import Lease


class Fence:
    """See the module."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.known: dict[str, tuple[int, str] | None] = {}

    def check(self) -> None:
        """Raises LeaseError when another driver took the study over."""
        self._lease.confirm()

    def wrote(self, key: str, data: Buffers) -> None:
        value = size = 0
        for part in [data] if isinstance(data, bytes) else data:
            value, size = google_crc32c.extend(value, bytes(part)), size + len(part)
        self.known[key] = (size, f"{value:08x}")

    def saw(self, key: str, size: int, crc: str) -> None:
        self.known.setdefault(key, (size, crc))

    def gone(self, key: str) -> None:
        self.known[key] = None
