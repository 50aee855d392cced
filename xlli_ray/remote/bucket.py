"""The calls of an object store: retried where that may help, with errors that say what to do.

Connections break, servers throttle, responses are truncated. Transient errors are retried with growing pauses, with random jitter so that
many workers do not come back at once; then the run stops. obstore retries too, but not creations, deletions or lists whose response was
truncated or lost. A retried creation may meet the object of the first attempt, so creations are retried only by this file: if a response
was lost and the key is taken at the next attempt, the object is read, and it is ours if it has our bytes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, BinaryIO, TypeVar

from xlli_ray.remote.answers import Missing, bucket_advice, code_of, failure_of

PAUSES = (0.1, 0.4, 1.6, 6.4, 12.8, 12.8)
"""Seconds before the next attempt, each reduced by jitter to between a half and the whole."""
PATIENCE = 60.0
"""Seconds since the start of a call after which it is not retried: a server that never responds costs 30 s per request."""
FIRST_PAUSES = PAUSES[:3]
"""Before the first successful call: a mistyped address should not take half a minute to be reported."""
WITHIN = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
"""Retries of obstore itself: a large upload should not restart from its first part."""
ONCE = {"max_retries": 0}

PART = 8 << 20
"""Bytes of a part of an upload: larger objects are put in parts, so that memory holds `TOGETHER` of them. S3 allows 10,000 parts."""
TOGETHER = 3
MOST_DELETED = 1000
"""Objects that one request may delete: S3's limit."""
PAGE = 1000
"""Names in one page of a list, as servers send them."""
KEPT = "; what is done is kept, run the same command again"

T = TypeVar("T")
_CHANCE = random.Random()  # separate: the caller's random state is not changed


class Bucket:
    """An obstore store, call by call. `once`: the same store without its own retries. `closing`: the end of messages. Every method raises
    EnvironmentFailure if the store cannot be used (Denied if it refuses this object), and Missing if it has no such object. Thread-safe."""

    def __init__(self, url: str, store: Any, once: Any = None, *, closing: str = KEPT) -> None:
        self.url = url
        self._store, self._once, self._closing = store, store if once is None else once, closing
        self._proven = self._down = False

    def get(self, key: str) -> bytes:
        import obstore

        return self._call(key, lambda: bytes(obstore.get(self._store, key).bytes()))

    def size(self, key: str) -> int:
        """Bytes of an object."""
        import obstore

        return self._call(key, lambda: int(obstore.head(self._store, key)["size"]))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        import obstore

        return self._call(key, lambda: bytes(obstore.get_range(self._store, key, start=start, length=length)))

    def put(self, key: str, data: bytes) -> None:
        """One request, or several parts if it is larger than `PART`."""
        import obstore

        self._call(key, lambda: obstore.put(self._store, key, data, chunk_size=PART, max_concurrency=TOGETHER), writes=True)

    def put_file(self, key: str, file: BinaryIO) -> None:
        """A whole file, from its start, in parts: memory holds a few of them. They become an object, atomically, with the last request; an
        upload that fails is aborted."""
        import obstore

        def attempt() -> None:
            file.seek(0)
            obstore.put(self._store, key, file, use_multipart=True, chunk_size=PART, max_concurrency=TOGETHER)

        self._call(key, attempt, writes=True)

    def create(self, key: str, data: bytes) -> bool:
        """True if this call created the object, also if the response was lost."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        lost = False

        def attempt() -> bool:
            nonlocal lost
            try:
                obstore.put(self._once, key, data, mode="create")
            except AlreadyExistsError:
                return lost and bytes(obstore.get(self._store, key).bytes()) == data
            except Exception:
                lost = True  # or refused before it took effect: unknown
                raise
            return True

        return self._call(key, attempt, writes=True)

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix` + "/", sorted."""
        return self._call(prefix, lambda: sorted(entry["path"] for page in self._pages(prefix) for entry in page))

    def find(self, folder: str, wanted: Callable[[str], object], *, flat: bool) -> Sequence[str]:
        """Those keys below `folder` ("" for all) that are `wanted`, sorted; markers of folders are left out.

        `flat`: they lie in `folder` itself. All below it is listed, page by page, so that memory holds what is wanted only; a flat list
        that meets a page of deeper keys alone leaves the choice to the server instead, which then says nothing of them.
        """
        return self._call(folder, lambda: sorted(self._found(folder, wanted, flat)))

    def _found(self, folder: str, wanted: Callable[[str], object], flat: bool) -> Iterator[str]:
        found: list[str] = []
        empty: set[str] = set()  # without a byte: markers of folders, if keys below them follow
        for page in self._pages(folder or None):
            if flat and len(page) == PAGE and all("/" in entry["path"][len(folder) :].lstrip("/") for entry in page):
                return self._directly_in(folder, wanted)
            for entry in page:
                key = entry["path"]
                end = len(key)
                while empty and (end := key.rfind("/", 0, end)) > 0:
                    empty.discard(key[:end])
                if wanted(key) and entry["size"]:
                    found.append(key)
                elif wanted(key):
                    empty.add(key)
        return iter([*found, *empty])

    def _directly_in(self, folder: str, wanted: Callable[[str], object]) -> Iterator[str]:
        import obstore

        answer = obstore.list_with_delimiter(self._store, prefix=folder or None)
        folders = set(answer["common_prefixes"])
        for entry in answer["objects"]:
            if wanted(entry["path"]) and not (entry["size"] == 0 and entry["path"] in folders):
                yield entry["path"]

    def _pages(self, prefix: str | None) -> Iterator[Sequence[Any]]:
        import obstore

        return iter(obstore.list(self._store, prefix=prefix, chunk_size=PAGE))

    def delete(self, keys: Sequence[str]) -> None:
        """Up to `MOST_DELETED` objects, in one request if the store can. Missing ones are not an error: S3 ignores them, Google's and
        Azure's stores report them, also on retries of a success."""
        import obstore

        def attempt() -> None:
            try:
                obstore.delete(self._store, list(keys))
            except FileNotFoundError as error:
                if bucket_advice(code_of(error)):  # the bucket itself does not exist
                    raise
                if len(keys) > 1:  # the others may not have been deleted
                    for key in keys:
                        self.delete([key])

        self._call(keys[0], attempt, writes=True)

    def _call(self, key: str, attempt: Callable[[], T], *, writes: bool = False) -> T:
        from obstore.exceptions import BaseError

        # A store that did not respond within all retries is called once only until it responds: an ending run makes several more calls.
        pauses = () if self._down else PAUSES if self._proven else FIRST_PAUSES
        end = time.monotonic() + PATIENCE
        for pause in (*pauses, None):
            try:
                out = attempt()
            except (BaseError, OSError) as error:
                if isinstance(error, FileNotFoundError) and not writes and not bucket_advice(code_of(error)):
                    self._proven, self._down = True, False
                    raise Missing(key) from error
                failure = failure_of(f"{self.url}/{key}".rstrip("/"), error, self._closing)
                if not failure.passing or pause is None or time.monotonic() > end:
                    self._down = failure.passing
                    raise failure from error
                time.sleep(pause * _CHANCE.uniform(0.5, 1.0))
            else:
                self._proven, self._down = True, False
                return out
        raise AssertionError("the last attempt returns or raises")
