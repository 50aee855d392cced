"""Small interface to a folder or a bucket: get, range, put, begin, create, list, delete.

Everything that a study stores passes through here, so this file guarantees two properties:

- **put is atomic and durable**: a reader sees the old object or the complete new one; when `put` returns, the bytes survive a power cut
  (local: temporary file, fsync, rename, fsync of the folder).
- **create is create-only**: of two writers exactly one gets True, even on other machines (local: hard link; buckets:
  `If-None-Match: *`). Leases and records depend on this, so `probe_create_only` tests it before a run and refuses others.

Keys are relative, `/`-separated, `[A-Za-z0-9_.=-]` only: never derived from file names of a corpus.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.store.objects.atomic_file import OPEN_FILES, Beside, surroundings
from xlli_ray.store.objects.bucket import Bucket, open_stores
from xlli_ray.store.objects.bucket import Missing as Missing

Buffers = bytes | Sequence[bytes]
_KEY = re.compile(r"[A-Za-z0-9_.=\-]+(/[A-Za-z0-9_.=\-]+)*")


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

    def wrote(self, key: str, data: Buffers) -> None:
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


def fenced(objects: Objects, fence: Fence) -> Objects:
    """The same folder or bucket, with the fence checked before changes."""
    assert isinstance(objects, LocalObjects | BucketObjects)
    out = object.__new__(type(objects))  # not `copy`: it pickles, and an in-memory store would open the shared one
    out.__dict__.update(objects.__dict__, fence=fence)
    return out


def exists(objects: Objects, key: str) -> bool:
    """Whether a small object exists: it is read, so that anything else in its place is reported (`open_regular`)."""
    try:
        objects.get(key)
    except Missing:
        return False
    return True


def check_key(key: str) -> str:
    """`key` itself, or ValueError if it could leave the folder or hide a file name."""
    if not _KEY.fullmatch(key) or ".." in key.split("/"):
        raise ValueError(f"{key!r} is not a store key: only letters, digits, '_', '.', '=', '-' and '/', and no '..'")
    return key


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
        try:
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
        with surroundings(str(self.root)), self._open(key) as file:
            return file.read()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with surroundings(str(self.root)), self._open(key) as file:
            if start < 0:
                size = os.fstat(file.fileno()).st_size
                start = max(0, size + start)
            return os.pread(file.fileno(), length, start)

    def size(self, key: str) -> int:
        with surroundings(str(self.root)), self._open(key) as file:
            return os.fstat(file.fileno()).st_size

    def begin(self, key: str) -> Beside:
        before = self.fence.check if self.fence else None
        return Beside(self._path(key), self.root, self._slots, check=self._check_folder, before=before)

    def put(self, key: str, data: Buffers) -> None:
        self._filled(key, data).commit()
        if self.fence:
            self.fence.wrote(key, data)

    def create(self, key: str, data: Buffers) -> bool:
        with surroundings(str(self.root)):
            self._check_folder()
            if os.path.lexists(self._path(key)):
                return False
        made = self._filled(key, data).create()
        if made and self.fence:
            self.fence.wrote(key, data)
        return made

    def _filled(self, key: str, data: Buffers) -> Beside:
        made = self.begin(key)
        for part in [data] if isinstance(data, bytes) else data:
            made.write(part)
        return made

    def list(self, prefix: str) -> Iterator[str]:
        keys = []
        for folder, names in self._folders(prefix):
            prefix = Path(folder).relative_to(self.root).as_posix()
            # a killed writer leaves files named .x.partial: not objects; neither are names that no writer here would use
            keys += [key for name in names if not name.startswith(".") and _KEY.fullmatch(key := f"{prefix}/{name}")]
        yield from sorted(keys)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with surroundings(str(self.root)):
                self._check_folder()
                if self.fence:
                    self.fence.check()
                self._path(key).unlink(missing_ok=True)
            if self.fence:
                self.fence.gone(key)

    def _folders(self, prefix: str) -> Iterator[tuple[str, Sequence[str]]]:
        """(folder, names of its files). Raises EnvironmentFailure for a folder that cannot be read, which is not an empty one."""
        errors = deque[OSError]()
        with surroundings(str(self.root)):
            self._check_folder()
            for folder, _, names in os.walk(self._path(prefix), onerror=errors.append):
                yield folder, names
            if serious := [error for error in errors if not isinstance(error, FileNotFoundError | NotADirectoryError)]:
                raise serious[0]
            self._check_folder()

    def sweep(self, prefix: str) -> int:
        """Remove partial files of killed writers; returns how many. Only while holding the lease."""
        count = 0
        for folder, names in self._folders(prefix):
            for name in names:
                if name.startswith(".") and name.endswith(".partial"):
                    if self.fence:
                        self.fence.check()  # a successor's shards are written under such names
                    (Path(folder) / name).unlink(missing_ok=True)
                    count += 1
        return count


class _Held:
    """An object to be put into a bucket. Its bytes are held until `commit`: the parts of an incomplete upload are billed, and a killed
    worker cannot remove them."""

    def __init__(self, objects: BucketObjects, key: str) -> None:
        self._objects, self._key = objects, key
        self._parts: list[bytes] | None = []

    def write(self, data: bytes) -> None:
        if self._parts is None:
            raise ValueError(f"{self._key}: committed or abandoned before")
        self._parts.append(data)

    def commit(self) -> None:
        parts, self._parts = self._parts, None
        if parts is None:
            raise ValueError(f"{self._key}: committed or abandoned before")
        self._objects.put(self._key, parts)

    def abandon(self) -> None:
        self._parts = None


class BucketObjects:
    """An object store (s3, gs, az, …) through obstore. Credentials come from the environment, never from the URL."""

    fence: Fence | None = None

    def __init__(self, url: str, store: object, once: object | None = None) -> None:
        """`store`: from obstore; `once`: the same one without its own retries (`store.objects.bucket`)."""
        self.url = url
        self._store = store
        self._bucket = Bucket(url, store, once)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_objects, (self.url,)

    def get(self, key: str) -> bytes:
        return self._bucket.get(check_key(key))

    def size(self, key: str) -> int:
        """Bytes of an object. Raises Missing."""
        return self._bucket.size(check_key(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if start < 0:
            size = self.size(key)
            start = max(0, size + start)
            length = min(length, size - start)
        return self._bucket.get_range(check_key(key), start, length)

    def begin(self, key: str) -> _Held:
        return _Held(self, check_key(key))

    def put(self, key: str, data: Buffers) -> None:
        if self.fence:
            self.fence.check()
        self._bucket.put(check_key(key), data if isinstance(data, bytes) else b"".join(data))
        if self.fence:
            self.fence.wrote(key, data)

    def create(self, key: str, data: Buffers) -> bool:
        if self.fence:
            self.fence.check()
        made = self._bucket.create(check_key(key), data if isinstance(data, bytes) else b"".join(data))
        if made and self.fence:
            self.fence.wrote(key, data)
        return made

    def list(self, prefix: str) -> Iterator[str]:
        yield from self._bucket.list(check_key(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            if self.fence:
                self.fence.check()
            self._bucket.delete(check_key(key))
            if self.fence:
                self.fence.gone(key)


def is_url(place: str) -> bool:
    """True for s3://…, gs://…; False for paths."""
    return "://" in place


