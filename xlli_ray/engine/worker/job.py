"""Jobs and results of workers, and the clock for their time by activity."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
class Place:
    """Where a unit ran. `node`: the first digits of Ray's id of the node, "" without Ray."""

    host: str = ""
    node: str = ""
    pid: int = 0
    device: str = ""

    @classmethod
    def here(cls, device: str) -> Place:
        node = ""
        if ray := sys.modules.get("ray"):
            with suppress(Exception):  # of a process that Ray was imported in, but does not run
                node = ray.get_runtime_context().get_node_id()[:8] if ray.is_initialized() else ""
        return cls(socket.gethostname(), node, os.getpid(), device)


@dataclass(frozen=True)
class UnitResult:
    """Outcome of a unit: enough for progress lines, counts and the log."""

    job: UnitJob
    samples: int
    failed: int
    bytes: int
    seconds: Mapping[str, float]
    done_before: bool = False
    """True if another worker of this epoch had already recorded it."""
    rows: int = 0
    """Number of measured table rows, e.g. maps, of which a sample may have several."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Failed samples by reason (`run_status.reasons`)."""
    place: Place = field(default_factory=Place)
    began: float = 0.0
    ended: float = 0.0
    """By the clock of its machine, seconds since 1970."""


class GivenUp(Exception):
    """The run ends: this job is not finished, and nobody waits for it."""


class Clock:
    """Seconds spent per kind of work, summed over threads. `began`: time of day at its creation."""

    def __init__(self) -> None:
        self.began, self._start = time.time(), time.monotonic()
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(kind, time.perf_counter() - start)

    def now(self) -> float:
        """Time of day, which does not jump if the machine's clock is set."""
        return self.began + time.monotonic() - self._start

    def add(self, kind: str, seconds: float) -> None:
        """Count time that was spent elsewhere."""
        with self._lock:
            self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        with self._lock:
            return {kind: round(value, 4) for kind, value in sorted(self._seconds.items())}
