"""An object that grows for minutes before it is put into a bucket: in memory while it is small, then in a file of the system's temporary
folder.

A worker has as many growing shards as its unit has arrays, hundreds for many layers; S3 takes parts of at least 5 MiB. Uploading while they
grow would hold a part of each in memory, could not be tried again after a lost part, and would leave parts, which are billed, of every
unit that a killed worker had begun. So an object is uploaded when it is complete, from the file, in parts (`remote.bucket.put_file`).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.objects.atomic_file import OPEN_FILES

IN_MEMORY = 1 << 20
"""Bytes of an object that stay in memory."""
_SLOTS = threading.Semaphore(OPEN_FILES)  # without a free one, bytes are held in memory, as by `atomic_file`
_BUFFER = 128 << 10  # small chunks share a system call
_BLOCK = 1 << 20


class Spool:
    """Bytes that are appended, then read once. Not thread-safe. `clear` must be called at the end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._file: BinaryIO | None = None
        self.nbytes = 0

    def write(self, data: bytes) -> None:
        """Append. Raises EnvironmentFailure if the temporary folder has no room."""
        self.nbytes += len(data)
        with _room():
            if self._file is None and self.nbytes > IN_MEMORY and _SLOTS.acquire(blocking=False):
                self._open()
            if self._file is None:
                self._parts.append(data)
            else:
                self._file.write(data)

    def _open(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="xlli-shard-", buffering=_BUFFER)  # type: ignore[assignment]  # noqa: SIM115
        except OSError:
            _SLOTS.release()
            raise
        assert self._file is not None
        self._file.writelines(self._parts)
        self._parts = []

    def file(self) -> BinaryIO | None:
        """The file with all bytes; None if they are in memory."""
        if self._file is not None:
            with _room():
                self._file.flush()
        return self._file

    def parts(self) -> Iterator[bytes]:
        """All bytes, in order."""
        if (file := self.file()) is None:
            yield from self._parts
            return
        file.seek(0)
        while block := file.read(_BLOCK):
            yield block

    def clear(self) -> None:
        """Give up memory and file. May be called again."""
        self._parts = []
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # closing flushes, possibly to a full disk
                file.close()
            _SLOTS.release()


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = os.environ.get("TMPDIR", "/tmp")
        raise EnvironmentFailure(
            error.errno, f"temporary folder {folder}: {error.strerror or error}: arrays on their way to a bucket grow there. Free space, "
            "or set TMPDIR to a folder on a disk with room for the arrays of a unit; then run the same command again",
        ) from error  # fmt: skip
