"""Objects in a bucket (s3, gs, az, …) or in this process's memory (`memory://`), (`remote.bucket`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from xlli_ray.errors import StudyError
from xlli_ray.remote.bucket import MOST_DELETED, PART, Bucket
from xlli_ray.remote.places import SCHEMES, memory_store, open_stores
from xlli_ray.store.objects.protocol import Buffers, Fence, check_key
from xlli_ray.store.objects.spooled import Spool


class _Growing:
    """An object that is put into a bucket when it is complete; nothing of it is there before, or if it is abandoned."""

    def __init__(self, objects: BucketObjects, key: str) -> None:
        self._objects, self._key = objects, key
        self._spool: Spool | None = Spool()

    def write(self, data: bytes) -> None:
        self._open().write(data)

    def commit(self) -> None:
        spool = self._open()
        try:
            self._objects.put_spool(self._key, spool)
        finally:
            self.abandon()

    def abandon(self) -> None:
        if self._spool is not None:
            self._spool.clear()
        self._spool = None

    def _open(self) -> Spool:
        if self._spool is None:
            raise ValueError(f"{self._key}: committed or abandoned before")
        return self._spool


class BucketObjects:
    """An object store (s3, gs, az, …) through obstore. Credentials come from the environment, never from the URL."""

    fence: Fence | None = None

    def __init__(self, url: str, store: object, once: object | None = None) -> None:
        """`store`: from obstore; `once`: the same one without its own retries (`remote.bucket`)."""
        self.url = url
        self._store = store
        self._bucket = Bucket(url, store, once)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_bucket, (self.url,)

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

    def begin(self, key: str) -> _Growing:
        return _Growing(self, check_key(key))

    def put(self, key: str, data: Buffers) -> None:
        if self.fence:
            self.fence.check()
        self._bucket.put(check_key(key), data if isinstance(data, bytes) else b"".join(data))
        if self.fence:
            self.fence.wrote(key, data)

    def put_spool(self, key: str, spool: Spool) -> None:
        """Like `put`; from a file in parts, if it is large. The fence is checked before the first part."""
        file = spool.file()
        if file is None or spool.nbytes <= PART:
            self.put(key, list(spool.parts()))
            return
        if self.fence:
            self.fence.check()
        self._bucket.put_file(key, file)
        if self.fence:
            self.fence.wrote(key, spool.parts())

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
        """In requests of up to a thousand keys; the fence is checked before each."""
        rest = iter(keys)
        while batch := [check_key(key) for key in islice(rest, MOST_DELETED)]:
            if self.fence:
                self.fence.check()
            self._bucket.delete(batch)
            if self.fence:
                for key in batch:
                    self.fence.gone(key)


def open_bucket(url: str) -> BucketObjects:
    """The bucket prefix at `url`; `memory://` addresses are the same store within this process. Raises StudyError if the URL does not name
    a bucket."""
    parts = urlsplit(url)
    known = "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    if parts.scheme == "memory":
        return _MEMORY.setdefault(url, BucketObjects(url, memory_store()))
    if parts.scheme in ("http", "https"):
        raise StudyError(f"{url}: not a place for a study; write s3://BUCKET/PREFIX, and the server's address in AWS_ENDPOINT_URL")
    if parts.scheme not in SCHEMES:
        raise StudyError(f"{url}: studies at {parts.scheme}:// are not supported; expected {known}")
    if not parts.netloc:
        raise StudyError(f"{url}: does not name a bucket; expected {known}")
    try:
        return BucketObjects(url, *open_stores(url))
    except ValueError as error:
        raise StudyError(f"{url}: {error}; expected {known}") from error


_MEMORY: dict[str, BucketObjects] = {}
