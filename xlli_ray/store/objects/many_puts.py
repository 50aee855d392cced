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
    """Puts objects in any order; as a context manager, all of them are there at its end. An error of one ends the others: those that have
    not begun are not written."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="xlli-put")
        self._waiting: deque[Future[None]] = deque()

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object, by the end of the context. Raises the error of an earlier one."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._threads.submit(self._objects.put, key, data))

    def __enter__(self) -> ManyPuts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._threads.shutdown(cancel_futures=True)