def open_objects(place: str | Path) -> Objects:
    """The folder or bucket prefix at `place`: a path, `file://…`, or `s3://`, `gs://`, `az://`, `memory://`.

    Raises StudyError for a URL with credentials (they would end up in study.json), or of another form.
    """
    text = str(place)
    if not is_url(text):
        return LocalObjects(Path(text).expanduser().absolute())
    parts = urlsplit(text)
    if parts.scheme == "file":
        return LocalObjects(Path(parts.path))
    refuse_secrets(text)
    if parts.scheme == "memory":
        return _MEMORY.setdefault(text, BucketObjects(text, _memory_store()))
    return BucketObjects(text, *open_stores(text))


_MEMORY: dict[str, BucketObjects] = {}


def _memory_store() -> object:
    import obstore.store

    return obstore.store.MemoryStore()


def refuse_secrets(url: str) -> None:
    """Raise StudyError if a URL contains a user, password, key or signature."""
    parts = urlsplit(url)
    secret_query = re.search(r"(?i)(^|&)(sig|signature|token|key|secret|password|x-amz-[a-z-]*)=", parts.query)
    if parts.username or parts.password or secret_query:
        clean = f"{parts.scheme}://{(parts.hostname or '')}{parts.path}"
        raise StudyError(
            f"{clean}: the URL contains credentials, which would be written into study.json. "
            "Pass them in environment variables (AWS_ACCESS_KEY_ID, …) and use the plain URL."
        )


def probe_create_only(objects: Objects) -> None:
    """Raise EnvironmentFailure unless `create` is create-only here: records and leases would not protect anything."""
    key = f"lease/probe-{secrets.token_hex(8)}"
    if not objects.create(key, b"1"):
        raise EnvironmentFailure(errno.EIO, f"{objects.url}: a new object could not be created ({key})")
    try:
        if objects.create(key, b"2"):
            raise EnvironmentFailure(
                errno.ENOTSUP,
                f"{objects.url}: this store created the same object twice, so concurrent runs cannot be excluded. "
                "Use a local or shared folder with hard links, or a bucket with conditional puts.",
            )
    finally:
        objects.delete([key])
