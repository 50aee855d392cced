"""Prefetching of files, so that a slow file system or bucket does not stall computation.

The threads only wait for I/O; the caller decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from xlli_ray.corpus.files.sources import is_remote

TOGETHER = 8
"""Local files that a thread reads in sequence: each takes little time, and every time a thread wakes it contends for the interpreter."""
THREADS = 16
"""Maximum number of files in flight. Threads are created on demand."""


class Ahead:
    """A function from URI to bytes, like the `read` it wraps, that can be told which files will be needed.

    One thread announces files, any may read them. Fetched bytes are kept until they are read or forgotten: bounded by what is announced.
    """

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="xlli-fetch")
        self._coming: dict[str, Future[bytes]] = {}

    def fetch(self, uris: Sequence[str]) -> None:
        """Start reading these files; files in flight are not read twice."""
        new = [uri for uri in dict.fromkeys(uris) if uri not in self._coming]
        local = [uri for uri in new if not is_remote(uri)]
        parts = [[uri] for uri in new if is_remote(uri)] + [local[i : i + TOGETHER] for i in range(0, len(local), TOGETHER)]
        for part in parts:
            futures = [Future[bytes]() for _ in part]
            self._coming.update(zip(part, futures))
            self._threads.submit(partial(self._fill, part, futures))

    def _fill(self, uris: Sequence[str], futures: Sequence[Future[bytes]]) -> None:
        for uri, future in zip(uris, futures):
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._read(uri))
            except BaseException as error:  # raised for whoever reads the file
                future.set_exception(error)

    def __call__(self, uri: str) -> bytes:
        """All bytes of the file. Raises what `read` raises."""
        future = self._coming.pop(uri, None)
        return self._read(uri) if future is None else future.result()

    def forget(self, uris: Iterable[str] | None = None) -> None:
        """Drop those of these files, None: of all, that were not read."""
        for uri in list(self._coming if uris is None else uris):
            with suppress(KeyError):  # it was read, perhaps just now
                self._coming.pop(uri).cancel()

    def close(self) -> None:
        """Stop the threads."""
        self.forget()
        self._threads.shutdown(wait=False, cancel_futures=True)
