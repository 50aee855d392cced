"""Many small objects, several of them on their way at once: a disk's fsync and a bucket's answer take longer than their bytes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from xlli_ray.store.objects.client import Objects

AT_ONCE = 8
WAITING = 16
"""Objects held in memory at most, those on their way included."""


class ManyPuts:
    """Puts objects in any order; as a context manager, all of them are there at its end. After an error those that have not begun by the
    time it is raised, by the next call at the latest, are not written."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="xlli-put")
        self._waiting: deque[Future[None]] = deque()

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object, by the end of the context. Raises the error of an earlier one."""
        while self._waiting and (len(self._waiting) >= WAITING or self._waiting[0].done()):
            self._waiting.popleft().result()
        for one in self._waiting:
            if one.done():
                one.result()
        self._waiting.append(self._threads.submit(self._objects.put, key, data))

    def wait(self) -> None:
        """Until all that were given are there. Raises the error of the first that failed."""
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> ManyPuts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._threads.shutdown(cancel_futures=True)
