"""Objects in a bucket (s3, gs, az, …) or in this process's memory (`memory://`), through obstore (`bucket`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from xlli_ray.store.objects.bucket import Bucket, open_stores
from xlli_ray.store.objects.protocol import Buffers, Fence, check_key


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


def open_bucket(url: str) -> BucketObjects:
    """The bucket prefix at `url`; `memory://` addresses are the same store within this process."""
    if urlsplit(url).scheme == "memory":
        return _MEMORY.setdefault(url, BucketObjects(url, _memory_store()))
    return BucketObjects(url, *open_stores(url))


_MEMORY: dict[str, BucketObjects] = {}


def _memory_store() -> object:
    import obstore.store

    return obstore.store.MemoryStore()
