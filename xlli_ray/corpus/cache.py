"""A cache of decoded and downscaled images, for the next sample of the same file."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, cast

import numpy as np


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=_Sized)

LARGE = 2
"""A long video, and the clip that was cut from it for several patches or degradations; of photographs, those of two threads."""


class Cache:
    """An LRU cache of read-only arrays, up to a number of bytes; two threads never make the same array at once.

    Of arrays larger than the limit, the `LARGE` last used are kept beside the others. With a limit of 0 nothing is.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._large: set[Hashable] = set()
        self._sizes: dict[Hashable, int] = {}  # of complete entries; those being made are not counted
        self._entries: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, key: Hashable) -> bool:
        """True if the array exists or is being made."""
        with self._lock:
            return key in self._entries

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = Future()
            else:
                self._entries.move_to_end(key)
        if mine:
            try:
                array = make()
            except BaseException as error:
                with self._lock:
                    del self._entries[key]  # the next caller retries: the failure may have been transient
                entry.set_exception(error)
                raise
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
            entry.set_result(array)
            self._count(key, array.nbytes)
        return cast(T, entry.result())

    def _count(self, key: Hashable, size: int) -> None:
        with self._lock:
            if size > self._limit > 0:
                self._large.add(key)
                for oldest in [known for known in self._entries if known in self._large][:-LARGE]:
                    self._large.remove(oldest)
                    del self._entries[oldest]
                return
            self._sizes[key] = size
            self._bytes += size
            for oldest in list(self._entries):
                if self._bytes <= self._limit:
                    break
                if oldest in self._sizes:
                    del self._entries[oldest]
                    self._bytes -= self._sizes.pop(oldest)
