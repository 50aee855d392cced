"""Bytes of files, fetched before they are asked for, so that a slow file system or bucket does not stop who computes.

Such a thread only waits; the caller decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from xlli_ray.corpus.files.sources import is_remote

TOGETHER = 8
"""Local files that a thread reads in a row: each is soon there, and each time a thread wakes it contends for the interpreter."""
THREADS = 16
"""Most files in flight. Threads are made only when as many wait."""


class Ahead:
    """A function from URI to bytes, like the `read` it is made from, that may be told what comes.

    One thread announces, any may ask. What was fetched is held until it is asked for, or forgotten: bounded by what is announced.
    """

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="xlli-fetch")
        self._coming: dict[str, Future[bytes]] = {}

    def fetch(self, uris: Sequence[str]) -> None:
        """Begin to read these files; one that is on its way already is not read twice."""
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
            except BaseException as error:  # whoever asks for the file meets it
                future.set_exception(error)

    def __call__(self, uri: str) -> bytes:
        """All bytes of the file. Raises what `read` raises."""
        future = self._coming.pop(uri, None)
        return self._read(uri) if future is None else future.result()

    def forget(self) -> None:
        """Let go of what was not asked for."""
        while self._coming:
            with suppress(KeyError):  # the last one was requested meanwhile
                self._coming.popitem()[1].cancel()

    def close(self) -> None:
        """Stop the threads."""
        self.forget()
        self._threads.shutdown(wait=False, cancel_futures=True)
