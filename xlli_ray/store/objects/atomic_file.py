"""A local object written to a temporary file, which takes its final name when it is complete and durable.

`put` and `create` write at once; a shard grows for minutes, chunk by chunk, so that a worker holds a chunk and not a shard. Until
`commit` there is only `.<name>.<random>.partial`, which no reader lists and which the next run sweeps after a kill.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from xlli_ray.errors import EnvironmentFailure, StudyError

OPEN_FILES = 128
"""Maximum number kept open at once: a unit of hundreds of layers has as many shards, and many systems limit a process to 256 or 1024."""
_BUFFER = 128 << 10  # small chunks share a system call

# Errors of the operating system that are caused by the environment, not the sample; the text says what to do.
_OF_ENVIRONMENT = {
    errno.ENOSPC: "the disk is full: free space there, or move the study folder; then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free space, or move the study folder; then run the same command again",
    errno.EROFS: "the folder is read-only: choose another --out, or remount it; then run the same command again",
    errno.EACCES: "permission denied: choose another --out, or give this user the right to write there",
    errno.EPERM: "not permitted: choose another --out, or give this user the right to write there",
    errno.EIO: "input/output error of the disk: check the device; then run the same command again",
    errno.ESTALE: "the network file system lost the folder: mount it again; then run the same command again",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another --out",
    errno.ELOOP: "a link in the path leads back to itself: choose another --out",
    errno.ENAMETOOLONG: "a name in the path is too long: choose another --out",
}


@contextlib.contextmanager
def environment_errors(where: str) -> Iterator[None]:
    """Turn the operating system's errors about the environment into EnvironmentFailure with advice, and a folder in a file's place into
    StudyError."""
    try:
        yield
    except EnvironmentFailure:
        raise
    except IsADirectoryError as error:
        place = error.filename2 or error.filename
        advice = "move it away, then run the same command again"
        raise StudyError(f"{place}: a folder in place of a file of the study; {advice}") from error
    except OSError as error:
        way_out = _OF_ENVIRONMENT.get(error.errno or 0)
        if way_out is None:
            raise
        raise EnvironmentFailure(error.errno, f"{where}: {way_out}") from error


class AtomicFile:
    """One object being written. `slots` bounds the files that a folder keeps open: without a free one, bytes are held in memory.

    The file stays open from its first byte to its fsync, because a write-back error of the kernel is only reported to open descriptors.
    Any error, of any call, leaves nothing behind. `check` is called before folders are created; `before` when everything is durable, just
    before the object takes its name.
    """

    def __init__(
        self, path: Path, root: Path, slots: threading.Semaphore, *, check: Callable[[], None] = lambda: None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self._path, self._root, self._slots = path, root, slots
        self._check, self._before = check, before
        self._partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._file: BinaryIO | None = None
        self._held: list[bytes] = []
        self._has_slot = self._over = False

    def write(self, data: bytes) -> None:
        """Append."""
        with self._cleaned():
            if self._file is None and self._slots.acquire(blocking=False):
                self._has_slot = True
                self._open()
            if self._file is None:
                self._held.append(data)
            else:
                self._file.write(data)

    def commit(self) -> None:
        """Create or replace the object, atomically and durably."""
        with self._cleaned():
            self._seal()
            if self._before is not None:
                self._before()
            with self._vanishing():
                os.replace(self._partial, self._path)
            self._over = True
            sync_folder(self._path.parent)

    def create(self) -> bool:
        """Like `commit`, if no object has the name. Otherwise returns False and changes nothing."""
        with self._cleaned():
            self._seal()
            if self._before is not None:
                self._before()
            try:
                with self._vanishing():
                    take_name(self._partial, self._path)
            except FileExistsError:
                if not self._has_name():
                    return False
            finally:
                self.abandon()
            sync_folder(self._path.parent)
            return True

    def _has_name(self) -> bool:
        """Whether the name is this object's after all: a network file system retries after a lost answer, and then finds the name taken."""
        with contextlib.suppress(OSError):
            return os.path.samefile(self._partial, self._path)
        return False

    def abandon(self) -> None:
        """Remove the temporary file. Safe at any time; no effect after a commit."""
        self._held.clear()
        if self._over:
            return
        self._over = True
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):  # closing flushes the buffer, possibly to a full disk
                self._file.close()
            self._partial.unlink(missing_ok=True)
        self._free()

    @contextlib.contextmanager
    def _cleaned(self) -> Iterator[None]:
        if self._over:
            raise ValueError(f"{self._path.name}: already committed or abandoned")
        try:
            with environment_errors(str(self._root)), self._vanishing():
                yield
        except BaseException:
            self.abandon()
            raise

    @contextlib.contextmanager
    def _vanishing(self) -> Iterator[None]:
        """Report a file that vanished before it could take its name, and which run may have swept it."""
        try:
            yield
        except FileNotFoundError as error:
            raise EnvironmentFailure(
                errno.ENOENT, f"{self._root}: {self._partial.name} vanished while being written: was the folder removed, or the study "
                "taken over by another run? Nothing is damaged; run the same command again",
            ) from error  # fmt: skip

    def _open(self) -> None:
        self._check()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb", buffering=_BUFFER)
        for part in self._held:
            self._file.write(part)
        self._held.clear()

    def _seal(self) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._free()

    def _free(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()


NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EINVAL}
"""Errors of file systems without hard links: exFAT, FAT, many network drives and FUSE."""


def take_name(beside: Path, path: Path) -> None:
    """Give the file `beside` the name `path`; its own name afterwards does not matter. Raises FileExistsError, and changes nothing, if the
    name is taken: of two concurrent attempts, on any machines, exactly one succeeds.

    By a hard link; without hard links by a rename that replaces nothing, which exFAT, FAT and CIFS have. Raises EnvironmentFailure on a
    file system with neither: the alternatives (checking first, or filling a file under its final name) would let two runs damage a study.
    """
    try:
        os.link(beside, path)
        return
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        no_link = error
    code = _rename_noreplace(beside, path)
    if code in (0, errno.EEXIST):
        if code:
            raise FileExistsError(code, os.strerror(code), str(path))
        return
    if code in NO_LINKS:
        raise EnvironmentFailure(
            code, f"{path.parent}: this file system has neither hard links ({no_link.strerror}) nor a rename that replaces nothing "
            f"({os.strerror(code)}), so concurrent runs cannot be excluded: choose another --out, on a local disk or in a bucket",
        ) from no_link  # fmt: skip
    raise OSError(code, os.strerror(code), str(path))


def _rename_noreplace(old: Path, new: Path) -> int:
    """renameat2(…, RENAME_NOREPLACE) of Linux: 0, or the errno."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return errno.ENOSYS
    cwd = -100  # AT_FDCWD
    ctypes.set_errno(0)
    return 0 if call(cwd, os.fsencode(old), cwd, os.fsencode(new), ctypes.c_uint(1)) == 0 else ctypes.get_errno() or errno.ENOSYS


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
