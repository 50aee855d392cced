"""Objects in a folder on this machine, or on a network file system with hard links or a rename that replaces nothing."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.store.objects.atomic_file import OPEN_FILES, AtomicFile, environment_errors
from xlli_ray.store.objects.protocol import KEY, Buffers, Fence, Missing, check_key


def _age(path: Path) -> float:
    """Seconds since it was written; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file for reading without blocking. Raises Missing; StudyError if it is not a regular file (a FIFO would block forever)."""
    return os.fdopen(regular_handle(path), "rb")


def regular_handle(path: Path | str) -> int:
    """Like `open_regular`, but returns the file descriptor, for positional reads."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(str(path)) from error
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.ELOOP):  # a socket, a missing device, a cycle of links
            raise StudyError(f"{path}: not a regular file; {REMOVE_IT}") from error
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise StudyError(f"{path}: {_KINDS.get(stat.S_IFMT(mode), 'something')}, not a file; {REMOVE_IT}")
    return handle


REMOVE_IT = "move it away, then run `xlli verify --repair` or the same `xlli run` again"
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


class LocalObjects:
    """A folder on this machine, or on a network file system with hard links or a rename that replaces nothing."""

    fence: Fence | None = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self._slots = threading.Semaphore(OPEN_FILES)
        self._device: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalObjects, (self.root,)  # for reading elsewhere: the lease stays with its holder

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _open(self, key: str) -> BinaryIO:
        try:
            return open_regular(self._path(key))
        except Missing:
            self._check_folder()
            raise

    def _check_folder(self) -> None:
        """Raise EnvironmentFailure if the folder is gone, or another file system is in its place: an unmounted study must not look like an
        empty one, and nothing may be written in its place."""
        device: int | None
        try:
            with environment_errors(str(self.root)):
                device = os.stat(self.root).st_dev
        except FileNotFoundError:
            device = None
        if self._device is None:
            self._device = device
        elif device != self._device:
            what = "is gone" if device is None else "is on a different file system than before"
            raise EnvironmentFailure(
                errno.ENOENT, f"{self.root}: the folder {what}: was it unmounted, moved or removed? Finished work is not damaged; put "
                "it back and run the same command again",
            )  # fmt: skip

    def get(self, key: str) -> bytes:
        with environment_errors(str(self.root)), self._open(key) as file:
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with environment_errors(str(self.root)), self._open(key) as file:
            if start < 0:
                size = os.fstat(file.fileno()).st_size
                start = max(0, size + start)
            return os.pread(file.fileno(), length, start)

    def size(self, key: str) -> int:
        with environment_errors(str(self.root)), self._open(key) as file:
            return os.fstat(file.fileno()).st_size

    def begin(self, key: str) -> AtomicFile:
        before = self.fence.check if self.fence else None
        return AtomicFile(self._path(key), self.root, self._slots, check=self._check_folder, before=before)

    def put(self, key: str, data: Buffers) -> None:
        self._filled(key, data).commit()
        if self.fence:
            self.fence.wrote(key, data)

    def create(self, key: str, data: Buffers) -> bool:
        with environment_errors(str(self.root)):
            self._check_folder()
            if os.path.lexists(self._path(key)):
                return False
        made = self._filled(key, data).create()
        if made and self.fence:
            self.fence.wrote(key, data)
        return made

    def _filled(self, key: str, data: Buffers) -> AtomicFile:
        made = self.begin(key)
        for part in [data] if isinstance(data, bytes) else data:
            made.write(part)
        return made

    def list(self, prefix: str) -> Iterator[str]:
        keys = []
        for folder, names in self._folders(prefix):
            prefix = Path(folder).relative_to(self.root).as_posix()
            # a killed writer leaves files named .x.partial: not objects; neither are names that no writer here would use
            keys += [key for name in names if not name.startswith(".") and KEY.fullmatch(key := f"{prefix}/{name}")]
        yield from sorted(keys)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with environment_errors(str(self.root)):
                self._check_folder()
                if self.fence:
                    self.fence.check()
                self._path(key).unlink(missing_ok=True)
            if self.fence:
                self.fence.gone(key)

    def _folders(self, prefix: str) -> Iterator[tuple[str, Sequence[str]]]:
        """(folder, names of its files). Raises EnvironmentFailure for a folder that cannot be read, which is not an empty one."""
        errors = deque[OSError]()
        with environment_errors(str(self.root)):
            self._check_folder()
            for folder, _, names in os.walk(self._path(prefix), onerror=errors.append):
                yield folder, names
            if serious := [error for error in errors if not isinstance(error, FileNotFoundError | NotADirectoryError)]:
                raise serious[0]
            self._check_folder()

    def sweep(self, prefix: str, *, older: float = 0.0) -> int:
        """Remove partial files of killed writers, last written more than `older` seconds ago; returns how many. Only while holding the
        lease. The prefix '' is the study's own folder, without those in it."""
        count = 0
        for folder, names in self._folders(prefix) if prefix else [(str(self.root), os.listdir(self.root))]:
            for name in names:
                path = Path(folder) / name
                if name.startswith(".") and name.endswith(".partial") and (not older or _age(path) > older):
                    if self.fence:
                        self.fence.check()  # a successor's shards are written under such names
                    with environment_errors(str(self.root)):
                        path.unlink(missing_ok=True)
                    count += 1
        return count
