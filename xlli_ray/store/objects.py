"""One small door to a folder or a bucket: get, range, put, create, list, delete.

Everything that a study keeps passes through here, so two properties are decided in this file:

- **put is atomic and durable**: a reader sees the old object or the whole new one; when `put` returns, the bytes survive a power cut
  (local: written beside, fsync, rename, fsync of the folder).
- **create is create-only**: of two writers exactly one gets True, even on other machines (local: hard link; buckets:
  `If-None-Match: *`). Leases and records stand on this, so `probe_create_only` tries it before a run and refuses stores that lie.

Keys are relative, `/`-separated, `[A-Za-z0-9_.=-]` only: never built from file names of a corpus.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from xlli_ray.errors import EnvironmentFailure, StudyError

Buffers = bytes | Sequence[bytes]
_KEY = re.compile(r"[A-Za-z0-9_.=\-]+(/[A-Za-z0-9_.=\-]+)*")

# What the operating system says when the surroundings, not the sample, are at fault; the text is the way out.
_SURROUNDINGS = {
    errno.ENOSPC: "the disk is full: free space there, or move the study folder; then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free space, or move the study folder; then run the same command again",
    errno.EROFS: "the folder is read-only: choose another --out, or remount it; then run the same command again",
    errno.EACCES: "permission denied: choose another --out, or give this user the right to write there",
    errno.EPERM: "not permitted: choose another --out, or give this user the right to write there",
    errno.EIO: "input/output error of the disk: check the device; then run the same command again",
    errno.ESTALE: "the network file system lost the folder: mount it again; then run the same command again",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another --out",
}


class Missing(KeyError):
    """No object has this key."""


class Objects(Protocol):
    """A folder or bucket prefix."""

    url: str

    def get(self, key: str) -> bytes:
        """The whole object. Raises Missing."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; a negative `start` counts from the end. Raises Missing."""

    def put(self, key: str, data: Buffers) -> None:
        """Replace or make the object, atomically and durably."""

    def create(self, key: str, data: Buffers) -> bool:
        """Make the object if none has this key. False, and nothing changed, if one has."""

    def list(self, prefix: str) -> Iterator[str]:
        """All keys that start with `prefix` + "/", sorted."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; absent ones are no error."""


def check_key(key: str) -> str:
    """`key` itself, or ValueError when it could leave the folder or hides a file name."""
    if not _KEY.fullmatch(key) or ".." in key.split("/"):
        raise ValueError(f"{key!r} is no store key: only letters, digits, '_', '.', '=', '-' and '/', and no '..'")
    return key


@contextlib.contextmanager
def surroundings(where: str) -> Iterator[None]:
    """Turn the operating system's errors about the surroundings into EnvironmentFailure with the way out."""
    try:
        yield
    except EnvironmentFailure:
        raise
    except OSError as error:
        way_out = _SURROUNDINGS.get(error.errno or 0)
        if way_out is None:
            raise
        raise EnvironmentFailure(error.errno, f"{where}: {way_out}") from error


