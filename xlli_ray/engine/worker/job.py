"""Jobs and results of workers, and the clock for their time by activity."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Mode = Literal["batches", "probe", "alone"]


@dataclass(frozen=True)
class UnitJob:
    """The cells of a group that need unit `unit`, and how to run it. Small, since it is sent to a worker."""

    group: str
    unit: int
    cells: tuple[str, ...]
    attempt: int = 0
    mode: Mode = "batches"
    skip: tuple[int, ...] = ()
    """Table rows known to crash the worker."""
    models: tuple[tuple[str, str], ...] = ()
    """(id, digest) of the models that it may build (`gate`)."""

    @property
    def key(self) -> tuple[str, int]:
        return self.group, self.unit


@dataclass(frozen=True)
class UnitResult:
    """Outcome of a unit: enough for progress lines and counts."""

    job: UnitJob
    samples: int
    failed: int
    bytes: int
    seconds: Mapping[str, float]
    done_before: bool = False
    """True if another worker of this epoch had already recorded it."""
    rows: int = 0
    """Number of measured table rows, e.g. maps, of which a sample may have several."""


class GivenUp(Exception):
    """The run ends: this job is not finished, and nobody waits for it."""


class Clock:
    """Seconds spent per kind of work, summed over threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(kind, time.perf_counter() - start)

    def add(self, kind: str, seconds: float) -> None:
        """Count time that was spent elsewhere."""
        with self._lock:
            self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        with self._lock:
            return {kind: round(value, 4) for kind, value in sorted(self._seconds.items())}
