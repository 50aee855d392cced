"""The fence of a lease: before every change a driver checks whether it still holds the study.

A driver that was suspended for minutes (SIGSTOP, a closed laptop, a migrated virtual machine) and continues after another took over would
replace or delete what its successor wrote. `fenced(objects, Fence(lease))` returns the folder with a guard: `put`, `create`, `delete` and
`sweep` check the lease at the last moment, locally between the fsync and the rename. `docs/recovery.md` describes the remaining race and
why it is harmless.

The fence also records the digest of everything that passes through it (bytes, crc32c): `digests.json` is made from these.
"""

from __future__ import annotations

from collections.abc import Iterable

import google_crc32c

from xlli_ray.store.records.lease import Lease


class Fence:
    """See the module."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.known: dict[str, tuple[int, str] | None] = {}

    def check(self) -> None:
        """Raises LeaseError if another driver has taken over the study."""
        self._lease.confirm()

    def wrote(self, key: str, data: bytes | Iterable[bytes]) -> None:
        value = size = 0
        for part in [data] if isinstance(data, bytes) else data:
            value, size = google_crc32c.extend(value, bytes(part)), size + len(part)
        self.known[key] = (size, f"{value:08x}")

    def saw(self, key: str, size: int, crc: str) -> None:
        self.known.setdefault(key, (size, crc))

    def gone(self, key: str) -> None:
        self.known[key] = None