class LocalObjects:
    """A folder on this machine, or on a network file system that has hard links and atomic rename."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise Missing(key) from error

    def get_range(self, key: str, start: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                if start < 0:
                    size = os.fstat(file.fileno()).st_size
                    start = max(0, size + start)
                return os.pread(file.fileno(), length, start)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Missing(key) from error

    def _write_beside(self, path: Path, data: Buffers) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with beside.open("wb") as file:
                for part in [data] if isinstance(data, bytes) else data:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return beside

    def put(self, key: str, data: Buffers) -> None:
        path = self._path(key)
        with surroundings(str(self.root)):
            os.replace(self._write_beside(path, data), path)
            _sync_folder(path.parent)

    def create(self, key: str, data: Buffers) -> bool:
        path = self._path(key)
        with surroundings(str(self.root)):
            if path.exists():
                return False
            beside = self._write_beside(path, data)
            try:
                os.link(beside, path)
            except FileExistsError:
                return False
            finally:
                beside.unlink(missing_ok=True)
            _sync_folder(path.parent)
            return True

    def list(self, prefix: str) -> Iterator[str]:
        found = []
        for folder, _, names in os.walk(self._path(prefix)):
            here = Path(folder).relative_to(self.root).as_posix()
            # a killed writer leaves litter named .x.partial: never an object
            found += [f"{here}/{name}" for name in names if not name.startswith(".")]
        yield from sorted(found)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def sweep(self, prefix: str) -> int:
        """Remove what killed writers left half-written; returns how many. Only while holding the lease."""
        count = 0
        for folder, _, names in os.walk(self._path(prefix)):
            for name in names:
                if name.startswith(".") and name.endswith(".partial"):
                    (Path(folder) / name).unlink(missing_ok=True)
                    count += 1
        return count


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class BucketObjects:
    """An object store (s3, gs, az, …) through obstore. Credentials come from the environment, never from the URL."""

    def __init__(self, url: str, store: object) -> None:
        self.url = url
        self._store = store

    def get(self, key: str) -> bytes:
        import obstore

        with _bucket_errors(self.url, key):
            return bytes(obstore.get(self._store, check_key(key)).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        import obstore

        with _bucket_errors(self.url, key):
            if start < 0:
                size = obstore.head(self._store, check_key(key))["size"]
                start = max(0, size + start)
                length = min(length, size - start)
            return bytes(obstore.get_range(self._store, check_key(key), start=start, length=length))

    def put(self, key: str, data: Buffers) -> None:
        import obstore

        with _bucket_errors(self.url, key):
            obstore.put(self._store, check_key(key), data if isinstance(data, bytes) else b"".join(data))

    def create(self, key: str, data: Buffers) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _bucket_errors(self.url, key):
            try:
                obstore.put(
                    self._store, check_key(key), data if isinstance(data, bytes) else b"".join(data), mode="create"
                )
            except AlreadyExistsError:
                return False
            return True

    def list(self, prefix: str) -> Iterator[str]:
        import obstore

        with _bucket_errors(self.url, prefix):
            found = [item["path"] for batch in obstore.list(self._store, prefix=check_key(prefix)) for item in batch]
        yield from sorted(found)

    def delete(self, keys: Iterable[str]) -> None:
        import obstore

        for key in keys:
            with _bucket_errors(self.url, key), contextlib.suppress(Missing):
                obstore.delete(self._store, check_key(key))


@contextlib.contextmanager
def _bucket_errors(url: str, key: str) -> Iterator[None]:
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise Missing(key) from error
    except AlreadyExistsError:
        raise
    except (BaseError, OSError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFailure(
            errno.EIO, f"{url}: {text}; check the credentials and the network, then run the same command again"
        ) from error


def is_url(place: str) -> bool:
    """True for s3://…, gs://…; False for paths."""
    return "://" in place


def open_objects(place: str | Path) -> Objects:
    """The folder or bucket prefix at `place`: a path, `file://…`, or `s3://`, `gs://`, `az://`, `memory://`.

    Raises StudyError for a URL with credentials in it (they would end up in study.json).
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
    import obstore.store

    return BucketObjects(text, obstore.store.from_url(text))


_MEMORY: dict[str, BucketObjects] = {}


def _memory_store() -> object:
    import obstore.store

    return obstore.store.MemoryStore()


def refuse_secrets(url: str) -> None:
    """Raise StudyError when a URL carries a user, password, key or signature."""
    parts = urlsplit(url)
    secret_query = re.search(r"(?i)(^|&)(sig|signature|token|key|secret|password|x-amz-[a-z-]*)=", parts.query)
    if parts.username or parts.password or secret_query:
        clean = f"{parts.scheme}://{(parts.hostname or '')}{parts.path}"
        raise StudyError(
            f"{clean}: the URL carries credentials, and they would be written into study.json. "
            "Give them by environment variables (AWS_ACCESS_KEY_ID, …) and use the plain URL."
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
                f"{objects.url}: this store created the same object twice, so two runs could not be kept apart. "
                "Use a local or shared folder with hard links, or a bucket with conditional puts.",
            )
    finally:
        objects.delete([key])
